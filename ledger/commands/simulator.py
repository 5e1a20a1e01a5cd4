"""`runward sim`: the simulator on its own, for people's own tests."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Annotated

import typer

from ledger.commands.output import Format, print_rows, say
from ledger.errors import ConfigurationError, InvalidInput

sim = typer.Typer(help="A simulator of the upstream endpoints.", no_args_is_help=True)


def need_simulator() -> None:
    """Raise ConfigurationError unless the simulator's library is installed."""
    try:
        import aiohttp  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigurationError(
            "the simulator needs an HTTP server", hint="pip install 'runward[sim]'"
        ) from None


@sim.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Same seed, same ids and faults.")] = None,
    speed: Annotated[float | None, typer.Option(min=0.001, max=10_000)] = None,
    scenario: Annotated[str | None, typer.Option(help="A scenario in JSON or TOML.")] = None,
) -> None:
    """Serve until interrupted; prints the base URL on stdout."""
    need_simulator()
    from dataclasses import replace

    from ledger.simulator import Scenario, ScenarioError, load_scenario
    from ledger.simulator import serve as serve_for_ever

    try:
        chosen = load_scenario(scenario) if scenario else Scenario()
    except (ScenarioError, OSError) as error:
        raise InvalidInput(f"{scenario}: {error}") from None
    changes = {"seed": seed, "speed": speed}
    chosen = replace(chosen, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]

    def ready(url: str) -> None:
        print(url, flush=True)
        say(f"export OPENAI_BASE_URL={url} OPENAI_API_KEY=sk-simulated")

    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve_for_ever(host, port, chosen, ready))
    except OSError as error:
        raise InvalidInput(f"cannot listen on {host}:{port}: {error.strerror}") from None
    sys.stdout.flush()


@sim.command()
def scenarios(
    form: Annotated[Format, typer.Option("-o", "--output")] = Format.table,
) -> None:
    """The magic model names, as payment test cards are."""
    need_simulator()
    from ledger.simulator import CATALOGUE

    rows = [{"model": name, "what": what} for name, what in CATALOGUE.items()]
    print_rows(rows, form=form, columns=("model", "what"), name="model")
