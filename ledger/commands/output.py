"""Results on stdout in the format that was asked for; progress and hints on stderr."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from ledger.commands.plain_text import harmless
from ledger.errors import InvalidInput


class Format(StrEnum):
    """How results are printed. Field names are stable; additions only."""

    table = "table"
    json = "json"
    ndjson = "ndjson"
    csv = "csv"
    name = "name"


class State:
    """What the global flags say; set once by the app's callback."""

    database: str | None = None
    profile: str = "default"
    quiet: bool = False
    debug: bool = False
    running: bool = False
    """Whether this command has begun to run for long; what it says from then on is its log."""


def say(text: str) -> None:
    """A hint or progress line, on stderr."""
    if not State.quiet:
        print(text, file=sys.stderr)


def print_rows(
    rows: Iterable[Mapping[str, Any]],
    *,
    form: Format,
    columns: Sequence[str],
    name: str = "id",
    fields: str | None = None,
) -> None:
    """Print rows. `columns` are those of a table; JSON forms hold all fields unless chosen."""
    chosen = [part.strip() for part in fields.split(",")] if fields else None
    listed = list(rows) if form in (Format.table, Format.json) else rows
    if chosen:
        listed = [_choose(row, chosen) for row in listed]
    match form:
        case Format.table:
            _table(list(listed), chosen or columns)
        case Format.json:
            print_json(list(listed))
        case Format.ndjson:
            for row in listed:
                print(json.dumps(row, ensure_ascii=True), flush=True)
        case Format.csv:
            _csv(listed, chosen or columns)
        case Format.name:
            for row in listed:
                print(row[name], flush=True)


def _choose(row: Mapping[str, Any], chosen: Sequence[str]) -> dict[str, Any]:
    for field in chosen:
        if field not in row:
            known = ", ".join(row)
            raise InvalidInput(f"there is no field {field!r}", hint=f"the fields are {known}")
    return {field: row[field] for field in chosen}


def print_one(row: Mapping[str, Any], *, form: Format, name: str = "id") -> None:
    """Print one object."""
    match form:
        case Format.table:
            _table(
                [{"field": key, "value": value} for key, value in row.items()], ("field", "value")
            )
        case Format.json:
            print_json(row)
        case Format.ndjson:
            print(json.dumps(row))
        case Format.csv:
            _csv([row], list(row))
        case Format.name:
            print(row[name])


def write_text(text: str, path: Path | None) -> None:
    """A text into a file, or on stdout where no file is named."""
    if path is None:
        sys.stdout.write(text)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from None
    say(f"written to {path}")


def print_json(value: object) -> None:
    """One valid document."""
    print(json.dumps(value, indent=2, ensure_ascii=True))


def _csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(box=SIMPLE_HEAD if terminal else None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=not terminal, overflow="fold")
    for row in rows:
        table.add_row(*(Text(harmless(_cell(row.get(column)))) for column in columns))
    width = None if terminal else 100_000
    console = Console(width=width, no_color=not terminal or "NO_COLOR" in os.environ)
    if terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    nested = isinstance(value, dict | list)
    text = json.dumps(value, ensure_ascii=False) if nested else str(value)
    return text.replace("\n", "\\n").encode("utf-8", "replace").decode()


def confirm(action: str, sample: Sequence[str], *, yes: bool, what: str = "runs") -> None:
    """Ask before more than one thing is changed. Off a terminal, `--yes` is the only consent."""
    if yes or len(sample) <= 1:
        return
    shown = ", ".join(sample[:5]) + (", …" if len(sample) > 5 else "")
    if not sys.stdin.isatty():
        raise InvalidInput(f"{action} {len(sample)} {what} ({shown})", hint="add --yes to do it")
    import typer

    typer.confirm(f"{action} {len(sample)} {what} ({shown})?", abort=True, err=True)
