"""`runward outbound`: signed webhooks to endpoints of yours, what waits and what was given up."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, confirm, print_one, print_rows, say
from ledger.errors import CheckFailed, InvalidInput

app = typer.Typer(help="Webhooks that go out: waiting, given up, sent again.", no_args_is_help=True)
Out = Annotated[Format, typer.Option("-o", "--output")]
COLUMNS = ("id", "endpoint", "type", "run_id", "state", "tries", "next_at", "last_error")
IDS_MAX = 1_000


@app.command("list")
def list_deliveries(
    waiting: Annotated[bool, typer.Option("--waiting", help="Not taken yet.")] = False,
    given_up: Annotated[bool, typer.Option("--given-up", help="Not tried any more.")] = False,
    endpoint: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 100,
    form: Out = Format.table,
) -> None:
    """What was sent or is to be sent, the newest first; also what a handler gave up on."""
    from ledger.core.alphabet import OutboxState
    from ledger.service.redelivery import list_outbox

    if waiting and given_up:
        raise InvalidInput("--waiting and --given-up exclude each other")
    state = OutboxState.waiting if waiting else OutboxState.given_up if given_up else None
    with opened() as ledger:
        rows = list_outbox(ledger, state=state, name=endpoint, limit=limit)
    print_rows(rows, form=form, columns=COLUMNS)


@app.command()
def redeliver(
    ids: Annotated[list[int] | None, typer.Argument(metavar="ID…")] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    since: Annotated[str | None, typer.Option(help="As 2h, or an ISO time.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Send again what was given up or taken; under the same id, so that whoever has it knows."""
    from ledger.service.redelivery import choose
    from ledger.service.redelivery import redeliver as send_again

    if ids and len(ids) > IDS_MAX:
        raise InvalidInput(f"{len(ids)} deliveries at once; the limit is {IDS_MAX}")
    with opened() as ledger:
        chosen = choose(ledger, ids or [], name=endpoint, since=since)
        confirm("send again", [str(number) for number in chosen], yes=yes, what="deliveries")
        done = send_again(ledger, chosen)
    say(f"{done} deliveries are due again; a daemon sends them")


@app.command("test")
def try_one(name: Annotated[str, typer.Argument(metavar="NAME")], form: Out = Format.table) -> None:
    """Sign one message of type runward.test, send it now, and say the answer. Ends with 9 if it
    was not taken."""
    from ledger.service.redelivery import try_endpoint

    with opened() as ledger:
        row = try_endpoint(ledger, name)
    print_one(row, form=form, name="id")
    if not row["taken"]:
        said = row["error"] or f"it answered {row['status']}"
        raise CheckFailed(f"endpoint {name} did not take it: {said}")
