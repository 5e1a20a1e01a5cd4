"""Whether the database answers, and holds the schema that this program knows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ledger.errors import RunwardError, SchemaMismatch
from ledger.store.engine import in_words
from ledger.store.schema import inspect

if TYPE_CHECKING:
    from ledger.store.store import Store

log = logging.getLogger("runward")


def probe(store: Store) -> dict[str, bool]:
    """The answers, by name; what is wrong goes to the log."""
    try:
        with in_words(store.engine.url):
            inspect(store.engine).demand_current()
    except SchemaMismatch as error:
        log.warning("not ready: %s", error.message)
        return {"database": True, "schema": False}
    except RunwardError as error:
        log.warning("not ready: %s", error.message)
        return {"database": False, "schema": False}
    return {"database": True, "schema": True}
