"""`dataclasses.replace` for the core's records, in a third of the time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any, TypeVar

T = TypeVar("T")
Setters = dict[str, Callable[[object, Any], None]]


def evolve(record: T, **changes: Any) -> T:
    """The record with some fields changed.

    A frozen `__init__` pays for its own ban on assignment once a field; the slots themselves do
    not. The records check nothing when they are made, so nothing is skipped.
    """
    kind: Any = type(record)
    read, setters = _slots(kind)
    made: T = object.__new__(kind)
    for put, value in zip(setters.values(), read(record), strict=True):
        put(made, value)
    for name, value in changes.items():
        setters[name](made, value)
    return made


@functools.cache
def _slots(kind: type[Any]) -> tuple[Callable[[object], tuple[Any, ...]], Setters]:
    names = [entry.name for entry in fields(kind)]
    return attrgetter(*names), {name: getattr(kind, name).__set__ for name in names}
