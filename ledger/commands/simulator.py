"""`runward sim`: the simulator on its own, for people's own tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.commands.output import Format, print_one, print_rows, say
from ledger.errors import CheckFailed, ConfigurationError, InvalidInput

if TYPE_CHECKING:
    from ledger.fuzzing.campaign import Account
    from ledger.fuzzing.play import Played
    from ledger.simulator import NewEndpoint

sim = typer.Typer(help="A simulator of the upstream endpoints.", no_args_is_help=True)


@sim.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Same seed, same ids and faults.")] = None,
    speed: Annotated[float | None, typer.Option(min=0.001, max=10_000)] = None,
    scenario: Annotated[str | None, typer.Option(help="A scenario in JSON or TOML.")] = None,
    webhook_url: Annotated[
        str | None, typer.Option(help="Send the webhooks of responses here.")
    ] = None,
    webhook_secret_variable: Annotated[
        str | None,
        typer.Option(
            help="The variable with the secret that signs them.",
            show_default="OPENAI_WEBHOOK_SECRET",
        ),
    ] = None,
) -> None:
    """Serve until interrupted; prints the base URL on stdout."""
    from dataclasses import replace

    from ledger.simulator import Scenario, ScenarioError, load_scenario
    from ledger.simulator import serve as serve_for_ever

    try:
        chosen = load_scenario(scenario) if scenario else Scenario()
    except (ScenarioError, OSError) as error:
        raise InvalidInput(f"{scenario}: {error}") from None
    changes = {"seed": seed, "speed": speed}
    chosen = replace(chosen, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]

    endpoints = _endpoints(webhook_url, webhook_secret_variable)

    def ready(url: str) -> None:
        print(url, flush=True)
        say(f"export OPENAI_BASE_URL={url} OPENAI_API_KEY=sk-simulated")

    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve_for_ever(host, port, chosen, ready, endpoints))
    except OSError as error:
        raise InvalidInput(f"cannot listen on {host}:{port}: {error.strerror}") from None
    sys.stdout.flush()


def _endpoints(url: str | None, variable: str | None) -> list[NewEndpoint]:
    """The endpoint to begin with; what is said of a wrong one never shows its secret."""
    from ledger.simulator import NewEndpoint

    if url is None:
        if variable is not None:
            raise InvalidInput("--webhook-secret-variable needs --webhook-url")
        return []
    variable = variable or "OPENAI_WEBHOOK_SECRET"
    secret = os.environ.get(variable)
    if not secret:
        raise ConfigurationError(
            f"there is no webhook secret in {variable}",
            hint=f"set {variable} to what the receiver checks with, or name another variable "
            "with --webhook-secret-variable",
        )
    try:
        return [NewEndpoint(url, secret)]
    except ValueError as error:
        raise InvalidInput(str(error)) from None


@sim.command()
def scenarios(
    form: Annotated[Format, typer.Option("-o", "--output")] = Format.table,
) -> None:
    """The magic model names, as payment test cards are."""
    from ledger.simulator import CATALOGUE

    rows = [{"model": name, "what": what} for name, what in CATALOGUE.items()]
    print_rows(rows, form=form, columns=("model", "what"), name="model")


@sim.command()
def fuzz(
    seeds: Annotated[
        int | None, typer.Option(min=1, max=10_000_000, help="So many seeds.", show_default="100")
    ] = None,
    first: Annotated[
        int | None, typer.Option(min=0, max=2**62, help="Begin with this seed.", show_default="0")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**62, help="Replay this one.")] = None,
    stories: Annotated[
        bool,
        typer.Option(
            "--stories", help="Kill, and stop, a life at every point of the small stories."
        ),
    ] = False,
    every: Annotated[
        int | None,
        typer.Option(min=1, help="With --stories: each so many-th.", show_default="1"),
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, max=86_400, help="At most.")] = None,
    form: Annotated[Format, typer.Option("-o", "--output")] = Format.table,
) -> None:
    """Simulate crashes, pauses and lies, and check every promise. Ends with 9 if one is broken.

    Everything follows from the seed: the same one gives the same history, hashes included.
    """
    _one_way(seeds=seeds, first=first, seed=seed, stories=stories or None, every=every)
    from ledger.fuzzing import campaign

    if seed is not None:
        plays = campaign.seeds(seed, 1)
    else:
        plays = (
            campaign.stories(every or 1) if stories else campaign.seeds(first or 0, seeds or 100)
        )
    account = campaign.campaign(plays, seconds=seconds, told=_tell)
    print_one(_account(account), form=form)
    if seed is not None and account.last is not None:
        _replayed(account.last, form)
    if account.failed is not None:
        _failed(account)


def _one_way(**given: int | None) -> None:
    """Seeds, one seed or stories: what belongs to another way would be ignored."""
    named = {name for name, value in given.items() if value is not None}
    for way, mine in {"seed": set[str](), "stories": {"every"}}.items():
        if way in named and (other := named - mine - {way}):
            raise InvalidInput(f"--{way} and --{min(other)} exclude each other; leave one out")
    if "every" in named and "stories" not in named:
        raise InvalidInput("--every counts the plays of --stories: give that too")


def _tell(account: Account) -> None:
    if account.plays % 100 == 0:
        say(f"{account.plays} plays, {account.events} events, {account.deaths} deaths")


def _account(account: Account) -> dict[str, Any]:
    names = ("plays", "events", "points", "requests", "deaths")
    counted: dict[str, Any] = {name: getattr(account, name) for name in names}
    return counted | {
        "seconds": round(account.seconds, 1),
        "failed_seed": account.failed.schedule.seed if account.failed else None,
    }


def _replayed(played: Played, form: Format) -> None:
    if form == Format.table:
        print(f"digest  {played.digest}")
        for line in played.schedule.lines():
            print(f"  {line}")


def _failed(account: Account) -> None:
    assert account.failed is not None
    assert account.cut is not None
    for problem in account.failed.problems[:20]:
        say(f"broken: {problem}")
    say("the shortest schedule that still fails:")
    for line in account.cut.lines():
        say(f"  {line}")
    raise CheckFailed(
        f"seed {account.failed.schedule.seed} breaks a promise",
        hint=f"runward sim fuzz --seed {account.failed.schedule.seed} replays it",
    )
