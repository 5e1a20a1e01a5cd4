"""The core's records: frozen dataclasses to the type checker, plain slots when they run.

A frozen `__init__` pays for its own ban on assignment once a field, and records are made and
evolved tens of times for each commit. mypy refuses what the ban would refuse.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def record(kind: type[T]) -> type[T]:
    """Make a class a record: keyword arguments only, compared and hashed by value."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(kind)


def evolve(before: T, **changes: Any) -> T:
    """The record with some fields changed: `dataclasses.replace` in a sixth of the time.

    Records check nothing when they are made, so nothing is skipped.
    """
    kind: Any = type(before)
    made: T = _copier(kind)(before)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@functools.cache
def _copier(kind: type[Any]) -> Callable[[Any], Any]:
    """A function that copies the slots of one kind of record, one assignment each."""
    lines = [f" made.{entry.name} = old.{entry.name}" for entry in fields(kind)]
    body = "\n".join(["def copy(old):", " made = new(kind)", *lines, " return made"])
    scope: dict[str, Any] = {"new": object.__new__, "kind": kind}
    exec(body, scope)  # noqa: S102 - the names are those of our own fields
    copy: Callable[[Any], Any] = scope["copy"]
    return copy
