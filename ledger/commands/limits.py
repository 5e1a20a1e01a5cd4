"""`runward limits`: how many calls each account may make, and what came of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, print_json, print_rows, say

COLUMNS = (
    "profile", "provider", "configured", "seen", "left", "headroom", "share", "refused_1h",
    "refused_24h", "throttled_seconds_1h", "throttled_seconds_24h", "state", "why",
)  # fmt: skip
LOOK_COLUMNS = ("at", "in_seconds", "over_by_then", "why")


def register(app: typer.Typer) -> None:
    """Hang the command into the app."""
    app.command()(limits)


def limits(
    explain: Annotated[
        str | None, typer.Option(metavar="RUN", help="The next looks at a run, and why then.")
    ] = None,
    form: Annotated[Format, typer.Option("-o", "--output")] = Format.table,
) -> None:
    """Requests a minute as configured and seen, what is left, 429s, waiting, and what is closed."""
    from ledger.service.limits import limits as measured

    with opened() as ledger:
        if explain is not None:
            _explain(ledger.next_looks(explain), form)
            return
        rows = measured(ledger)
    print_rows(rows, form=form, columns=COLUMNS, name="account")


def _explain(found: dict[str, Any], form: Format) -> None:
    if form == Format.json:
        print_json(found)
        return
    print_rows(found["looks"], form=form, columns=LOOK_COLUMNS, name="at")
    if form != Format.table:
        return
    if not found["looks"]:
        say(
            f"run {found['run']} is {found['status']}; `runward show {found['run']}` says what next"
        )
        return
    print(_known(found["class"]))
    print(f"profile {found['profile']}: a second of delay is worth {found['worth']:g} calls")
    if found["webhooks_missed_share"] is not None:
        print(f"webhooks tell of its end; {found['webhooks_missed_share']:.1%} of them do not come")


def _known(of: dict[str, Any] | None) -> str:
    if of is None:
        return "too few runs of its class have ended: it is watched by the backoff"
    return (
        f"class {' / '.join(of['of'])}: {of['runs']} runs, half of them within "
        f"{of['p50_seconds']:g} s, nine of ten within {of['p90_seconds']:g} s"
    )
