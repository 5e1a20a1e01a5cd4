"""The commands that reproduce a number of the report."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from ledger.core.postmortem.material import Span

FAILED = "status:failed,expired"
SHOWN_MAX: Final = 20
"""So many runs are named in one command at most."""


def listing(query: str, *terms: str) -> str:
    """The command that lists the runs of these terms, within the report's own query."""
    whole = " ".join(part for part in (*terms, query) if part)
    return f"runward list -q {shlex.quote(whole)}"


def shown(runs: Iterable[int]) -> str:
    """The command that shows these runs, the first SHOWN_MAX of them; nothing for none."""
    named = sorted(set(runs))[:SHOWN_MAX]
    return f"runward show {' '.join(map(str, named))}" if named else ""


def ended(span: Span) -> str:
    """The terms for runs that got their verdict in a window."""
    return f"finished_since:{moment(span.since)} finished_until:{moment(span.until)}"


def created(span: Span) -> str:
    """The terms for runs that were created in a window."""
    return f"since:{moment(span.since)} until:{moment(span.until)}"


def term(name: str, value: str) -> str:
    """One term, quoted where the value needs it."""
    plain = value and all(c.isalnum() or c in "_-." for c in value)
    if plain:
        return f"{name}:{value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}:"{escaped}"'


def moment(at: datetime) -> str:
    """A time as queries and people read it."""
    return at.isoformat()
