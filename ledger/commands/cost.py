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
POLICY_COLUMNS = (
    "policy", "calls_per_run", "calls_usd", "mean_delay", "p50_delay", "p95_delay", "p99_delay",
    "pays_from_runs", "folk_runs_usd", "note",
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
    policies: Annotated[
        bool, typer.Option("--policies", help="Polling or webhooks: what each would have cost.")
    ] = False,
    endpoint_monthly_usd: Annotated[
        str | None, typer.Option(help="With --policies: what a webhook endpoint costs a month.")
    ] = None,
    claims: Annotated[
        bool, typer.Option("--claims", help="With --policies: what is said of the price of calls.")
    ] = False,
    form: Annotated[Format, typer.Option("-o", "--output")] = Format.table,
) -> None:
    """What runs have cost upstream; what has no known price is listed apart, never as nothing."""
    _judge(policies, by=by, endpoint=endpoint_monthly_usd is not None, claims=claims)
    if policies:
        _policies(since, until, endpoint_monthly_usd, claims, form)
        return
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


def _judge(policies: bool, *, by: str | None, endpoint: bool, claims: bool) -> None:
    """Raises InvalidInput for an option that would be passed over in silence."""
    from ledger.errors import InvalidInput

    if policies and by is not None:
        raise InvalidInput("--by and --policies exclude each other: all runs are played together")
    if not policies and (endpoint or claims):
        name = "--endpoint-monthly-usd" if endpoint else "--claims"
        raise InvalidInput(f"{name} says nothing without --policies")


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


def _policies(
    since: str, until: str | None, monthly: str | None, with_claims: bool, form: Format
) -> None:
    from ledger.service.reporting import judge_money

    given = None if monthly is None else judge_money("--endpoint-monthly-usd", monthly)
    with opened() as ledger:
        report = ledger.policies(since=since, until=until, endpoint_monthly_usd=given)
    if form == Format.json:
        print_json(report)
        return
    print_rows(report["policies"], form=form, columns=POLICY_COLUMNS, name="policy")
    if form == Format.table:
        _say_terms(report)
        for one in report["claims"] if with_claims else ():
            print(f"claim: {one['claim']}; {one['finding']}; {one['arithmetic']}")


def _say_terms(report: dict[str, Any]) -> None:
    """What the figures are of, and when an endpoint pays."""
    print(f"{report['objects']} objects, {report['run_seconds']:.0f} s of upstream's work in all")
    print(f"a call costs ${report['call_price_usd']}, set by `call_price_usd`; none is published")
    monthly, folk = report["endpoint_monthly_usd"], report["folk_runs"]
    if monthly is None:
        say("with --endpoint-monthly-usd: from how many runs at once a webhook endpoint pays")
    else:
        print(f"pays_from_runs: runs at once that save an endpoint's ${monthly} a month")
    print(f"folk_runs_usd: saved in a month by {folk} runs at once, the folk figure")
