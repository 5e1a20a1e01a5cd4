"""Checkpoints of a SQLite file: by one process at a time, from its writer, between two batches.

The automatic checkpoint is off, because it would fall on whichever caller's commit crosses the
threshold, and never completes while readers come and go.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any, Final

from ledger.clock import monotonic

EVERY_SECONDS: Final = 1.0
EVERY_COMMITS: Final = 100
"""A log that has to grow costs each commit a third more than one that starts over."""
FULL_BYTES: Final = 4 * 1024 * 1024
TRUNCATE_BYTES: Final = 64 * 1024 * 1024
WAIT_MILLISECONDS: Final = 500


class Checkpoints:
    """Keeps the write-ahead log of one file small."""

    def __init__(self, path: Path, busy_milliseconds: int) -> None:
        self._wal = path.with_name(path.name + "-wal")
        self._lock = path.with_name(path.name + ".checkpoint")
        self._busy_milliseconds = busy_milliseconds
        self._looked = self._waited = monotonic()
        self._commits = 0

    def run_if_due(self, driver: Any) -> None:
        """Checkpoint if enough was written and no other process is at it. `driver` is idle."""
        self._commits += 1
        now = monotonic()
        if self._commits < EVERY_COMMITS and now - self._looked < EVERY_SECONDS:
            return
        self._commits, self._looked = 0, now
        with self._lock.open("w") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self._checkpoint(driver, now)

    def _checkpoint(self, driver: Any, now: float) -> None:
        """What readers hold back is asked for again once a second, and waited for a little."""
        _, logged, moved = driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        size = self._wal.stat().st_size if self._wal.exists() else 0
        if size < FULL_BYTES or now - self._waited < EVERY_SECONDS:
            return
        if logged == moved and size < TRUNCATE_BYTES:
            return
        self._waited = now
        mode = "TRUNCATE" if size >= TRUNCATE_BYTES else "FULL"
        driver.execute(f"PRAGMA busy_timeout={WAIT_MILLISECONDS}").close()
        try:
            driver.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        finally:
            driver.execute(f"PRAGMA busy_timeout={self._busy_milliseconds}").close()
