"""`runward tools`: calls that wait for somebody, and their answers."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, print_rows, say
from ledger.errors import InvalidInput

app = typer.Typer(
    help="Tool calls: waiting, held, approved or answered by hand.", no_args_is_help=True
)
Out = Annotated[Format, typer.Option("-o", "--output")]
COLUMNS = ("run_id", "n", "tool", "call_id", "state", "held", "approval", "lapses_in")
SHOW = ("n", "attempt", "tool", "call_id", "state", "held", "approval", "arguments", "output")
Run = Annotated[str, typer.Argument(metavar="RUN")]
Call = Annotated[str, typer.Argument(metavar="CALL", help="Call id, or its number.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Kept in the run's history.")]
OUTPUT_BYTES_MAX = 1_048_576


@app.command("list")
def list_calls(form: Out = Format.table) -> None:
    """Calls without an output, in runs that wait for one. `lapses_in` counts the seconds that are
    left for an answer."""
    from ledger.clock import utcnow
    from ledger.store.queries import open_calls

    with opened() as ledger:
        rows = ledger.store.read(open_calls)
    now = utcnow()
    print_rows([_view(row, now) for row in rows], form=form, columns=COLUMNS, name="run_id")


def _view(row: Any, now: datetime) -> dict[str, Any]:
    ends = [row.deadline_at, *([] if row.settled or not row.expires_at else [row.expires_at])]
    return {
        "run_id": row.run_id,
        "run_key": row.run_key,
        "n": row.n,
        "tool": row.tool,
        "call_id": row.call_id,
        "state": str(row.state),
        "held": row.held,
        "approval": None if row.approval is None else str(row.approval),
        "lapses_in": max(0, int((min(ends) - now).total_seconds())),
        "requested_at": row.requested_at.isoformat(),
        "deadline_at": row.deadline_at.isoformat(),
    }


@app.command()
def show(run: Run, form: Out = Format.table) -> None:
    """All calls of a run, with arguments and outputs."""
    with opened() as ledger:
        rows = ledger.show(run)["tool_calls"]
    print_rows(rows, form=form, columns=SHOW, name="call_id")


@app.command()
def submit(
    run: Run,
    call: Call,
    output: Annotated[
        str | None, typer.Option("--output", help="The output; - reads stdin.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", help="A file that holds the output.")
    ] = None,
    error: Annotated[bool, typer.Option("--error", help="The output is an error text.")] = False,
) -> None:
    """Answer a call by hand; the daemon sends it with the others of its round."""
    with opened() as ledger:
        done = ledger.answer(run, call, _output(output, file), is_error=error)
    say(f"run {done.id}: call {call} is answered")


@app.command()
def approve(run: Run, call: Call, reason: Reason = None) -> None:
    """Let a call run that waits for an approval."""
    with opened() as ledger:
        done = ledger.approve(run, call, reason=reason)
    say(f"run {done.id}: call {call} is approved")


@app.command()
def deny(
    run: Run,
    call: Call,
    reason: Annotated[str, typer.Option("--reason", help="The model is told, with this reason.")],
) -> None:
    """Answer a call that waits for an approval with a no."""
    with opened() as ledger:
        done = ledger.deny(run, call, reason=reason)
    say(f"run {done.id}: call {call} is denied")


@app.command()
def rerun(run: Run, call: Call, reason: Reason = None) -> None:
    """Let a held call run again: its effect may happen twice, on your word."""
    with opened() as ledger:
        done = ledger.rerun(run, call, reason=reason)
    say(f"run {done.id}: call {call} may run again")


def _output(output: str | None, file: str | None) -> str:
    if (output is None) == (file is None):
        raise InvalidInput("give the output once: --output TEXT, --output - or --file PATH")
    if output == "-":
        text = sys.stdin.read(OUTPUT_BYTES_MAX + 1)
    elif output is not None:
        text = output
    else:
        try:
            text = Path(str(file)).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{file} cannot be read: {error}") from None
    if len(text.encode("utf-8", "replace")) > OUTPUT_BYTES_MAX:
        raise InvalidInput(f"the output is larger than {OUTPUT_BYTES_MAX} bytes")
    return text
