"""`runward tools`: calls that wait for somebody, and their answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, print_rows, say
from ledger.errors import InvalidInput

app = typer.Typer(help="Tool calls: waiting, held, answered by hand.", no_args_is_help=True)
Out = Annotated[Format, typer.Option("-o", "--output")]
COLUMNS = ("run_id", "n", "tool", "call_id", "state", "held", "requested_at", "deadline_at")
SHOW = ("n", "attempt", "tool", "call_id", "state", "held", "arguments", "output", "is_error")
OUTPUT_BYTES_MAX = 1_048_576


@app.command("list")
def list_calls(form: Out = Format.table) -> None:
    """Calls without an output, in runs that wait for one."""
    from ledger.store.queries import open_calls

    with opened() as ledger:
        rows = ledger.store.read(open_calls)
    print_rows([_view(row) for row in rows], form=form, columns=COLUMNS, name="run_id")


def _view(row: Any) -> dict[str, Any]:
    return {
        "run_id": row.run_id,
        "run_key": row.run_key,
        "n": row.n,
        "tool": row.tool,
        "call_id": row.call_id,
        "state": str(row.state),
        "held": row.held,
        "requested_at": row.requested_at.isoformat(),
        "deadline_at": row.deadline_at.isoformat(),
    }


@app.command()
def show(run: Annotated[str, typer.Argument(metavar="RUN")], form: Out = Format.table) -> None:
    """All calls of a run, with arguments and outputs."""
    with opened() as ledger:
        rows = ledger.show(run)["tool_calls"]
    print_rows(rows, form=form, columns=SHOW, name="call_id")


@app.command()
def submit(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    call: Annotated[str, typer.Argument(metavar="CALL", help="Call id, or its number.")],
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
