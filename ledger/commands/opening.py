"""Opening what a command works on. The database library is imported here, not at start-up."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ledger.commands.output import State
from ledger.errors import InvalidInput

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger


@contextmanager
def opened(*, tools: str | None = None, migrate: bool = False, **settings: Any) -> Iterator[Ledger]:
    """The configured ledger, closed at the end."""
    from ledger.service.ledger import Ledger
    from ledger.service.tools import Toolbox

    ledger = Ledger.open(
        State.database,
        tools=Toolbox.load(tools),
        profile=State.profile,
        actor=f"cli:{user_name()}",
        migrate=migrate,
        **settings,
    )
    try:
        yield ledger
    finally:
        ledger.close()


def user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def named_runs(names: Iterable[str]) -> list[str]:
    """The runs that a command was given; `-` stands for the lines of stdin."""
    found: list[str] = []
    for name in names:
        if name == "-":
            found += [line.strip() for line in sys.stdin if line.strip()]
        else:
            found.append(name)
    if not found:
        raise InvalidInput("no run was named")
    return found
