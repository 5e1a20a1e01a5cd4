"""A report for strangers: names, ids, keys, tags and labels are replaced by hashes.

What is replaced is what the report is made of, so that no sentence holds what a table hides. The
salt follows from the ledger and the window: equal names stay equal within a report and differ in
another one, and the report stays the same each time it is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

from ledger.core.postmortem.material import Before, Material
from ledger.core.query import Term

DIGITS: Final = 10
OWN_MODEL: Final = "ft:"
"""How the name of a model begins that somebody trained, and named after himself."""
R = TypeVar("R", bound=NamedTuple)
_TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "runs": ("key", "assistant", "kind", "serial_key"),
    "remotes": ("remote_id", "marker", "request_id"),
    "seen": ("request_id",),
    "calls": ("tool", "key"),
    "deliveries": ("object_id",),
    "gaps": ("profile",),
    "lives": ("id", "host"),
    "life_events": ("life", "host"),
}


def hidden(material: Material, terms: Sequence[Term] = ()) -> tuple[Material, tuple[Term, ...]]:
    """The same window and query without names. Run numbers, models, codes and times stay."""
    span = material.span
    salt = f"{material.ledger_id}|{span.since.isoformat()}|{span.until.isoformat()}|"
    hide = _Hiding(salt)
    for name, fields in _TEXTS.items():
        setattr(material, name, [hide.row(row, fields) for row in getattr(material, name)])
    material.runs = [hide.labels(row) for row in material.runs]
    material.attempts = [row._replace(error_message=None) for row in material.attempts]
    material.events = [
        row._replace(actor=hide.actor(row.actor), detail=None) for row in material.events
    ]
    material.life_events = [row._replace(detail={}) for row in material.life_events]
    material.accounts = {
        number: hide.row(account, ("profile", "base_url"))
        for number, account in material.accounts.items()
    }
    material.fingerprints = {
        mark: hide.row(row, ("tool",))._replace(message=None)
        for mark, row in material.fingerprints.items()
    }
    for before in material.before:
        _hide_before(hide, before)
    material.query = hide.text(material.query) if material.query else ""
    material.ledger_id = hide.text(material.ledger_id)
    return material, tuple(hide.term(term) for term in terms)


class _Hiding:
    def __init__(self, salt: str) -> None:
        self._salt = salt

    def text(self, text: str) -> str:
        """A name's stand-in."""
        whole = f"{self._salt}{text}".encode("utf-8", "surrogatepass")
        return f"x{hashlib.sha256(whole).hexdigest()[:DIGITS]}"

    def row(self, row: R, fields: Sequence[str]) -> R:
        """A row with these fields hidden."""
        values: dict[str, Any] = {
            name: self.text(value)
            for name in fields
            if (value := getattr(row, name)) is not None and value != ""
        }
        made: R = row._replace(**values)
        return made

    def labels(self, row: Any) -> Any:
        """A run with its tags hidden, and its model where it bears a name."""
        tags = {self.text(str(n)): self.text(str(value)) for n, value in row.tags.items()}
        own = row.model is not None and row.model.startswith(OWN_MODEL)
        return row._replace(tags=tags, model=self.text(row.model) if own else row.model)

    def term(self, term: Term) -> Term:
        """A term about a tag, by the name that the tag now has."""
        sort, dot, name = term.name.partition(".")
        return replace(term, name=f"{sort}.{self.text(name)}") if dot else term

    def actor(self, actor: str) -> str:
        """Lives and people: the sort of actor stays."""
        sort, colon, name = actor.partition(":")
        return f"{sort}:{self.text(name)}" if colon else self.text(actor)


def _hide_before(hide: _Hiding, before: Before) -> None:
    before.ends = [hide.labels(hide.row(row, ("kind",))) for row in before.ends]
