"""`runward db`: upgrade, current, check, sql."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.commands.output import Format, State, print_one, say
from ledger.errors import InvalidInput, SchemaMismatch

app = typer.Typer(help="The database's schema.", no_args_is_help=True)
Out = Annotated[Format, typer.Option("-o", "--output")]


def _url() -> str:
    from ledger.settings import load_settings

    return load_settings(database_url=State.database).database_url


@app.command()
def upgrade() -> None:
    """Bring the schema to the newest revision; one process at a time, all or nothing."""
    from ledger.store.migrate import upgrade as migrate

    before, after = migrate(_url())
    say(f"schema {before or 'empty'} -> {after}" if before != after else f"schema {after} already")


@app.command()
def current(form: Out = Format.table) -> None:
    """The schema's revision, and whether this program knows it."""
    from ledger.store.engine import in_words, open_engine
    from ledger.store.schema import HEAD, inspect

    engine = open_engine(_url())
    try:
        with in_words(engine.url):
            status = inspect(engine)
    finally:
        engine.dispose()
    row = {"revision": status.revision, "newest": HEAD, "fit": str(status.fit)}
    print_one(row, form=form, name="revision")


@app.command()
def check() -> None:
    """Compare tables, constraints and triggers with what they should be. Ends with 7 if not."""
    from ledger.store.migrate import differences

    found = differences(_url())
    for difference in found:
        print(difference)
    if found:
        raise SchemaMismatch(f"{len(found)} differences", hint="runward db upgrade")
    say("the schema is as it should be")


@app.command()
def sql(
    dialect: Annotated[str, typer.Argument(help="sqlite or postgresql.")] = "postgresql",
) -> None:
    """Print the statements of an upgrade from nothing; changes nothing."""
    if dialect not in ("sqlite", "postgresql"):
        raise InvalidInput(f"the dialect is sqlite or postgresql, not {dialect!r}")
    from ledger.store.migrate import offline_sql

    print(offline_sql(dialect))
