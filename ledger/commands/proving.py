"""Proof: verify and anchor."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.commands.opening import named_runs, opened
from ledger.commands.output import Format, print_json, print_one, print_rows, say
from ledger.errors import CheckFailed, InvalidInput

if TYPE_CHECKING:
    from ledger.core.anchor import Anchor
    from ledger.store.verify_seals import Broken

Out = Annotated[Format, typer.Option("-o", "--output")]
COLUMNS = ("run_id", "seq", "seal", "why")


def register(app: typer.Typer) -> None:
    """Hang the commands into the app."""
    app.command()(verify)
    app.command()(anchor)


def verify(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN…]")] = None,
    anchors: Annotated[
        list[str] | None,
        typer.Option("--anchor", metavar="FILE", help="What `runward anchor` wrote; repeatable."),
    ] = None,
    form: Out = Format.table,
) -> None:
    """Recompute the hash chains of runs, and of the seals over all of them.

    Ends with 9 and names the first thing of each run, and of each seal, that does not fit.
    """
    given = [_read(name) for name in anchors or []]
    with opened() as ledger:
        done = ledger.verify(named_runs(runs) if runs else None, anchors=given)
    broken = [_row(fault) for fault in done.broken]
    if form == Format.json:
        counts = {"runs": done.runs, "events": done.events, "erased_payloads": done.erased}
        counts |= {"pruned": done.pruned, "seals": done.seals}
        print_json({**counts, "broken": broken})
    else:
        print(
            f"{done.runs} runs, {done.events} events, {done.erased} payloads erased, "
            f"{done.pruned} pruned, {done.seals} seals"
        )
        if broken:
            print_rows(broken, form=form, columns=COLUMNS, name="run_id")
    sys.stdout.flush()
    if broken:
        raise CheckFailed(f"history was changed in {_count(broken)}; the first is {_named(broken)}")


def _row(fault: Broken) -> dict[str, Any]:
    seq = None if fault.run_id is None else fault.seq
    return {"run_id": fault.run_id, "seq": seq, "seal": fault.seal, "why": fault.why}


def _count(broken: list[dict[str, Any]]) -> str:
    runs = sum(1 for row in broken if row["run_id"] is not None)
    counts = {"runs": runs, "seals": len(broken) - runs}
    return " and ".join(f"{count} {name}" for name, count in counts.items() if count)


def _named(broken: list[dict[str, Any]]) -> str:
    first = broken[0]
    of_seal = first["run_id"] is None
    what = f"seal {first['seal']}" if of_seal else f"run {first['run_id']}, event {first['seq']}"
    return f"{what}: {first['why']}"


def anchor(
    file: Annotated[
        str | None, typer.Option("--output", metavar="FILE", help="Write it there.")
    ] = None,
    form: Annotated[Format, typer.Option("-o", help="The format on stdout.")] = Format.table,
) -> None:
    """Seal all there is now, and print the anchor: keep it where nobody can change it.

    `runward verify --anchor FILE` then finds out if even the whole database was rewritten.
    """
    if file is not None and Path(file).is_dir():
        raise InvalidInput(f"{file} cannot be written: it is a folder")
    with opened() as ledger:
        made = ledger.anchor()
    if file is None:
        print_one(made.as_json(), form=form, name="hash")
        return
    _write(Path(file), json.dumps(made.as_json(), indent=2) + "\n")
    say(f"seal {made.seal} over {made.runs} runs and {made.events} events; its anchor is {file}")


def _write(path: Path, text: str) -> None:
    """All or nothing: half an anchor proves nothing."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"{path} cannot be written: {why}") from None


def _read(name: str) -> Anchor:
    from ledger.core.anchor import BYTES_MAX, parse_anchor

    try:
        with Path(name).open("rb") as handle:
            body = handle.read(BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read: {error.strerror}") from None
    try:
        return parse_anchor(body)
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error.message}", hint=error.hint) from None
