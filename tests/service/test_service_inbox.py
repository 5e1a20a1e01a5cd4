"""The SQS inbox: what came over a queue counts as if it had come by HTTP, once, however late."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from inbox_rig import AwayWriter, drain, follow, make_inbox, make_queue
from service_rig import MakeRig, Rig, verdict
from sqs_queues import Queues
from webhook_rig import OTHER, SECRET, VARIABLE, delivery, look_into_parked, states

from ledger.clock import utcnow
from ledger.core.alphabet import RemoteState
from ledger.errors import BadRecord, DatabaseError, QueueAway, QueueRefused
from ledger.store.deliveries import Intake

DONE = ("completed", 1, None, None, None)
DAYS = timedelta(days=5)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)


def receipts(rig: Rig) -> dict[str, int]:
    """How many requests there were of each result."""
    return {row[0]: row[1] for row in rig.rows("SELECT result, requests FROM receipt")}


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What we logged."""
    return [record.getMessage() for record in caplog.records if record.name == "runward"]


@pytest.mark.problem(12)
def test_a_delivery_from_the_queue_brings_the_next_look_forward(
    make_rig: MakeRig, queues: Queues
) -> None:
    """The function queues it, the inbox verifies and keeps it, and the run is read at once."""
    rig = make_rig(poll_seconds=3_600)
    with rig.daemon():
        run = rig.submit("sim-slow")
        rig.expect(lambda: [o["status"] for o in rig.sim.objects()] == ["completed"])
        assert not rig.ledger.get(run).final
        assert 202 == queues.deliver(delivery(str(rig.remotes(run)[-1]["remote_id"])))

        assert {"accepted": 1} == drain(rig, make_queue(queues))

        rig.expect(lambda: rig.ledger.get(run).final)
    assert DONE == verdict(rig.ledger.get(run))
    assert [("sqs", "matched")] == rig.rows("SELECT via, state FROM delivery")
    assert queues.empty()
    assert (0, 0) == queues.counts(queues.dead_url)


def test_many_are_taken_in_and_each_once(rig: Rig, queues: Queues) -> None:
    """More than a batch, some sent again by upstream: as many effects as deliveries."""
    rig.run()
    for n in [*range(45), 3, 3, 7]:
        queues.deliver(delivery(f"batch_{n}", webhook_id=f"wh_{n}"))

    assert {"accepted": 45, "duplicate": 3} == drain(rig, make_queue(queues))

    assert (45, 3) == (rig.count("delivery"), rig.scalar("SELECT SUM(duplicates) FROM delivery"))
    assert queues.empty()


@pytest.mark.problem(12)
def test_a_queue_that_stood_still_for_days_still_counts(rig: Rig, queues: Queues) -> None:
    """The signature is judged by the time of receipt at the function, which is kept."""
    run = rig.run()
    then = utcnow() - DAYS
    queues.deliver(delivery(str(rig.remotes(run)[-1]["remote_id"]), at=then), at=then)

    assert {"accepted": 1} == drain(rig, make_queue(queues))

    (row,) = rig.rows("SELECT state, received_at FROM delivery")
    received = row[1] if isinstance(row[1], datetime) else datetime.fromisoformat(row[1])
    assert ("matched", then.replace(tzinfo=None)) == (row[0], received.replace(tzinfo=None))


@pytest.mark.problem(14)
def test_a_create_in_doubt_is_resolved_by_a_delivery_that_is_days_old(
    make_rig: MakeRig, queues: Queues
) -> None:
    """A parked delivery is not aged out for the time that it lay in the queue."""
    rig = make_rig(settle_seconds=600)
    run = rig.submit("sim-drop-after-once")
    rig.until(run, lambda facts: facts.remotes[-1].state == RemoteState.unknown)
    (made,) = rig.sim.objects()
    then = utcnow() - DAYS
    queues.deliver(delivery(made["id"], at=then), at=then)

    assert {"accepted": 1} == drain(rig, make_queue(queues))
    look_into_parked(rig)

    assert ["adopted"] == states(rig)
    assert DONE == verdict(rig.finish(run)[0])
    assert 1 == len(rig.made(run))


