"""What every part of a Ledger builds on, and the Ledger itself has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.core.model import Run

if TYPE_CHECKING:
    from ledger.store.store import Store
    from ledger.store.writer import ThreadWriter

RunName = Run | int | str
"""How a run is named: by its record, its number, its key or an upstream id."""


class Part:
    """Some of the methods of a Ledger."""

    @property
    def store(self) -> Store:
        """The database."""
        raise NotImplementedError

    @property
    def writer(self) -> ThreadWriter:
        """The writer of this process."""
        raise NotImplementedError

    def run_id(self, run: RunName) -> int:
        """The number of a run."""
        raise NotImplementedError
