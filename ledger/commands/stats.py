"""`runward stats`: counts, outcomes, and how long things took."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.commands.inspecting import AsOf, Query
from ledger.commands.opening import opened
from ledger.commands.output import Format, print_json, print_rows, say, write_text
from ledger.errors import InvalidInput

COLUMNS = (
    "group", "bucket", "runs", "outcomes", "queue_p50", "queue_p95", "run_p50", "run_p95",
    "run_p99", "tool_p95", "detection_p50", "detection_p95",
)  # fmt: skip
MEASURES = ("queue", "run", "tool", "detection")


def register(app: typer.Typer) -> None:
    """Hang the command into the app."""
    app.command()(stats)


def stats(
    query: Query = "",
    since: Annotated[str, typer.Option(help="Runs created since: 7d, yesterday, a date.")] = "7d",
    until: Annotated[str | None, typer.Option(help="Runs created before; the same.")] = None,
    by: Annotated[
        str | None,
        typer.Option(help="status, model, provider, profile, kind, error_code or tag:NAME."),
    ] = None,
    bucket: Annotated[
        str | None,
        typer.Option(
            help="Also by time: 5m, 1h, 1d, 1w. They begin on whole hours and days of UTC, weeks "
            "on Mondays, wherever --since is: the first may hold only a part."
        ),
    ] = None,
    as_of: AsOf = None,
    chart: Annotated[
        Path | None, typer.Option(help="Also draw the outcomes, as SVG into this file.")
    ] = None,
    form: Annotated[Format, typer.Option("-o", "--output")] = Format.table,
) -> None:
    """Counts, outcomes and percentiles in seconds: queue (created to started), run (started to
    finished), tool (all calls of a run), detection (upstream's end to the verdict)."""
    if chart is not None and chart.suffix.lower() != ".svg":
        raise InvalidInput(f"{chart} would hold SVG: its name ends in .svg")
    with opened() as ledger:
        report = ledger.stats(query, since=since, until=until, by=by, bucket=bucket, as_of=as_of)
    if chart is not None:
        _draw(report, chart)
    if form == Format.json:
        print_json(report)
        return
    total = _flat({**report["total"], "group": "total", "bucket": None})
    rows = [_flat({**row, "group": row["group"] or "-"}) for row in report["groups"]]
    if form != Format.table:
        print_rows(rows or [total], form=form, columns=_columns(), name="group")
        return
    shown = [name for name in COLUMNS if name != "bucket" or bucket is not None]
    print_rows([*rows, total], form=form, columns=shown)
    if "fleet" in report:
        fleet = " ".join(f"{state}:{count}" for state, count in sorted(report["fleet"].items()))
        say(f"all runs at {report['as_of']}: {fleet}")


def _draw(report: dict[str, Any], path: Path) -> None:
    from ledger.service.rendering.charts import counts, drawn

    write_text(drawn(counts(report)), path)


def _columns() -> tuple[str, ...]:
    times = [f"{name}_{what}" for name in MEASURES for what in ("runs", "p50", "p95", "p99")]
    return ("group", "bucket", "runs", "outcomes", *times)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row without rows in it."""
    outcomes = " ".join(f"{state}:{count}" for state, count in row["outcomes"].items())
    flat = {f"{name}_{what}": value for name in MEASURES for what, value in row.pop(name).items()}
    return {**row, "outcomes": outcomes, **flat}
