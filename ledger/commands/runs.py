"""Verbs on runs: wait, result, cancel, restart, recheck, note, tag, adopt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.commands.opening import named_runs, opened
from ledger.commands.output import Format, confirm, print_one, print_rows, say
from ledger.errors import InvalidInput, RunFailed

if TYPE_CHECKING:
    from ledger.core.model import Run
    from ledger.service.ledger import Ledger

Runs = Annotated[list[str], typer.Argument(metavar="RUN…", help="Number, key, upstream id or -.")]
Out = Annotated[Format, typer.Option("-o", "--output")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Reason = Annotated[str | None, typer.Option(help="Kept in the history.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show; change nothing.")]
COLUMNS = ("id", "key", "status", "attempts", "error_code")
PLAN_COLUMNS = ("id", "status", "allowed", "refusal", "effects", "attempts", "tokens")
CALL_COLUMNS = (
    "n", "attempt", "tool", "key", "called_at", "outcome_known", "hold", "reuse", "rerun",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Hang the commands into the app."""
    for command in (wait, result, cancel, restart, recheck, note, tag, adopt):
        app.command()(command)


def wait(
    runs: Runs,
    timeout: Annotated[str | None, typer.Option(help="At most this long; the run goes on.")] = None,
    for_state: Annotated[
        str | None, typer.Option("--for", metavar="STATE", help="Until it was in this state.")
    ] = None,
    any_run: Annotated[bool, typer.Option("--any/--all", help="The first, or all.")] = False,
    drive: Annotated[str, typer.Option(help="auto drives where no daemon is; never.")] = "auto",
    tools: Annotated[str | None, typer.Option(metavar="MODULE")] = None,
    form: Out = Format.table,
) -> None:
    """Wait for verdicts. Ends with 0, 5 (not completed) or 6 (timeout)."""
    with opened(tools=tools) as ledger:
        ids = [ledger.run_id(name) for name in named_runs(runs)]
        done = _condition(ledger, for_state, any_run)
        ledger.wait_for(ids, timeout=timeout, drive=drive, done=done)
        found = [ledger.get(run_id) for run_id in ids]
        _print(found, form)
        ended = [run for run in found if run.final]
        bad = [run for run in ended if run.state != "completed"]
        if bad and for_state is None and not (any_run and len(bad) < len(ended)):
            raise RunFailed(
                f"{len(bad)} of {len(found)} runs did not complete",
                hint=f"runward show {bad[0].id}",
            )


def _condition(
    ledger: Ledger, for_state: str | None, any_run: bool
) -> Callable[[Mapping[int, Run]], bool]:
    from ledger.core.alphabet import State

    if for_state is not None and for_state not in {str(state) for state in State}:
        raise InvalidInput(f"{for_state!r} is no state", hint=f"states: {', '.join(State)}")
    combine = any if any_run else all

    def reached(run: Run) -> bool:
        if for_state is None:
            return run.final
        # The log, not the present state: a state that passed quickly counts.
        passed = any(event["to"] == for_state for event in ledger.events(run.id))
        return passed or run.state == for_state or run.final

    return lambda runs: combine(reached(run) for run in runs.values())


def result(run: Annotated[str, typer.Argument(metavar="RUN")]) -> None:
    """Print the final text. Ends with 8 while there is no verdict, 5 for another end."""
    with opened() as ledger:
        print(ledger.result(run))


def cancel(
    runs: Runs, reason: Reason = None, yes: Yes = False, dry_run: DryRun = False,
    form: Out = Format.table,
) -> None:  # fmt: skip
    """Ask for runs to be called off. Any final state may still win."""
    each(runs, "cancel", lambda x, name: x.cancel(name, reason=reason), yes, dry_run, form)


def restart(
    runs: Runs,
    effects: Annotated[
        str | None, typer.Option(help="Tools that had started: hold, reuse or rerun.")
    ] = None,
    reason: Reason = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    form: Out = Format.table,
) -> None:
    """Open the next attempt of runs that ended without completing.

    --dry-run shows whether that is allowed, what was spent, and what becomes of tools with effects.
    """
    if effects is not None:
        from ledger.core.policy import parse_effects

        parse_effects(effects)
    if dry_run:
        _plan_restarts(runs, effects, form)
        return

    def act(ledger: Ledger, name: int) -> Run:
        return ledger.restart(name, effects=effects, reason=reason)

    each(runs, "restart", act, yes, False, form)


def _plan_restarts(names: list[str], effects: str | None, form: Format) -> None:
    """What the restarts would do: tools with effects first, since those cannot be taken back."""
    from ledger.service.views import plan_view

    with opened() as ledger:
        plans = [plan_view(ledger.plan_restart(x, effects=effects)) for x in named_runs(names)]
    if form == Format.table:
        for plan in plans:
            calls = plan.pop("calls")
            print_one({k: v for k, v in plan.items() if v not in (None, [])}, form=form)
            if calls:
                print("\ntools with effects that were called")
                print_rows(calls, form=form, columns=CALL_COLUMNS)
    elif len(plans) == 1:
        print_one(plans[0], form=form)
    else:
        print_rows(plans, form=form, columns=PLAN_COLUMNS)
    say(f"would restart {sum(p['allowed'] for p in plans)} runs; nothing was changed")


def recheck(runs: Runs, form: Out = Format.table) -> None:
    """Have upstream's objects read at once, also those of runs which have their verdict."""
    each(runs, "recheck", lambda x, name: x.recheck(name), True, False, form)


def note(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    text: Annotated[str, typer.Argument()],
    form: Out = Format.table,
) -> None:
    """Write a remark into a run's history."""
    each([run], "note", lambda x, name: x.note(name, text), True, False, form)


def tag(
    runs: Runs,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="Set; repeatable.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="NAME", help="Take away; repeatable.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    form: Out = Format.table,
) -> None:
    """Set and remove tags of runs that are there already; the history keeps who did."""
    from ledger.commands.submit import read_tags

    wanted, gone = read_tags(tags), remove or []
    each(runs, "tag", lambda x, name: x.tag(name, wanted, remove=gone), yes, dry_run, form)


def each(
    names: list[str],
    action: str,
    act: Callable[[Ledger, int], Run],
    yes: bool,
    dry_run: bool,
    form: Format,
) -> None:
    """Do something to each of these runs, after asking where there are several."""
    with opened() as ledger:
        ids = [ledger.run_id(name) for name in named_runs(names)]
        if dry_run:
            _print([ledger.get(run_id) for run_id in ids], form)
            say(f"would {action} {len(ids)} runs; nothing was changed")
            return
        confirm(action, [str(run_id) for run_id in ids], yes=yes)
        _print([act(ledger, run_id) for run_id in ids], form)


def adopt(
    remote_id: Annotated[str, typer.Argument(metavar="ID", help="A response or thread run id.")],
    provider: Annotated[str, typer.Option(help="responses or assistants.")] = "responses",
    thread: Annotated[str | None, typer.Option(help="The thread of a thread run.")] = None,
    run: Annotated[
        str | None, typer.Option(help="The run whose unclear create made this object.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Your name for the run.")] = None,
    form: Out = Format.table,
) -> None:
    """Start to watch an upstream object made elsewhere, or resolve an unclear create with it."""
    with opened() as ledger:
        _print([ledger.adopt(remote_id, run=run, provider=provider, thread=thread, key=key)], form)


def _print(runs: list[Run], form: Format) -> None:
    from ledger.service.views import run_summary

    rows: list[dict[str, Any]] = [run_summary(run) for run in runs]
    print_rows(rows, form=form, columns=COLUMNS)
