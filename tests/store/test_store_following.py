"""Followers of the event log: each event at least once, none skipped, one owner at a time."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from support import NOW, POSTGRESQL, Bench, flagged, later, response, seen

from ledger.clock import wait_until
from ledger.core.alphabet import Attention, Source, State
from ledger.core.passing_on import Notice, NoticeType
from ledger.core.policy import Policy, RestartRule
from ledger.errors import DatabaseError, LeaseLost
from ledger.store import following
from ledger.store.batch import Batch
from ledger.store.claims import bury
from ledger.store.following import Page, Place
from ledger.store.lives import Life

START = Place(0, 0)


def live(bench: Bench, *names: str) -> None:
    """Lives at work."""
    for name in names:
        life = Life(id=name, role="daemon", version="1")
        bench.committer.run(lambda c, life=life: bench.store.lives.begin(c, life, NOW))


def follow(bench: Bench, name: str = "f", life: str = "me", *, whole: bool = True) -> bool:
    """Make a follower at the present end, and take it."""
    read(bench, START, whole=whole)
    bench.committer.run(lambda c: following.begin(c, name))
    return bench.committer.run(lambda c: following.take(c, name, life))


def place(bench: Bench, name: str = "f") -> Place:
    """How far a follower has come."""
    cursor = bench.store.read(lambda c: following.cursor_of(c, name, "me"))
    assert cursor is not None
    return cursor.place


def read(bench: Bench, after: Place, limit: int = 200, *, whole: bool = True) -> Page:
    """What comes behind a place, once no other test's transaction on the server is in the way."""

    def page() -> Page:
        return bench.store.read(lambda c: following.page_after(c, after, limit=limit))

    assert wait_until(lambda: not (whole and page().blocked), seconds=20)
    return page()


def told(page: Page) -> list[tuple[int, str]]:
    """Runs and names."""
    return [(notice.run, str(notice.type)) for _, notice in page.notices]


def test_a_new_follower_begins_at_the_present_end(bench: Bench) -> None:
    """It never replays what was there before it."""
    bench.submit()
    follow(bench)
    new = bench.submit().run.id

    assert [(new, "run.submitted")] == told(read(bench, place(bench)))


def test_a_known_follower_keeps_its_place(bench: Bench) -> None:
    """Beginning again, as every start of a daemon does, skips nothing."""
    follow(bench)
    run = bench.submit().run.id
    follow(bench)

    assert [(run, "run.submitted")] == told(read(bench, place(bench)))


def test_pages_end_to_end_give_every_event_once(bench: Bench) -> None:
    """However small the pages are."""
    follow(bench)
    runs = [bench.completed().run.id for _ in range(3)]
    found, at = [], place(bench)
    for _ in range(20):
        page = read(bench, at, limit=2)
        found += told(page)
        at = page.end

    expected = [(run, name) for run in runs for name in ("run.submitted", "run.completed")]
    assert sorted(expected) == sorted(found)
    assert not read(bench, at).more
    assert () == read(bench, at).notices


def test_what_a_notice_says(bench: Bench) -> None:
    """Enough to act upon, and no contents."""
    follow(bench)
    run = bench.submit(key="memo", tags={"team": "risk"}, model="gpt-5").run
    sent = bench.arm(bench.claim(only=[run.id])[0]).facts  # type: ignore[union-attr]
    body = response("failed", error={"code": "server_error", "message": "secret"})
    bench.take(sent, seen(body), source=Source.create)
    notices = [notice for _, notice in read(bench, place(bench)).notices]

    expected = Notice(
        id=notices[-1].id,
        type=NoticeType.failed,
        run=run.id,
        key="memo",
        state=State.failed,
        attempt=1,
        seq=notices[-1].seq,
        at=NOW,
        provider="responses",
        model="gpt-5",
        error_code="server_error",
        tags={"team": "risk"},
    )
    assert expected == notices[-1]
    assert "secret" not in repr(notices)


