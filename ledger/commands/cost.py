"""`runward cost`: calls, tokens and money, and what was not used of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, print_json, print_rows, say

COLUMNS = (
    "group", "runs", "attempts", "calls", "calls_per_run", "wasted_looks", "wasted_share",
    "tokens_in", "tokens_cached", "tokens_out", "cost_usd", "unused_tokens", "unused_usd",
)  # fmt: skip
Since = Annotated[str, typer.Option(help="Runs created since: an age as 7d, or an ISO date.")]
Until = Annotated[str | None, typer.Option(help="Runs created before; the same.")]


def register(app: typer.Typer) -> None:
    """Hang the command into the app."""
    app.command()(cost)


def cost(
    by: Annotated[
        str | None, typer.Option(help="model, profile, provider, kind, state or tag:NAME.")
    ] = None,
    since: Since = "7d",
    until: Until = None,
    form: Annotated[Format, typer.Option("-o", "--output")] = Format.table,
) -> None:
    """What runs have cost upstream; what has no known price is listed apart, never as nothing."""
    with opened() as ledger:
        report = ledger.cost(by=by, since=since, until=until)
    if form == Format.json:
        print_json(report)
        return
    total = {**report["total"], "group": "total"}
    groups = [{**row, "group": row["group"] or "-"} for row in report["groups"]]
    if form == Format.table:
        print_rows([*groups, total], form=form, columns=COLUMNS)
        _say_more(report)
        return
    print_rows(groups or [total], form=form, columns=COLUMNS, name="group")


def _say_more(report: dict[str, Any]) -> None:
    """What a table has no place for: causes, what is unknown, and whose prices these are."""
    total = report["total"]
    for one in total["unused"]:
        tokens = one["tokens_in"] + one["tokens_out"]
        print(f"not used, {one['cause']}: {tokens} tokens, {_money(one['cost_usd'])}")
    if total["undecided_tokens"]:
        print(f"not decided yet: {total['undecided_tokens']} tokens")
    for one in total["unknown"]["price"]:
        tokens = one["tokens_in"] + one["tokens_out"]
        print(f"price unknown: {one['objects']} objects of model {one['model']}, {tokens} tokens")
    if total["unknown"]["usage_objects"]:
        print(f"usage unknown: {total['unknown']['usage_objects']} objects")
    if total["unknown"]["price"]:
        say("a price that you know goes into a file, named by the setting `prices`")
    say(f"prices: {report['prices']['version']}, {report['prices']['source']}")


def _money(amount: str | None) -> str:
    return "price unknown" if amount is None else f"${amount}"
