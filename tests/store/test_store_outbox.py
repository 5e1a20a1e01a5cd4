"""The outbox: written once for each event and endpoint, due in order, forgotten in the end."""

from __future__ import annotations

from support import Bench, later

from ledger.core.passing_on import Notice
from ledger.store import outbox
from ledger.store.following import notices_of


def notices(bench: Bench, count: int) -> list[Notice]:
    """Notices of new runs."""
    for _ in range(count):
        bench.submit()
    ids = [bench.scalar("SELECT max(id) FROM event") - n for n in range(count)]
    return list(bench.store.read(lambda c: notices_of(c, ids)).values())


def put(bench: Bench, told: list[Notice], seconds: float = 0, name: str = "crm") -> None:
    """Write what is to be told, so many seconds after NOW."""
    bench.committer.run(lambda c: outbox.put(c, name, told, later(seconds)))


def test_an_event_is_written_once_for_an_endpoint(bench: Bench) -> None:
    """However often it is followed."""
    (told,) = notices(bench, 1)
    for name in ("crm", "crm", "other"):
        put(bench, [told], name=name)

    assert ["other", "crm"] == [row.endpoint for row in bench.store.read(outbox.listed)]


def test_what_waited_longest_is_due_first(bench: Bench) -> None:
    """And when the next will be is said."""
    first, second, third = notices(bench, 3)
    put(bench, [second], 5)
    put(bench, [first], 1)
    put(bench, [third], 90)
    due, following = bench.store.read(lambda c: outbox.due(c, "crm", later(10), 10))

    assert [first.id, second.id] == [row.event_id for row in due]
    assert later(90) == following


def test_old_rows_are_forgotten(bench: Bench) -> None:
    """The newer ones stay."""
    old, new = notices(bench, 2)
    put(bench, [old], 0)
    put(bench, [new], 20)
    bench.committer.run(lambda c: outbox.forget(c, later(10)))

    assert [new.id] == [row.event_id for row in bench.store.read(outbox.listed)]
