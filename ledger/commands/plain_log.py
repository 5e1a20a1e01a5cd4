"""What a short command logs: plain lines on stderr, without what looks like a secret."""

from __future__ import annotations

import logging
from typing import Final

from ledger.core.redaction import redact_text

KEYS: Final = (
    "run_id",
    "attempt",
    "remote_id",
    "worker",
    "from",
    "error_code",
    "profile",
    "result",
    "dur_s",
)
"""What a record may say beside its words, in the order in which it is shown."""


class PlainFormatter(logging.Formatter):
    """A line a record, and what it says of runs behind the words."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """The line, before any traceback."""
        said = [(key, getattr(record, key, None)) for key in KEYS]
        more = "".join(f" {key}={value}" for key, value in said if value is not None)
        return super().formatMessage(record) + more

    def format(self, record: logging.LogRecord) -> str:
        """The whole text, with any traceback."""
        return redact_text(super().format(record))


def log_plainly(level: int) -> None:
    """Log to stderr from `level` on, unless somebody else has set up logging already."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("transitions").setLevel(logging.WARNING)