def test_an_end_that_policy_restarts_is_no_verdict(bench: Bench) -> None:
    """Nobody is woken at night for an attempt that is being repeated; the restart has the code."""
    follow(bench)
    rule = RestartRule(outcome=State.failed, code="server_error", count=1)
    sent = bench.sending(policy=Policy(restart=(rule,)))
    body = response("failed", error={"code": "server_error", "message": "x"})
    bench.take(sent, seen(body), source=Source.create)
    notices = [notice for _, notice in read(bench, place(bench)).notices]

    assert ["run.submitted", "run.restarted"] == [str(notice.type) for notice in notices]
    assert ("server_error", 2, "queued") == (
        notices[1].error_code,
        notices[1].attempt,
        str(notices[1].state),
    )


def test_attention_says_why_and_in_which_state(bench: Bench) -> None:
    """The event itself is no transition, so its state is the one before it."""
    follow(bench)
    done = bench.completed()
    bench.operate(done, flagged(done, Attention.contradiction))
    notice = read(bench, place(bench)).notices[-1][1]

    assert ("run.attention", "contradiction", "completed") == (
        str(notice.type),
        notice.why,
        str(notice.state),
    )


@POSTGRESQL
def test_a_lower_id_that_commits_later_is_not_skipped(bench: Bench) -> None:
    """Two open transactions: the one that took its ids first commits last."""
    follow(bench)
    first, second = (Batch(bench.store.ledger_id, bench.store.engine.dialect) for _ in range(2))
    connect = bench.store.engine.connect
    with connect() as slow, connect() as quick, slow.begin() as open_one:
        (early,) = first.write(slow, [bench.submission()], NOW)
        with quick.begin():
            (late,) = second.write(quick, [bench.submission()], NOW)
        before = read(bench, place(bench), whole=False)
        open_one.commit()
    low, high = early.facts.run.id, late.facts.run.id  # type: ignore[union-attr]
    after = read(bench, before.end)

    assert low < high
    assert ([], True) == (told(before), before.blocked)
    assert [(low, "run.submitted"), (high, "run.submitted")] == told(after)


@POSTGRESQL
def test_a_follower_that_begins_beside_an_open_transaction(bench: Bench) -> None:
    """What was not committed at the beginning belongs to what comes after it."""
    batch = Batch(bench.store.ledger_id, bench.store.engine.dialect)
    with bench.store.engine.connect() as slow, slow.begin() as open_one:
        (early,) = batch.write(slow, [bench.submission()], NOW)
        follow(bench, whole=False)
        open_one.commit()

    run = early.facts.run.id  # type: ignore[union-attr]
    assert [(run, "run.submitted")] == told(read(bench, place(bench)))


@POSTGRESQL
def test_a_database_that_was_restored_elsewhere_is_named(bench: Bench) -> None:
    """There the numbers of transactions begin anew, and following them would skip in silence."""
    with pytest.raises(DatabaseError, match="restored on another server"):
        read(bench, Place(2**40, 0))


def test_one_life_has_it_until_it_ends(bench: Bench) -> None:
    """A living owner keeps it, and a buried one loses it together with its runs."""
    live(bench, "me", "other")
    assert follow(bench, life="other")

    assert not follow(bench, life="me")
    bench.committer.run(
        lambda c: bury(c, lives=bench.store.lives, life_id="other", now=NOW, by="me")
    )
    assert bench.scalar("SELECT owner FROM follower") is None
    assert follow(bench, life="me")


def test_a_life_that_was_ended_takes_none(bench: Bench) -> None:
    """Nobody would ever free what it took."""
    live(bench, "late")
    bench.committer.run(lambda c: bench.store.lives.end(c, "late", "died", NOW))

    assert not follow(bench, life="late")


def test_only_the_owner_moves_it(bench: Bench) -> None:
    """And what goes with the move is not done either."""
    live(bench, "me", "other")
    follow(bench, life="other")
    done: list[sa.Connection] = []

    with pytest.raises(LeaseLost):
        bench.committer.run(lambda c: following.move(c, "f", "me", Place(7, 7), work=done.append))

    assert [] == done


def test_a_failure_is_kept_with_its_time(bench: Bench) -> None:
    """`doctor` shows it."""
    live(bench, "me")
    follow(bench)
    at = place(bench)
    bench.committer.run(
        lambda c: following.move(c, "f", "me", at, tries=2, next_at=later(4), error="x" * 10_000)
    )
    cursor = bench.store.read(lambda c: following.cursor_of(c, "f", "me"))

    assert cursor is not None
    assert (2, later(4), "x" * 500) == (cursor.tries, cursor.next_at, cursor.last_error)
