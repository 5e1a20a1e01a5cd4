"""Whether a daemon of this machine is at work, asked from outside it. Writes nothing."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from ledger.errors import DatabaseError
from ledger.store.engine import file_of, in_words, open_engine
from ledger.store.schema import inspect
from ledger.store.store import Store

if TYPE_CHECKING:
    from sqlalchemy import Connection

FRESH_SECONDS: Final = 15.0
"""A heart beats thirty times a lease: once a second as a rule."""


def daemon_here(url: str) -> str | None:
    """The id of a daemon of this host whose heart has just beaten; None if there is none.

    Raises DatabaseError or SchemaMismatch where there is no ledger to ask; it makes none.
    """
    engine = open_engine(url)
    try:
        file = file_of(engine.url)
        if file is not None and not file.exists():
            raise DatabaseError(f"there is no database {file}")
        with in_words(engine.url):
            inspect(engine).demand_current()
            store = Store(url, engine)
        return store.read(lambda c: _fresh(store, c))
    finally:
        engine.dispose()


def _fresh(store: Store, connection: Connection) -> str | None:
    dead, overdue = store.lives.judge(connection, "")
    gone, here = {*dead, *overdue}, socket.gethostname()
    clock = store.lives.lease_clock(connection)
    for row in store.lives.alive(connection):
        if row.role == "daemon" and row.host == here and row.id not in gone:
            # A lease of an hour has beats of two minutes.
            late = max(FRESH_SECONDS, (row.lease_until - row.beat) / 10)
            if clock - row.beat <= late:
                return str(row.id)
    return None
