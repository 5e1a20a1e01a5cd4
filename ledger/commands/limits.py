"""`runward limits`: how many calls each account may make, and what came of it."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, print_rows

COLUMNS = (
    "profile", "provider", "configured", "seen", "left", "headroom", "share", "refused_1h",
    "refused_24h", "throttled_seconds_1h", "throttled_seconds_24h", "state", "why",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Hang the command into the app."""
    app.command()(limits)


def limits(form: Annotated[Format, typer.Option("-o", "--output")] = Format.table) -> None:
    """Requests a minute as configured and seen, what is left, 429s, waiting, and what is closed."""
    from ledger.service.limits import limits as measured

    with opened() as ledger:
        rows = measured(ledger)
    print_rows(rows, form=form, columns=COLUMNS, name="account")
