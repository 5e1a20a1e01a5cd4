"""The demo's accounts: the ledger against the simulator's own log."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.commands.demo_lot import LOT
from ledger.commands.demo_tools import traces
from ledger.commands.output import Format, print_json, print_rows
from ledger.core.reading import MARKER_KEY
from ledger.store.invariants import INVARIANTS, broken

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger

CREATES = ("responses.create", "runs.create", "threads.create")


@dataclass(slots=True)
class Report:
    """What happened, and what does not add up."""

    in_flight: int = 0
    held: int = 0
    adopted: int = 0
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """The names of the checks that failed."""
        return [check["check"] for check in self.checks if not check["ok"]]

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return not self.problems

    def judge(self, ledger: Ledger, url: str, folder: Path) -> None:
        """Compare the ledger with the simulator's log and the traces of the tools."""
        log = _simulator_log(url)
        self._judge_runs(ledger)
        created = Counter(
            entry["metadata"].get(MARKER_KEY)
            for entry in log
            if entry["operation"] in CREATES and entry["accepted"]
        )
        twice = [marker for marker, times in created.items() if times > 1]
        self._check("every create reached upstream once", not twice, twice)
        self._judge_remotes(ledger, created)
        self._judge_tools(folder)
        chain = ledger.verify()
        self._check("the hash chain verifies", not chain.broken, list(map(str, chain.broken)))
        for invariant in INVARIANTS:
            offenders = ledger.store.read(lambda c, i=invariant: broken(c, i))  # type: ignore[misc]
            if invariant.query is not None:
                self._check(f"invariant {invariant.number}", not offenders, offenders)
        self.numbers |= {
            "upstream_creates": sum(created.values()),
            "refused_with_429": sum(1 for entry in log if entry["status"] == 429),
            "events": chain.events,
        }
        self.history = list(ledger.events("demo:expires:1"))

    def _judge_runs(self, ledger: Ledger) -> None:
        for kind in LOT:
            runs = [ledger.get(request["key"]) for request in kind.requests()]
            right = [r for r in runs if (r.state, r.attempts) == (kind.ends, kind.attempts)]
            self.rows.append(
                {
                    "runs": f"{kind.count} x {kind.name}",
                    "provider": kind.provider,
                    "model": kind.model,
                    "ended": ", ".join(
                        f"{n} {s}" for s, n in Counter(str(r.state) for r in runs).items()
                    ),
                    "attempts": sum(run.attempts for run in runs),
                    "last_error": next((r.error_code for r in runs if r.error_code), None),
                }
            )
            wrong = [f"{r.key} {r.state}" for r in runs if r not in right]
            self._check(f"{kind.name} ended {kind.ends}", not wrong, wrong)
        self.numbers["runs"] = sum(kind.count for kind in LOT)

    def _judge_remotes(self, ledger: Ledger, created: Counter[str | None]) -> None:
        """Every object that upstream made is a remote of the ledger, and the other way round."""
        remotes = {
            remote["marker"]: remote
            for run in ledger.runs(limit=1_000)
            for remote in ledger.show(run)["remotes"]
        }
        known = {marker for marker, remote in remotes.items() if remote["remote_id"] is not None}
        # Known by its id, or listed as unresolved: an empty thread whose reply was lost.
        unresolved = {marker for marker, remote in remotes.items() if remote["state"] == "unknown"}
        strangers = sorted(str(marker) for marker in (set(created) ^ known) - unresolved)
        self._check("the ledger knows every upstream object", not strangers, strangers)

    def _judge_tools(self, folder: Path) -> None:
        effects = Counter((t["tool"], t["key"]) for t in traces(folder))
        twice = [key for (tool, key), n in effects.items() if tool == "send_receipt" and n > 1]
        self._check("every receipt was sent once", not twice, twice)
        wanted = sum(kind.count for kind in LOT if kind.tool is not None)
        done = len(effects) + self.held
        self._check("every tool ran", len(effects) <= wanted <= done, [len(effects), wanted])
        self.numbers["tool_effects"] = len(effects)

    def _check(self, name: str, ok: bool, offenders: list[Any]) -> None:
        self.checks.append({"check": name, "ok": ok, "offenders": offenders[:10]})


def _simulator_log(url: str) -> list[dict[str, Any]]:
    address = url.removesuffix("/v1") + "/_sim/log"
    with urllib.request.urlopen(address, timeout=10) as reply:  # noqa: S310 - loopback, our own
        entries: list[dict[str, Any]] = json.load(reply)["entries"]
    return entries


def created_ids(url: str) -> dict[str, str]:
    """The marker of every response that upstream made, and its id."""
    return {
        entry["metadata"][MARKER_KEY]: entry["object_id"]
        for entry in _simulator_log(url)
        if entry["operation"] == "responses.create" and entry["accepted"]
    }


def print_report(report: Report, form: Format) -> None:
    """The table, one run's history and the numbers; or all of it as JSON."""
    numbers = {
        **report.numbers,
        "kills": 1,
        "in_flight_at_kill": report.in_flight,
        "held_calls_answered": report.held,
        "unclear_creates_adopted": report.adopted,
        "seconds": report.seconds,
    }
    if form != Format.table:
        print_json({"ok": report.ok, **numbers, "kinds": report.rows, "checks": report.checks})
        return
    columns = ("runs", "provider", "model", "ended", "attempts", "last_error")
    print_rows(report.rows, form=form, columns=columns)
    print("\nhistory of demo:expires:1")
    shown = ("seq", "kind", "from", "to", "source", "remote_status", "attempt")
    print_rows(report.history, form=form, columns=shown)
    print("\n" + ", ".join(f"{name} {value}" for name, value in numbers.items()))
    right = sum(1 for check in report.checks if check["ok"])
    print(f"{right} of {len(report.checks)} checks hold")
    for check in report.checks:
        if not check["ok"]:
            print(f"  FAILED: {check['check']}: {check['offenders']}")
