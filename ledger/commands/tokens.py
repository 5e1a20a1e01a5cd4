"""`runward token`: who may ask over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.commands.opening import opened, user_name
from ledger.commands.output import Format, print_one, print_rows, say

app = typer.Typer(help="Bearer tokens of the HTTP service.", no_args_is_help=True)
Out = Annotated[Format, typer.Option("-o", "--output")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="In the history its bearer is so named.")]
COLUMNS = ("name", "role", "state", "created_at", "created_by", "expires_at", "used_at")


@app.command()
def create(
    name: Name,
    role: Annotated[
        str, typer.Option(help="viewer reads, operator also changes runs, admin may do all.")
    ] = "viewer",
    expires: Annotated[str | None, typer.Option(help="As 30d; by default never.")] = None,
    form: Out = Format.table,
) -> None:
    """Make a token and print it: the only time that it is shown, since only its hash is kept."""
    from ledger.service.tokens import create_token

    with opened() as ledger:
        text, kept = create_token(
            ledger, name, role=role, expires=expires, actor=f"cli:{user_name()}"
        )
    if form == Format.table:
        print(text)
        say(f"token {name} ({kept['role']}): keep it now, it cannot be shown again")
    else:
        print_one({**kept, "token": text}, form=form, name="name")


@app.command("list")
def list_all(form: Out = Format.table) -> None:
    """All tokens and what has become of them, the newest first."""
    from ledger.service.tokens import list_tokens

    with opened() as ledger:
        rows = list_tokens(ledger)
    print_rows(rows, form=form, columns=COLUMNS, name="name")


@app.command()
def revoke(name: Name) -> None:
    """End a token at once. Its name stays taken: the history speaks of it."""
    from ledger.service.tokens import revoke as end_token

    with opened() as ledger:
        end_token(ledger, name, actor=f"cli:{user_name()}")
    say(f"token {name} is revoked")
