"""Whether everything came under a seal, and a history that was cut short is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import sqlalchemy as sa

from ledger.store.facts import RUN
from ledger.store.queries import EVENT
from ledger.store.verify import verify

if TYPE_CHECKING:
    from ledger.fuzzing.console import Console

UNSEALED = RUN.c.event_seq > RUN.c.sealed_seq


def sealed(console: Console) -> bool:
    """Whether every event is under a seal."""
    statement = sa.select(RUN.c.id).where(UNSEALED).limit(1)
    return console.read(lambda c: c.execute(statement).first()) is None


def after(console: Console) -> Iterator[str]:
    """What is wrong with the evidence, in words."""
    for fault in console.read(verify).broken:
        yield f"run {fault.run_id}, event {fault.seq}: {fault.why}"
    for row in console.read(lambda c: list(c.execute(sa.select(RUN.c.id).where(UNSEALED)))):
        yield f"run {row.id} has events under no seal"
    with console.store.engine.connect() as connection:
        cut = _cut_newest(connection)
        if cut is not None and not verify(connection).broken:
            yield f"the last event of run {cut} was taken away, and verify is content"
        connection.rollback()


def _cut_newest(connection: sa.Connection) -> int | None:
    """Take the last event away, as a careful forger would who has the file: the rest fits."""
    columns = (EVENT.c.run_id, EVENT.c.seq, EVENT.c.prev_hash, EVENT.c.from_state)
    newest = sa.select(*columns).order_by(EVENT.c.id.desc()).limit(1)
    row = connection.execute(newest).first()
    if row is None:
        return None
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    for (name,) in connection.exec_driver_sql(triggers).all():
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
    mine = sa.and_(EVENT.c.run_id == row.run_id, EVENT.c.seq == row.seq)
    connection.execute(sa.delete(EVENT).where(mine))
    head = {"event_seq": row.seq - 1, "head_hash": row.prev_hash, "sealed_seq": row.seq - 1}
    if row.from_state is not None:
        head |= {"state": row.from_state, "finished_at": None}
    connection.execute(sa.update(RUN).where(RUN.c.id == row.run_id).values(head))
    return int(row.run_id)
