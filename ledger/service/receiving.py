"""The receiver of webhooks: verified on arrival, written down once, answered, acted upon later."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from ledger.clock import pause
from ledger.core.alphabet import Receipt
from ledger.core.delivery import (
    BODY_BYTES_MAX,
    Delivery,
    check_time,
    headers_of,
    read_announcement,
    sent_at,
)
from ledger.core.redaction import redact_bytes
from ledger.errors import DatabaseError, DeliveryRefused
from ledger.providers.signing import prepare
from ledger.service.keyring import Signer
from ledger.service.parking import FIRST_SECONDS
from ledger.service.usage import hour_of
from ledger.store.deliveries import Intake
from ledger.store.store import Store
from ledger.store.tally import add_receipts
from ledger.store.writer import Writer

log = logging.getLogger("runward")
BATCH_MAX: Final = 200
WAITING_MAX: Final = 5_000
TALLY_SECONDS: Final = 5.0
NOBODY: Final = ""
"""The profile of a request that no secret of ours signed."""


class Receiver:
    """Takes deliveries for one ledger, in one event loop."""

    def __init__(
        self, store: Store, writer: Writer, keyring: Signer, clock: Callable[[], datetime]
    ) -> None:
        prepare()
        self._writer, self._keyring, self._clock = writer, keyring, clock
        self._intake = Intake(store.engine.dialect)
        self._waiting: list[tuple[Delivery, asyncio.Future[Receipt]]] = []
        self._taking: asyncio.Task[None] | None = None
        self._tally: Counter[tuple[datetime, str, str]] = Counter()
        self._telling: asyncio.Task[None] | None = None

    async def receive(
        self,
        headers: Mapping[str, str],
        body: bytes,
        *,
        via: str = "http",
        received_at: datetime | None = None,
    ) -> Receipt:
        """Take one delivery; once this returns it is durable. `received_at` is when it came.

        Raises DeliveryRefused for what cannot be believed, DatabaseError when it cannot be kept.
        """
        received = received_at or self._clock()
        try:
            delivery = self._read(headers, body, via, received)
        except DeliveryRefused as refused:
            self._count(NOBODY, refused.result)
            raise
        result = await self._take_in(delivery)
        self._count(delivery.profile, result)
        return result

    def refuse(self, result: Receipt) -> None:
        """Count a request that was refused before it was read."""
        self._count(NOBODY, result)

    async def close(self) -> None:
        """Write what is only counted so far."""
        if self._telling is not None:
            self._telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._telling
        with contextlib.suppress(DatabaseError):
            await self._tell()

    def _read(
        self, headers: Mapping[str, str], body: bytes, via: str, received: datetime
    ) -> Delivery:
        if len(body) > BODY_BYTES_MAX:
            raise DeliveryRefused("the body is too large", result=Receipt.too_large)
        named = headers_of(headers)
        sent = sent_at(named)
        profile, secret = self._keyring.signer(named, body)
        check_time(sent, received)
        return Delivery(
            webhook_id=named["webhook-id"],
            sent_at=sent,
            received_at=received,
            announced=read_announcement(body),
            body=redact_bytes(body),
            profile=profile,
            secret=secret,
            via=via,
        )

    async def _take_in(self, delivery: Delivery) -> Receipt:
        if len(self._waiting) >= WAITING_MAX:
            raise DatabaseError("too many deliveries wait for the database")
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, future))
        if self._taking is None or self._taking.done():
            self._taking = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        """What waits while one transaction is under way goes into the next, together."""
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            if not await self._write(batch) and len(batch) > 1:
                # One of them may be at fault.
                for item in batch:
                    await self._write([item], last=True)

    async def _write(
        self, batch: list[tuple[Delivery, asyncio.Future[Receipt]]], *, last: bool = False
    ) -> bool:
        deliveries = [delivery for delivery, _ in batch]
        until = deliveries[0].received_at + timedelta(seconds=FIRST_SECONDS)
        try:
            results = await self._writer.transact(
                lambda c: self._intake.take_in(c, deliveries, until)
            )
        except Exception as error:
            if last or len(batch) == 1:
                _settle(batch, error)
            return False
        self._writer.poke()
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
        return True

    def _count(self, profile: str, result: str) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("webhook", extra={"result": str(result), "profile": profile or None})
        self._tally[hour_of(self._clock()), profile, str(result)] += 1
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_later())

    async def _tell_later(self) -> None:
        await pause(TALLY_SECONDS)
        try:
            await self._tell()
        except DatabaseError as error:
            log.error("webhooks: the tally could not be written: %s", error)

    async def _tell(self) -> None:
        """One write for many requests: strangers must not be able to make us write."""
        counts, self._tally = self._tally, Counter()
        if not counts:
            return
        rows = [(hour, profile, result, n) for (hour, profile, result), n in counts.items()]
        try:
            await self._writer.transact(lambda c: add_receipts(c, rows))
        except DatabaseError:
            self._tally.update(counts)
            raise


def _settle(batch: list[tuple[Delivery, asyncio.Future[Receipt]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
