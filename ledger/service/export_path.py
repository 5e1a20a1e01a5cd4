"""The place of an export on the disk: one process writes it, and the disk knows of it."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

from ledger.errors import InvalidInput


def hold(path: Path, handle: IO[bytes]) -> None:
    """Keep others from going on with the file while this process writes it. Raises InvalidInput."""
    try:
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise InvalidInput(
            f"{path} is being written by another process",
            hint="wait until that is done; or stop it, and give the command again",
        ) from None


def sync_folder(path: Path) -> None:
    """Return when the disk knows that there is such a file: its own flush says nothing of that."""
    with suppress(OSError):  # Not every file system has folders that can be flushed.
        folder = os.open(path.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
