"""`runward simulate-policy`: what another way of watching would have cost, beside today's."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, print_json, print_rows, say

COLUMNS = (
    "which", "policy", "worth", "calls_per_run", "mean_delay", "p50_delay", "p95_delay",
    "p99_delay", "busiest_minute", "minutes_over_limit",
)  # fmt: skip
Figure = float | None


def register(app: typer.Typer) -> None:
    """Hang the command into the app."""
    app.command("simulate-policy")(simulate_policy)


def simulate_policy(
    policy: Annotated[str, typer.Option(help="learned, backoff or fixed.")] = "learned",
    worth: Annotated[Figure, typer.Option(help="Calls that a second of delay is worth.")] = None,
    notice_within_seconds: Annotated[
        Figure, typer.Option(help="Instead: the mean delay to aim at.")
    ] = None,
    calls_per_minute: Annotated[
        Figure, typer.Option(help="Instead: looks a minute at all runs together.")
    ] = None,
    start_seconds: Annotated[Figure, typer.Option(help="Of the backoff: the first wait,")] = None,
    factor: Annotated[Figure, typer.Option(help="by how much each is longer,")] = None,
    cap_seconds: Annotated[Figure, typer.Option(help="and the longest.")] = None,
    every_seconds: Annotated[Figure, typer.Option(help="Of fixed: the wait.")] = None,
    profile: Annotated[str, typer.Option(help="Whose runs, and whose policy today.")] = "default",
    since: Annotated[str, typer.Option(help="Runs created since: 7d, or an ISO date.")] = "7d",
    form: Annotated[Format, typer.Option("-o", "--output")] = Format.table,
) -> None:
    """Play recorded durations through another policy: calls, delay, and the crowd of a minute."""
    given = {
        "policy": policy,
        "worth": worth,
        "notice_within_seconds": notice_within_seconds,
        "calls_per_minute": calls_per_minute,
        "start_seconds": start_seconds,
        "factor": factor,
        "cap_seconds": cap_seconds,
        "every_seconds": every_seconds,
    }
    with opened() as ledger:
        report = ledger.simulate_policy(profile=profile, since=since, **given)
    if form == Format.json:
        print_json(report)
        return
    print_rows(report["policies"], form=form, columns=COLUMNS, name="which")
    if form == Format.table:
        limit = report["limit"]
        known = "no limit is known" if limit is None else f"the limit is {limit:g} calls a minute"
        say(f"{report['objects']} objects of profile {report['profile']}; {known}")
