# Everything sets itself up: a Python of at least 3.11 and make are all that a machine needs.
PYTHON ?= python3
CHAOS_KILLS ?= 200
FUZZ_SEEDS ?= 3000
BENCH ?=
HISTORY_RUNS ?= 100000

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check
PYTEST := $(PY) -m pytest -n 4 --dist worksteal

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test quick lint docs example thorough chaos faults fuzz bench clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.base ## the whole story against a simulator, with a kill -9 in the middle; needs no key
	@$(PY) cli.py demo

test: lint ## lint, then every test: what CI runs
	@$(PYTEST)

quick: $(VENV)/.dev ## the tests without packaging and chaos
	@$(PYTEST) -m "not packaging and not chaos"

lint: $(VENV)/.dev ## ruff, mypy and the floors of the architecture
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

docs: $(VENV)/.dev ## make the pages that are drawn from the program
	@$(PY) docs/make.py

example: $(VENV)/.dev ## play the bad night of docs/example-report.md, and report on it anew
	@$(PY) docs/example.py

thorough: $(VENV)/.dev ## every case of every test, on both databases; `make test` samples the long ones
	@RUNWARD_TEST_BOTH=1 $(PYTEST) tests/store tests/service tests/web tests/commands tests/fuzzing

chaos: $(VENV)/.dev ## real processes killed at random, the long form: CHAOS_KILLS=200
	@RUNWARD_TEST_CHAOS_KILLS=$(CHAOS_KILLS) $(PY) -m pytest -m chaos

faults: $(VENV)/.dev ## stopped processes, killed servers, full disks, set clocks: the long form
	@RUNWARD_TEST_FAULTS=long $(PY) -m pytest -m faults

fuzz: $(VENV)/.dev ## simulate: a death at every point of each small story, then FUZZ_SEEDS=3000
	@$(PY) cli.py sim fuzz --stories
	@$(PY) cli.py sim fuzz --seeds $(FUZZ_SEEDS)

bench: $(VENV)/.dev ## measure against the goals: BENCH="--database sqlite"
	@$(PY) -m benchmarks.store $(BENCH)
	@$(PY) -m benchmarks.lifecycle $(BENCH)
	@$(PY) -m benchmarks.recovery $(BENCH)
	@$(PY) -m benchmarks.verify $(BENCH)
	@$(PY) -m benchmarks.webhooks $(BENCH)
	@$(PY) -m benchmarks.history $(BENCH) --runs $(HISTORY_RUNS)
	@$(PY) -m benchmarks.regimes
	@$(PY) -m benchmarks.polling
	@$(PY) -m benchmarks.limits
	@$(PY) -m benchmarks.polls

clean: ## remove everything that these targets made
	@rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are older than what they were made from when there is something new to install.
$(VENV)/.dev: pyproject.toml constraints.txt | $(PY)
	@echo "setting up $(VENV) for development"
	@$(PIP) install --editable '.[dev]' --constraint constraints.txt
	@touch $(VENV)/.base $@

$(VENV)/.base: pyproject.toml constraints.txt | $(PY)
	@echo "setting up $(VENV)"
	@$(PIP) install --editable . --constraint constraints.txt
	@touch $@

# A name on the PATH proves nothing: each candidate is run before it is believed.
$(PY):
	@for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    exec $$python -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo "runward needs Python 3.11 or newer, and '$(PYTHON)' is not;" \
	  "name one: make PYTHON=/path/to/python3.11" >&2; \
	exit 1
