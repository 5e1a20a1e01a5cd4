"""The only place that asks the machine for randomness: salts, names of lives, batches and runs.

A simulation hands in a seeded source, so that one seed gives one history, hashes included.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Source = Callable[[int], bytes]

_sources: list[Source] = [os.urandom]
"""The source in use is the last one."""


def random_bytes(count: int) -> bytes:
    """So many bytes that nobody can guess."""
    return _sources[-1](count)


def new_id() -> str:
    """A name that nothing else ever had: 32 hex digits."""
    return _sources[-1](16).hex()


@contextmanager
def use(source: Source) -> Iterator[None]:
    """Take bytes from `source` within the block. For one simulation in one thread."""
    _sources.append(source)
    try:
        yield
    finally:
        _sources.remove(source)
