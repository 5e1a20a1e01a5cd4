"""Outbound webhooks: what happens to runs, signed, sent to endpoints of the user's until taken.

A follower writes what an endpoint is to be told into the outbox, in the transaction that moves its
cursor; the life that owns the follower sends it. A kill in between repeats a delivery under its
old id at most.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ledger.core.addresses import is_loopback
from ledger.core.passing_on import Notice, NoticeType, judge_types
from ledger.core.redaction import redact_text
from ledger.core.retrying import SENDING
from ledger.core.signing import PREFIX, SECRET_BYTES_MIN, read_secret, sign
from ledger.credentials import secret_of
from ledger.errors import ConfigurationError
from ledger.providers.outbound import Answer, Poster
from ledger.service.followers import Consumer
from ledger.service.threads import to_its_end
from ledger.store import outbox
from ledger.store.following import notices_of
from ledger.store.store import Store
from ledger.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from ledger.settings import Outbound, Settings

log = logging.getLogger("runward")
PREFIX_NAME: Final = "outbound:"
"""Before an endpoint's name in the table of followers."""
AT_ONCE: Final = 4
"""Deliveries under way to one endpoint."""
PAUSE_SECONDS_MAX: Final = 60.0
"""So long an endpoint that fails rests at most between two tries of anything."""
GONE: Final = 410
"""The answer of an endpoint that wants no more of this."""
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One endpoint, ready to be sent to."""

    name: str
    url: str
    types: frozenset[NoticeType]
    secret: bytes = field(repr=False)
    timeout_seconds: float


def endpoints(settings: Settings) -> list[Endpoint]:
    """The endpoints of the settings, with their secrets as the environment has them now.

    Raises ConfigurationError, which names the endpoint and never a secret.
    """
    return [_endpoint(name, given) for name, given in sorted(settings.outbound.items())]


def endpoint(settings: Settings, name: str) -> Endpoint:
    """One endpoint by name. Raises ConfigurationError."""
    demand_endpoint(settings, name)
    return _endpoint(name, settings.outbound[name])


def demand_endpoint(settings: Settings, name: str) -> None:
    """Raise ConfigurationError unless there is an endpoint of this name."""
    if name not in settings.outbound:
        known = ", ".join(sorted(settings.outbound)) or "none; add [outbound.NAME] to runward.toml"
        raise ConfigurationError(f"there is no endpoint {name!r}", hint=f"there are: {known}")


def _endpoint(name: str, given: Outbound) -> Endpoint:
    place = f"[outbound.{name}]"
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"{place}: a name has letters, digits, _ and - only")
    _judge_url(place, given.url)
    variable = given.secret_variable
    try:
        secret = read_secret(secret_of(variable))
    except ValueError as error:
        state = str(error) if secret_of(variable) else "it is not set"
        raise ConfigurationError(
            f"{place}: {variable} must hold the signing secret: {state}",
            hint=f'export {variable}="{PREFIX}$(openssl rand -base64 {SECRET_BYTES_MIN + 8})"',
        ) from None
    return Endpoint(
        name=name,
        url=given.url,
        types=judge_types(given.events, place),
        secret=secret,
        timeout_seconds=given.timeout_seconds,
    )


def _judge_url(place: str, text: str) -> None:
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise ConfigurationError(f"{place}: the url cannot be read") from None
    del port
    if url.username or url.password:
        raise ConfigurationError(
            f"{place}: the url holds a password, and settings are no place for one",
            hint="the signature tells the endpoint who sends",
        )
    if url.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(f"{place}: plain http goes to loopback only", hint="use https://")
    if url.scheme not in ("http", "https") or not host or url.fragment:
        raise ConfigurationError(f"{place}: the url must be https:// and name a host")


def message_id(ledger_id: str, event_id: int) -> str:
    """The webhook-id of an event: the same at each try, and for each endpoint."""
    return f"evt_{ledger_id}_{event_id}"


def payload(notice: Notice, ledger_id: str) -> bytes:
    """What is sent: enough to act upon or to ask, and no contents."""
    data: dict[str, Any] = {
        "ledger": ledger_id,
        "run": notice.run,
        "key": notice.key,
        "state": str(notice.state),
        "attempt": notice.attempt,
        "seq": notice.seq,
        "provider": notice.provider,
        "model": notice.model,
        "error_code": notice.error_code,
        "tags": dict(notice.tags),
    }
    if notice.why is not None:
        data["why"] = notice.why
    message = {
        "type": str(notice.type),
        "id": message_id(ledger_id, notice.id),
        "created_at": notice.at.isoformat(),
        "data": data,
    }
    return json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode()


async def send(poster: Poster, to: Endpoint, *, message: str, body: bytes, now: datetime) -> Answer:
    """Sign and post one message."""
    headers = {
        "content-type": "application/json",
        "user-agent": "runward",
        **sign(to.secret, message_id=message, timestamp=int(now.timestamp()), body=body),
    }
    return await poster.post(to.url, body, headers, timeout_seconds=to.timeout_seconds)


class Sending(Consumer):
    """One endpoint as a consumer of the log, and the sender of its outbox."""

    def __init__(
        self,
        to: Endpoint,
        store: Store,
        writer: Writer,
        *,
        clock: Callable[[], datetime],
        rng: random.Random | None = None,
        poster: Poster | None = None,
    ) -> None:
        self._to, self._store, self._writer, self._clock = to, store, writer, clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._poster = poster
        self.name, self.types = PREFIX_NAME + to.name, to.types
        self._failures = 0
        self._not_before: datetime | None = None

    def write(self, connection: Connection, notices: Sequence[Notice], now: datetime) -> None:
        """Into the outbox, together with the move of the cursor."""
        outbox.put(connection, self._to.name, notices, now)

    async def work(self, now: datetime) -> datetime | None:
        """Send some of what is due. An endpoint that fails is tried with one at a time, and rests
        in between: what waits for it must not become a flood."""
        rest = self._not_before
        if rest is not None and now < rest <= now + timedelta(seconds=2 * PAUSE_SECONDS_MAX):
            return rest
        limit = 1 if self._failures else AT_ONCE
        look = functools.partial(self._look, now=now, limit=limit)
        later: datetime | None
        due, notices, later = await to_its_end(self._store.read, look)
        if not due:
            return later
        tried = await asyncio.gather(*(self._send(row, notices.get(row.event_id)) for row in due))
        # One that was taken shows that the endpoint works, whatever is wrong with another.
        self._failures = 0 if any(tried) else self._failures + 1
        if self._failures:
            pause = min(PAUSE_SECONDS_MAX, 2.0 ** min(self._failures - 1, 10))
            self._not_before = self._clock() + timedelta(seconds=pause)
            return self._not_before
        self._not_before = None
        return now

    def _look(
        self, connection: Connection, now: datetime, limit: int
    ) -> tuple[list[Any], dict[int, Notice], datetime | None]:
        due, later = outbox.due(connection, self._to.name, now, limit)
        return due, notices_of(connection, [row.event_id for row in due]), later

    async def _send(self, row: Any, notice: Notice | None) -> bool:
        """Send one; says whether that shows that the endpoint works."""
        if notice is None:
            # The run was pruned meanwhile: there is nothing left to tell.
            await self._record(row, Answer(error="the event is not there any more"), final=True)
            return True
        if self._poster is None:
            self._poster = Poster()
        ledger_id = self._store.ledger_id
        answer = await send(
            self._poster,
            self._to,
            message=message_id(ledger_id, notice.id),
            body=payload(notice, ledger_id),
            now=self._clock(),
        )
        gone = answer.status == GONE
        await self._record(row, answer, final=gone)
        return answer.taken or gone

    async def _record(self, row: Any, answer: Answer, *, final: bool) -> None:
        now, tries = self._clock(), row.tries + 1
        error, next_at = None, None
        if not answer.taken:
            error = redact_text(answer.error or f"it answered {answer.status}")
            if not final:
                next_at = SENDING.next_at(now, tries=tries, spread=self._rng.random())
            if next_at is not None and answer.retry_after_seconds is not None:
                next_at = max(next_at, now + timedelta(seconds=answer.retry_after_seconds))
            if next_at is None:
                what = "outbound %s: gave up on delivery %s after %s tries: %s"
                log.error(what, self._to.name, row.id, tries, error)
        mark = functools.partial(
            outbox.sent,
            row_id=row.id,
            status=answer.status,
            error=error,
            tries=tries,
            next_at=next_at,
            now=now,
        )
        await self._writer.transact(mark)

    async def close(self) -> None:
        """Close the connections."""
        if self._poster is not None:
            await self._poster.close()
            self._poster = None
