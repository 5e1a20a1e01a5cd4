"""What becomes of old runs: pin, prune, erase."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.commands.opening import named_runs, opened
from ledger.commands.output import Format, confirm, print_one, print_rows, say
from ledger.commands.runs import DryRun, Out, Reason, Runs, Yes, each
from ledger.errors import InvalidInput, NotAllowed

if TYPE_CHECKING:
    from ledger.service.retention import Erased, Pruned


def register(app: typer.Typer) -> None:
    """Hang the commands into the app."""
    for command in (pin, prune, erase):
        app.command()(command)


def pin(
    runs: Runs,
    off: Annotated[bool, typer.Option("--off", help="Unpin.")] = False,
    reason: Reason = None,
    yes: Yes = False,
    form: Out = Format.table,
) -> None:
    """Keep runs from being pruned or erased."""
    if off:
        each(runs, "unpin", lambda x, name: x.unpin(name, reason=reason), yes, False, form)
    else:
        each(runs, "pin", lambda x, name: x.pin(name, reason=reason), yes, False, form)


def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Since the verdict: 90d, 12h.")
    ],
    state: Annotated[
        str | None, typer.Option(help="Only these verdicts, separated by commas.")
    ] = None,
    keep_failed: Annotated[
        bool, typer.Option("--keep-failed", help="Keep failed, expired and incomplete runs.")
    ] = False,
    flagged: Annotated[
        bool, typer.Option("--flagged", help="Also runs that a person should look at.")
    ] = False,
    query: Annotated[str, typer.Option("-q", "--query", help="Only what matches.")] = "",
    archive: Annotated[
        str | None, typer.Option(metavar="FILE", help="Export them into this file first.")
    ] = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    form: Out = Format.table,
) -> None:
    """Delete old runs, and leave a sealed tombstone of each. May be broken off and repeated."""
    chosen: dict[str, Any] = {
        "states": None if state is None else [s.strip() for s in state.split(",")],
        "keep_failed": keep_failed,
        "flagged": flagged,
        "query": query,
    }
    with opened() as ledger:
        plan = ledger.prune(older_than, dry_run=True, **chosen)
        if dry_run:
            _print_pruned(plan, form)
            say(f"would prune {plan.runs} runs; nothing was changed")
            return
        _ask("prune", plan.runs, plan.sample, yes)
        done = ledger.prune(older_than, archive=archive, reason=reason, told=_progress, **chosen)
    _print_pruned(done, form)


def _ask(action: str, count: int, sample: tuple[int, ...], yes: bool) -> None:
    """As `confirm`, where the runs are too many to be listed."""
    shown = ", ".join(map(str, sample)) + (", …" if count > len(sample) else "")
    if yes or count == 0:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(f"{action} {count} runs ({shown})", hint="add --yes to do it")
    typer.confirm(f"{action} {count} runs ({shown})?", abort=True, err=True)


def _progress(runs: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{runs} runs pruned", end="", file=sys.stderr)


def _print_pruned(done: Pruned, form: Format) -> None:
    row: dict[str, Any] = {
        "runs": done.runs,
        "events": done.events,
        "payloads": done.payloads,
        "archived": done.archived,
        "finished_before": done.before.isoformat(),
    }
    if done.sample:
        row |= {"sample": list(done.sample)}
    row |= {f"kept_{why}": count for why, count in done.kept.items()}
    print_one(row, form=form, name="runs")


def erase(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN…]", help="Number, key, upstream id or -.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(metavar="NAME=VALUE", help="All runs with this tag.")
    ] = None,
    reason: Reason = None,
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Also rewrite the database's files (VACUUM).")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    form: Out = Format.table,
) -> None:
    """Destroy the contents of runs for good; their states, times and digests stay."""
    named: list[Any] = list(named_runs(runs)) if runs else []
    chosen: dict[str, Any] = {"tag": _pair(tag)}
    with opened() as ledger:
        plan = ledger.erase(named, dry_run=True, **chosen)
        if not dry_run and plan.runs:
            confirm("erase the contents of", [str(run) for run in plan.runs], yes=yes)
        done = plan if dry_run else ledger.erase(named, reason=reason, rewrite=rewrite, **chosen)
    _print_erased(done, form)
    if dry_run:
        say(f"would erase {len(done.runs)} runs; nothing was changed")
        return
    if done.note:
        say(f"not off the disk yet: {done.note}")
    if done.refused:
        _, why = done.refused[0]
        raise NotAllowed(f"{len(done.refused)} runs were not erased; the first: {why}")


def _pair(tag: str | None) -> tuple[str, str] | None:
    if tag is None:
        return None
    name, equals, value = tag.partition("=")
    if not equals:
        raise InvalidInput(f"a tag is NAME=VALUE, not {tag!r}")
    return name, value


def _print_erased(done: Erased, form: Format) -> None:
    rows: list[dict[str, Any]] = [{"id": run, "erased": True, "why": None} for run in done.runs]
    rows += [{"id": run, "erased": False, "why": why} for run, why in done.refused]
    print_rows(rows, form=form, columns=("id", "erased", "why"))
    say(f"{done.payloads} payloads of {len(done.runs)} runs")
