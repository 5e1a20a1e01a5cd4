"""What the storage below a SQLite file may be suffering from, in words that say what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

ROOM_BYTES: Final = 256 * 1024
"""With less room than this SQLite cannot even begin: its shared index alone grows by 32 KiB."""


def frozen(path: Path) -> bool:
    """Whether the file lies on read-only storage, and nobody has it open for writing elsewhere."""
    wal = path.with_name(path.name + "-wal")
    return path.exists() and _read_only(path.parent) and not wal.exists()


def remedy(path: Path | None, said: str) -> str | None:
    """What to do about what the driver said; None where nothing better is known."""
    if path is None:
        return None
    folder = path.parent
    if "readonly" in said or _read_only(folder):
        return f"writing needs storage that can be written; reading {path} works: runward list"
    if "full" in said or _room(folder) < ROOM_BYTES:
        return f"make room on the disk that holds {path}, then repeat; what was committed is safe"
    if "disk I/O error" in said:
        return (
            "the disk failed, and whether the last write took place shows when the file is opened "
            "again; repeat a submit under the same key"
        )
    return None


def _read_only(folder: Path) -> bool:
    return bool(_state(folder).f_flag & os.ST_RDONLY)


def _room(folder: Path) -> int:
    """Bytes that an ordinary user may still write."""
    state = _state(folder)
    return state.f_bavail * state.f_frsize


def _state(folder: Path) -> os.statvfs_result:
    """The file system that holds the folder, or will hold it once it is made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.statvfs(folder)
