"""The commands that reproduce a number of the report."""

from __future__ import annotations

import shlex
from datetime import datetime

from ledger.core.postmortem.material import Span

FAILED = "status:failed,expired"


def listing(query: str, *terms: str) -> str:
    """The command that lists the runs of these terms, within the report's own query."""
    whole = " ".join(part for part in (*terms, query) if part)
    return f"runward list -q {shlex.quote(whole)}"


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
