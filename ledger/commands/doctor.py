"""`runward doctor`, `runward config` and `runward version`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, State, print_json, print_rows
from ledger.errors import CheckFailed

config = typer.Typer(help="What is configured, and where it comes from.", no_args_is_help=True)
Out = Annotated[Format, typer.Option("-o", "--output")]


def register(app: typer.Typer) -> None:
    """Hang the commands into the app."""
    app.command()(doctor)
    app.command()(version)


def doctor(
    list_all: Annotated[bool, typer.Option("--list", help="Only print the invariants.")] = False,
    form: Out = Format.table,
) -> None:
    """Look for what is wrong and name the fix. Ends with 9 if something is."""
    if list_all:
        from ledger.store.invariants import INVARIANTS

        rows = [{"number": item.number, "text": item.text} for item in INVARIANTS]
        print_rows(rows, form=form, columns=("number", "text"), name="number")
        return
    from ledger.service.doctor import examine

    with opened() as ledger:
        found = list(examine(ledger))
    marks = {True: "ok", False: "PROBLEM", None: ""}
    rows = [{"name": f.name, "state": marks[f.ok], "what": f.what, "fix": f.fix} for f in found]
    print_rows(rows, form=form, columns=("name", "state", "what", "fix"), name="name")
    problems = [f for f in found if f.ok is False]
    if problems:
        raise CheckFailed(f"{len(problems)} problems", hint=problems[0].fix or None)


def version(form: Out = Format.table) -> None:
    """The versions of runward, its schema, Python and the openai library."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    def of(name: str) -> str:
        try:
            return installed(name)
        except PackageNotFoundError:
            return "not installed"

    facts = {
        "runward": of("runward"),
        "schema": _schema(),
        "python": platform.python_version(),
        "openai": of("openai"),
    }
    if form == Format.table:
        print(" ".join(f"{name} {value}" for name, value in facts.items()))
    else:
        print_rows([facts], form=form, columns=tuple(facts), name="runward")


def _schema() -> str:
    from ledger.store.schema import HEAD

    return HEAD


@config.command()
def show(form: Out = Format.table) -> None:
    """Every setting, its value and where that comes from."""
    from ledger.service.configuration import shown
    from ledger.settings import load_settings, origin_of

    values = shown(load_settings(database_url=State.database))
    flags = {"database_url"} if State.database else set()
    rows = [
        {"name": name, "value": value, "origin": "flag" if name in flags else origin_of(name)}
        for name, value in values.items()
    ]
    print_rows(rows, form=form, columns=("name", "value", "origin"), name="name")


@config.command()
def path() -> None:
    """The configuration file in use, if there is one."""
    from ledger.settings import config_path

    found = config_path()
    print(found if found else "none")


@config.command()
def schema() -> None:
    """The JSON schema of runward.toml."""
    from ledger.settings import Settings

    print_json(json.loads(json.dumps(Settings.model_json_schema())))