def put_delivery(
    queues: Queues, *, secret: str = SECRET, signed: timedelta, received: timedelta
) -> None:
    """One delivery that was signed, and received, so long after now."""
    now = utcnow()
    queues.deliver(delivery(secret=secret, at=now + signed), at=now + received)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "forged": ({"secret": OTHER, "signed": -DAYS, "received": -DAYS}, "forged"),
    "a replay": ({"signed": -DAYS, "received": timedelta()}, "stale"),
    "received before it was signed": ({"signed": timedelta(), "received": -DAYS}, "stale"),
    "received in the future": ({"signed": DAYS, "received": DAYS}, "stale"),
    "only just so": (
        {"signed": timedelta(seconds=330), "received": timedelta(seconds=330)},
        "stale",
    ),
}


@pytest.mark.problem(12)
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_believed_goes_to_the_dead_letters(
    rig: Rig, queues: Queues, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As it was, before it is deleted; it is counted, and leaves nothing else."""
    fields, why = REFUSED[name]
    put_delivery(queues, **fields)
    queue = make_queue(queues)

    assert {"refused": 1} == drain(rig, queue)

    assert queue.steps.index("send_dead") < queue.steps.index("delete")
    assert [queue.handed[0].body] == queues.bodies(queues.dead_url)
    assert queues.empty()
    assert (0, 0) == (rig.count("evidence"), rig.count("delivery"))
    assert {why: 1} == receipts(rig)
    (line,) = said(caplog)
    assert f"message {queue.handed[0].id} is dead letter" in line


def enveloped(**fields: Any) -> str:
    """A good envelope, but for some fields; None leaves one out."""
    headers, body = delivery()
    value = {
        "version": 1,
        "received_at": utcnow().isoformat(),
        "headers": headers,
        "body": base64.b64encode(body).decode(),
    }
    return json.dumps({k: v for k, v in (value | fields).items() if v is not None})


UNREADABLE: dict[str, Callable[[], str]] = {
    "no JSON": lambda: "nothing",
    "nested without end": lambda: "[" * 100_000,
    "a number": lambda: "7",
    "a huge number": lambda: "9" * 5_000,
    "a list": lambda: "[]",
    "no fields": lambda: "{}",
    "a later version": lambda: enveloped(version=2),
    "a version that is true": lambda: enveloped(version=True),
    "no headers": lambda: enveloped(headers=None),
    "headers that are a list": lambda: enveloped(headers=[["webhook-id", "x"]]),
    "headers that are numbers": lambda: enveloped(headers={"webhook-id": 7}),
    "many headers": lambda: enveloped(headers={f"h{n}": "" for n in range(99)}),
    "empty headers": lambda: enveloped(headers={}),
    "no body": lambda: enveloped(body=None),
    "a body that is text": lambda: enveloped(body='{"type": "response.completed"}'),
    "a body that is no ASCII": lambda: enveloped(body="\u00fc"),
    "a body that is an object": lambda: enveloped(body={}),
    "no time": lambda: enveloped(received_at=None),
    "a time that is a number": lambda: enveloped(received_at=1_772_409_599),
    "a time without an offset": lambda: enveloped(received_at="2026-03-01T00:00:00"),
    "a time out of range": lambda: enveloped(received_at="0001-01-01T00:00:00+10:00"),
    "a time that is long": lambda: enveloped(received_at="2" * 100_000),
    "a lone surrogate": lambda: enveloped(received_at="\ud800"),
}


def test_unreadable_messages_are_dead_letters_and_stop_nothing(rig: Rig, queues: Queues) -> None:
    """Whatever somebody puts on the queue: it is set aside, and good ones among it are kept."""
    bodies = [make() for make in UNREADABLE.values()]
    for n, body in enumerate(bodies):
        queues.put(body)
        queues.deliver(delivery(f"batch_{n}", webhook_id=f"wh_{n}"))

    counts = drain(rig, make_queue(queues))

    assert {"accepted": len(bodies), "refused": len(bodies)} == counts
    assert sorted(bodies) == sorted(queues.bodies(queues.dead_url))
    assert queues.empty()
    assert {"accepted": len(bodies), "malformed": len(bodies)} == receipts(rig)


def test_without_dead_letters_it_is_left_and_said_once(
    rig: Rig, queues: Queues, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue's own redrive policy takes it; the log has the reason and nothing of the content,
    however often it is handed out."""
    put_delivery(queues, secret=OTHER, signed=timedelta(), received=timedelta())
    queue = make_queue(queues, dead_letters=False)
    again = iter([False, True, True, False])
    seen = queue.receive

    def receive(seconds: int = 0) -> Any:
        if next(again, False):
            queues.handed_out_again(queue.handed[-1:])
        return seen(seconds)

    queue.receive = receive  # type: ignore[method-assign]

    inbox = follow(rig, queue, 5)

    assert {"left": 3} == inbox.counts
    assert (0, 1) == queues.counts()
    (line,) = said(caplog)
    assert f"message {queue.handed[0].id} is left on the queue: no secret of ours" in line
    assert not any(text in line for text in (SECRET, OTHER, "wh_1", "resp_1", "v1,"))


@pytest.mark.problem(12)
def test_a_death_between_commit_and_delete_is_one_effect(
    rig: Rig, queues: Queues, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was deleted; the message comes again, and is a duplicate then."""
    run = rig.run()
    queues.deliver(delivery(str(rig.remotes(run)[-1]["remote_id"])))
    dying = make_queue(queues)
    dying.fails = {"delete"}
    assert {"accepted": 1} == drain(rig, dying)
    assert (0, 1) == queues.counts()
    assert ["webhook inbox: delete failed"] == said(caplog)
    queues.handed_out_again(dying.handed)

    assert {"duplicate": 1} == drain(rig, make_queue(queues))

    assert queues.empty()
    assert (1, 1) == (rig.count("evidence"), rig.count("delivery"))
    assert (0, 0) == queues.counts(queues.dead_url)


def test_a_dead_letter_that_cannot_be_sent_is_left(rig: Rig, queues: Queues) -> None:
    """It is deleted from the queue only once the other has it."""
    queues.put("nothing")
    queue = make_queue(queues)
    queue.fails = {"send_dead"}

    assert {"left": 1} == drain(rig, queue)

    assert "delete" not in queue.steps
    assert (0, 1) == queues.counts()


def test_a_database_that_is_away_leaves_messages(rig: Rig, queues: Queues) -> None:
    """Told as an error where the queue was to be emptied once; taken in when it is back."""
    rig.run()
    queues.deliver(delivery("batch_1"))
    queue, writer = make_queue(queues), AwayWriter(rig.ledger.writer)

    with pytest.raises(DatabaseError, match="away"):
        drain(rig, queue, writer=writer)

    assert (0, 1) == queues.counts()
    assert "delete" not in queue.steps
    assert 0 == rig.count("delivery")
    queues.handed_out_again(queue.handed)
    assert {"accepted": 1} == drain(rig, queue)
    assert queues.empty()


def test_no_message_is_asked_for_while_the_database_is_away(
    rig: Rig, queues: Queues, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each hand-out counts against a message, and too many would make it a dead letter."""
    monkeypatch.setattr("ledger.service.inbox.BACKOFF_SECONDS_MAX", 0.001)
    for n in range(100):
        queues.deliver(delivery(f"batch_{n}", webhook_id=f"wh_{n}"))
    queue, writer = make_queue(queues), AwayWriter(rig.ledger.writer)
    transact = writer.transact

    async def back_later(work: Any) -> Any:
        writer.away = (
            "database is away; messages" not in caplog.text
            or caplog.text.count("messages stay") < 30
        )
        return await transact(work)

    writer.transact = back_later  # type: ignore[method-assign]

    inbox = follow(rig, queue, 20, writer=writer)

    assert caplog.text.count("messages stay on the queue") >= 30
    assert 100 == inbox.counts["accepted"] + inbox.counts["left"]
    # Those that were on their way when it went, and no more.
    assert inbox.counts["left"] <= 50
    assert (0, inbox.counts["left"]) == queues.counts()


def test_one_that_the_database_refuses_stops_no_other(
    rig: Rig, queues: Queues, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left to the queue's policy; the others of its batch are kept."""
    take_in = Intake.take_in

    def refuse(self: Intake, connection: Any, deliveries: Any, until: Any) -> Any:
        if any(d.webhook_id == "wh_1" for d in deliveries):
            raise BadRecord("cannot be stored")
        return take_in(self, connection, deliveries, until)

    monkeypatch.setattr(Intake, "take_in", refuse)
    for n in range(4):
        queues.deliver(delivery(f"batch_{n}", webhook_id=f"wh_{n}"))

    assert {"accepted": 3, "left": 1} == drain(rig, make_queue(queues))

    assert (0, 1) == queues.counts()
    assert 1 == len(said(caplog))


def test_a_queue_that_cannot_be_reached_is_tried_again(
    rig: Rig, queues: Queues, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside a daemon nothing ends by it; and what comes then is taken in."""
    monkeypatch.setattr("ledger.service.inbox.BACKOFF_SECONDS_MAX", 0.001)
    queues.deliver(delivery("batch_1"))
    queue = make_queue(queues)
    queue.fails = {"receive"}
    step = queue._step

    def heal(name: str) -> None:
        if queue.steps.count("receive") == 3:
            queue.fails = set()
        step(name)

    monkeypatch.setattr(queue, "_step", heal)

    inbox = follow(rig, queue, 5)

    assert {"accepted": 1} == inbox.counts
    assert ["webhook inbox: receive failed"] * 3 == said(caplog)


def test_the_waits_grow_and_are_bounded(
    rig: Rig, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as long after each failure, a minute at most; and no wait outlasts a stop."""
    waited: list[float] = []

    async def wait_for(work: Any, seconds: float) -> None:
        work.close()
        waited.append(seconds)
        raise TimeoutError

    inbox = make_inbox(rig, make_queue(queues))

    async def wait() -> None:
        for _ in range(100):
            await inbox._wait(asyncio.Event())
        monkeypatch.undo()
        stopped = asyncio.Event()
        stopped.set()
        await asyncio.wait_for(inbox._wait(stopped), 5)
        await inbox._end()

    monkeypatch.setattr("ledger.service.inbox.asyncio.wait_for", wait_for)
    asyncio.run(wait())

    assert [1, 2, 4, 8, 16, 32, 60, 60] == waited[:8]
    assert {60} == set(waited[8:])


def test_a_stop_finishes_what_was_handed_out(rig: Rig, queues: Queues) -> None:
    """Messages that came with the last poll are kept and deleted, not left invisible."""
    for n in range(10):
        queues.deliver(delivery(f"batch_{n}", webhook_id=f"wh_{n}"))
    queue = make_queue(queues)

    inbox = follow(rig, queue, 1)

    assert {"accepted": 10} == inbox.counts
    assert ["receive", "delete"] == queue.steps
    assert queues.empty()


def test_a_queue_that_is_not_there_is_an_error(rig: Rig, queues: Queues) -> None:
    """At once where it was asked for; only said where a daemon works beside."""
    queues.url += "-not"
    with pytest.raises(QueueRefused, match="refused receive_message"):
        drain(rig, make_queue(queues))
    with pytest.raises(QueueRefused, match="NonExistentQueue"):
        follow(rig, make_queue(queues), 2, patient=False)


def test_an_endpoint_that_is_away_is_an_error_where_it_was_asked_for(
    rig: Rig, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--once` does not wait for it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")
    with pytest.raises(QueueAway, match="cannot be reached"):
        drain(rig, make_queue(queues))
