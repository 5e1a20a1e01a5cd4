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
FULL_BYTES: Final = 4 * 1024 * 1024
TRUNCATE_BYTES: Final = 64 * 1024 * 1024
WAIT_MILLISECONDS: Final = 500


class Checkpoints:
    """Keeps the write-ahead log of one file small."""

    def __init__(self, path: Path, busy_milliseconds: int) -> None:
        self._wal = path.with_name(path.name + "-wal")
        self._lock = path.with_name(path.name + ".checkpoint")
        self._busy_milliseconds = busy_milliseconds
        self._looked = monotonic()

    def run_if_due(self, driver: Any) -> None:
        """Checkpoint if the log has grown and no other process is at it. `driver` is idle."""
        if monotonic() - self._looked < EVERY_SECONDS:
            return
        self._looked = monotonic()
        size = self._wal.stat().st_size if self._wal.exists() else 0
        if size < FULL_BYTES:
            return
        with self._lock.open("w") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self._checkpoint(driver, "TRUNCATE" if size >= TRUNCATE_BYTES else "FULL")

    def _checkpoint(self, driver: Any, mode: str) -> None:
        """Wait for readers a little; what they hold back is done next time."""
        driver.execute(f"PRAGMA busy_timeout={WAIT_MILLISECONDS}").close()
        try:
            driver.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        finally:
            driver.execute(f"PRAGMA busy_timeout={self._busy_milliseconds}").close()
