"""What leaves the ledger and comes into it: export, import."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, print_one, print_rows, say
from ledger.commands.runs import DryRun, Out
from ledger.errors import CheckFailed, InvalidInput

if TYPE_CHECKING:
    from ledger.service.importing import Imported
    from ledger.service.ledger import Ledger
    from ledger.service.taking_in import Taken

TAKEN_COLUMNS = ("line", "outcome", "id", "run", "why")


def register(app: typer.Typer) -> None:
    """Hang the commands into the app."""
    app.command()(export)
    app.command("import")(import_runs)


def export(
    query: Annotated[
        str, typer.Option("-q", "--query", help="As: status:failed since:2h; else all.")
    ] = "",
    file: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="A new file, or - for stdout.")
    ] = "-",
    resume: Annotated[
        str | None, typer.Option(metavar="FILE", help="Go on with a file that was cut off.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="One run, as a zip that can be verified.")
    ] = None,
) -> None:
    """Write runs out whole, as NDJSON with a manifest; or one run as a zip that proves itself."""
    if run is not None:
        _bundle(run, file, bool(query or resume))
        return
    if resume is not None and file not in ("-", resume):
        raise InvalidInput("--resume names the file to go on with: leave --output out")
    with opened() as ledger:
        if resume is None and file == "-":
            for text in ledger.export(query):
                sys.stdout.write(text + "\n")
            sys.stdout.flush()
            return
        done = ledger.export_to(resume or file, query, resume=resume is not None, told=_progress)
    say(f"{done.runs} runs in {done.path} ({done.added} now), SHA-256 {done.sha256}")


def _bundle(run: str, file: str, more: bool) -> None:
    if more:
        raise InvalidInput("--run is one run: leave --query and --resume out")
    if file == "-":
        raise InvalidInput("a bundle is a zip file: name it with -o FILE")
    with opened() as ledger:
        done = ledger.bundle(run, file)
    say(f"run {done.run} with {done.events} events is in {done.path}")
    if done.sealed < done.events:
        say(f"a seal covers {done.sealed} of its events: runward anchor seals the rest")


def _progress(runs: int) -> None:
    if runs % 100 == 0 and sys.stderr.isatty():
        print(f"\r{runs} runs", end="", file=sys.stderr)


def import_runs(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="What `runward export` wrote.")
    ] = None,
    adopt: Annotated[
        str | None, typer.Option(metavar="FILE", help="Ids of upstream objects, a line each.")
    ] = None,
    history: Annotated[
        str | None, typer.Option(metavar="FILE", help="Old objects as upstream printed them.")
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Drive here what still moves; stop it there.")
    ] = False,
    changed: Annotated[
        bool,
        typer.Option("--changed", help="Take what still proves itself of a file that was changed."),
    ] = False,
    dry_run: DryRun = False,
    form: Out = Format.table,
) -> None:
    """Take in runs of another ledger, ids to adopt, or objects that are over.

    Ends with 9 where something was refused; the rest is taken. May be repeated.
    """
    if sum(one is not None for one in (file, adopt, history)) != 1:
        raise InvalidInput("name one file: an export, or --adopt FILE, or --history FILE")
    if file is None and (take_over or changed):
        name = "--take-over" if take_over else "--changed"
        raise InvalidInput(f"{name} is about runs of an export")
    if adopt is not None and dry_run:
        raise InvalidInput("--adopt has no dry run: whether an id is right, upstream says later")
    with opened() as ledger:
        if file is not None:
            done = ledger.import_from(
                file, take_over=take_over, dry_run=dry_run, changed=changed, told=_progress
            )
            _print_imported(done, form)
        else:
            _print_taken(_taken(ledger, adopt, history, dry_run), form)


def _taken(
    ledger: Ledger, adopt: str | None, history: str | None, dry_run: bool
) -> Iterator[Taken]:
    if adopt is not None:
        return ledger.adopt_from(adopt)
    return ledger.import_history(history or "", dry_run=dry_run)


def _print_imported(done: Imported, form: Format) -> None:
    row: dict[str, Any] = {
        "ledger": done.ledger,
        "runs": done.runs,
        "tombstones": done.tombstones,
        "skipped": done.skipped,
        "refused": done.refusals,
    }
    refused = [{"what": one.what, "why": one.why} for one in done.refused]
    if form in (Format.table, Format.csv, Format.name):
        print_one(row, form=form, name="runs")
        if refused and form == Format.table:
            print("\nrefused")
            print_rows(refused, form=form, columns=("what", "why"))
    else:
        print_one({**row, "refusals": refused, "problems": done.problems}, form=form)
    sys.stdout.flush()
    if done.dry:
        say("nothing was written")
    if not done.whole:
        first = (done.problems + [f"{one.what}: {one.why}" for one in done.refused])[0]
        raise CheckFailed(f"{done.refusals} runs or lines were not taken: {first}"[:400])


def _print_taken(found: Iterable[Taken], form: Format) -> None:
    """Every line, in the forms that programs read; in a table only those that were refused."""
    counts = {"taken": 0, "skipped": 0, "refused": 0}

    def rows() -> Iterator[dict[str, Any]]:
        for one in found:
            counts[one.outcome] += 1
            if form != Format.table or one.outcome == "refused":
                yield {name: getattr(one, name) for name in TAKEN_COLUMNS}

    print_rows(rows(), form=form, columns=TAKEN_COLUMNS, name="run")
    sys.stdout.flush()
    say(", ".join(f"{count} {what}" for what, count in counts.items()))
    if counts["refused"]:
        raise CheckFailed(f"{counts['refused']} lines were refused")
