"""The plan of webhook deliveries: what is to be sent when, and what an answer means for it.

It reads no clock and sends nothing. Who sends asks ``deliveries_due`` for the tries of an
instant, tells ``answered`` what came of each of them, and need not ask again before
``next_delivery_at``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Any

from .delivery_log import Delivery, DeliveryLog
from .endpoints import OVERLAP_SECONDS, RESPONSE_EVENTS, Endpoint, NewEndpoint, make_secret, sign
from .events import Endings, Event, sample
from .ids import Ids, chance
from .jobs import Job
from .scenario import Scenario

USER_AGENT = "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)"
#: A signature that nobody can have made, a body that is not the signed one, an old message again.
FORGERIES = ("wrong_signature", "changed_body", "old_replay")

_OVERTAKEN_SECONDS = (5.0, 30.0)
#: Far outside of what a receiver tolerates, whose clock knows no speed of a scenario.
_OLD_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Try:
    """One POST to an endpoint. ``number`` is how its answer is told."""

    number: int
    delivery: Delivery
    url: str
    headers: Mapping[str, str]
    body: bytes


class Webhooks:
    """The endpoints of one simulator, and what is on its way to them."""

    def __init__(self, scenario: Scenario, ids: Ids, begin_with: Sequence[NewEndpoint]) -> None:
        self._seed, self._speed = scenario.seed, scenario.speed
        self._settings = scenario.webhooks
        self._ids = ids
        self._endings = Endings()
        self._queue: list[tuple[float, int, Delivery]] = []
        self._number = count(1)
        self._open: dict[int, dict[str, Any]] = {}
        self.log = DeliveryLog()
        self.endpoints: dict[str, Endpoint] = {}
        for given in begin_with:
            self.add(given.url, given.url, RESPONSE_EVENTS, now=0.0, secret=given.secret)

    # --- endpoints

    def add(
        self,
        name: str,
        url: str,
        event_types: Sequence[str],
        *,
        now: float,
        secret: str | None = None,
    ) -> Endpoint:
        """A new endpoint; it gets what happens from now on."""
        endpoint_id = self._ids.make("whe")
        endpoint = Endpoint(
            id=endpoint_id,
            name=name,
            url=url,
            event_types=tuple(event_types),
            created=now,
            updated=now,
            secret=secret or make_secret(self._seed, endpoint_id, 0),
        )
        self.endpoints[endpoint_id] = endpoint
        return endpoint

    def delete(self, endpoint: Endpoint) -> None:
        """Forget an endpoint; nothing is sent to it from now on."""
        endpoint.deleted = True
        del self.endpoints[endpoint.id]

    def rotate(self, endpoint: Endpoint, now: float, *, keep: bool) -> None:
        """Give an endpoint a new secret; the old one signs too for 24 hours, or ends at once."""
        until = now + OVERLAP_SECONDS / self._speed if keep else None
        secret = make_secret(self._seed, endpoint.id, endpoint.rotations + 1)
        endpoint.rotate(secret, keep_until=until, now=now)

    # --- what happens

    def expect(self, job: Job) -> None:
        """Take note of a job that is new or whose future has changed; foreground ones are none."""
        if job.api == "responses" and job.settings.get("background"):
            self._endings.expect(job)

    def advance(self, now: float) -> None:
        """Turn the ends up to now into events; due before anything changes jobs or endpoints."""
        for job, index in self._endings.take(now):
            self._happen(job, index)

    def _happen(self, job: Job, index: int) -> None:
        moment = job.timeline.moments[index]
        kind = f"response.{moment.status}"
        listening = [one for one in self.endpoints.values() if kind in one.event_types]
        if not listening:
            return
        event = Event(self._ids.named("evt", job.id, index), kind, job.id, moment.at)
        told = self.log.event(event)
        for endpoint in listening:
            told.deliveries.extend(self._plan(event, endpoint))

    def _plan(self, event: Event, endpoint: Endpoint) -> Iterator[Delivery]:
        settings = self._settings
        webhook_id = self._ids.named("wh", event.id, endpoint.id)
        message = Delivery(event, endpoint, webhook_id)
        first_at = event.at + self._first_wait(webhook_id)
        if self._chance(webhook_id, "loss") < settings.loss:
            message.state = "lost"
        else:
            self._schedule(message, first_at)
        yield message
        if message.state != "lost" and self._chance(webhook_id, "duplicate") < settings.duplicate:
            twin = Delivery(event, endpoint, webhook_id, "duplicate")
            self._schedule(twin, first_at + self._delay(webhook_id, "twin"))
            yield twin
        for nth in range(self._forgeries(webhook_id)):
            pick = int(self._chance(webhook_id, "forgery", nth) * len(FORGERIES))
            forged = Delivery(event, endpoint, webhook_id, "forged", FORGERIES[pick])
            self._schedule(forged, event.at + self._delay(webhook_id, "forged", nth))
            yield forged

    def _first_wait(self, webhook_id: str) -> float:
        wait = self._delay(webhook_id, "first")
        if self._chance(webhook_id, "reorder") < self._settings.reorder:
            least, most = _OVERTAKEN_SECONDS
            extra = least + (most - least) * self._chance(webhook_id, "overtaken")
            wait += extra / self._speed
        return wait

    def _forgeries(self, webhook_id: str) -> int:
        whole = int(self._settings.forged)
        return whole + (self._chance(webhook_id, "forged") < self._settings.forged - whole)

    def _delay(self, webhook_id: str, *what: object) -> float:
        return self._settings.delay_at(self._chance(webhook_id, "delay", *what)) / self._speed

    def _chance(self, webhook_id: str, *what: object) -> float:
        return chance(self._seed, webhook_id, *what)

    def _schedule(self, delivery: Delivery, at: float) -> None:
        delivery.state = "waiting"
        heappush(self._queue, (at, next(self._number), delivery))

    # --- what is sent

    def next_delivery_at(self, now: float) -> float | None:
        """Before this instant nothing can become due; None as long as nothing is in sight."""
        self.advance(now)
        ahead = [self._queue[0][0]] if self._queue else []
        ending = self._endings.next_at() if self.endpoints else None
        return min([*ahead, *([] if ending is None else [ending])], default=None)

    def deliveries_due(self, now: float) -> list[Try]:
        """The tries to make now, signed for now. Each must be answered with ``answered``."""
        self.advance(now)
        due = []
        while self._queue and self._queue[0][0] <= now:
            delivery = heappop(self._queue)[2]
            if delivery.endpoint.deleted:
                delivery.state = "dropped"
            else:
                due.append(self._begin(delivery, now))
        return due

    def test(self, endpoint: Endpoint, event_type: str, now: float) -> Try:
        """One try of a sample event, made at once and never again."""
        nth = next(self._number)
        event = sample(self._ids.named("evt", endpoint.id, "test", nth), event_type, now)
        delivery = Delivery(event, endpoint, self._ids.named("wh", event.id), "test")
        self.log.event(event).deliveries.append(delivery)
        return self._begin(delivery, now)

    def _begin(self, delivery: Delivery, now: float) -> Try:
        delivery.state = "sent"
        delivery.tries += 1
        number = next(self._number)
        self._open[number] = self.log.attempt(delivery, now)
        return self._signed(number, delivery, now)

    def renewed(self, sent: Try, now: float) -> Try:
        """The same try signed for a later instant: one that had to wait for its turn."""
        if (entry := self._open.get(sent.number)) is not None:
            entry["at"] = now
        return self._signed(sent.number, sent.delivery, now)

    def _signed(self, number: int, delivery: Delivery, now: float) -> Try:
        webhook_id, body = delivery.webhook_id, delivery.event.body
        timestamp = int(now) - (_OLD_SECONDS if delivery.forgery == "old_replay" else 0)
        secrets = delivery.endpoint.secrets(now)
        if delivery.forgery == "wrong_signature":
            secrets = [make_secret("forger", webhook_id) for _ in secrets]
        headers = {
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(
                sign(secret, webhook_id, timestamp, body) for secret in secrets
            ),
        }
        if delivery.forgery == "changed_body":
            body = _changed(delivery.event).body
        return Try(number, delivery, delivery.endpoint.url, headers, body)

    def answered(self, sent: Try, status: int | None, now: float) -> None:
        """What a try was answered, None for no answer; plans the next try of what failed.

        Any 2xx is success. A redirect is not followed and counts as failure.
        """
        entry = self._open.pop(sent.number, None)
        if entry is None:
            return
        entry.update(answered_at=now, status=status)
        delivery = sent.delivery
        waits = self._settings.retry_seconds if delivery.kind == "genuine" else ()
        if status is not None and 200 <= status < 300:
            delivery.state = "delivered"
        elif delivery.tries > len(waits):
            delivery.state = "given_up"
        else:
            self._schedule(delivery, now + waits[delivery.tries - 1] / self._speed)


def _changed(event: Event) -> Event:
    other = "response.completed" if event.type == "response.failed" else "response.failed"
    return Event(event.id, other, event.object_id, event.at)
