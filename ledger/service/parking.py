"""Deliveries that speak of an object nobody knows: looked into once, adopted or left alone.

A create whose reply was lost, or is still on its way, leaves an object that only its marker ties
to a run; the delivery names the object, and one read of it shows the marker.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import datetime, timedelta
from typing import Final

from ledger.clock import monotonic
from ledger.core.alphabet import DeliveryState, RemoteKind, RemoteState
from ledger.core.delivery import PARKED
from ledger.core.families import FAMILIES
from ledger.core.intent import Address
from ledger.core.outcome import Found, Observation, dump_outcome
from ledger.core.request import usable_id
from ledger.errors import AuthenticationRefused, ConfigurationError, Pause, UpstreamError
from ledger.service.accounts import AccountRecord, Accounts
from ledger.service.usage import Usage
from ledger.store.deliveries import (
    Holder,
    Parked,
    delivery_body,
    hand_over,
    holder_of,
    marked,
    parked,
    postpone,
    settle,
    take_parked,
)
from ledger.store.evidence import Fact
from ledger.store.store import Store
from ledger.store.writer import Writer

log = logging.getLogger("runward")
FIRST_SECONDS: Final = 2.0
"""So long the reply to the create may take before the object is fetched for its marker."""
AT_ONCE: Final = 8
PAGES_MAX: Final = 25
TRY_SECONDS: Final = 60.0
"""A life that took a parked delivery and died leaves it to another after this."""
SENDING_SECONDS: Final = 5.0
MISSING_TRIES: Final = 3
AGE_OUT_SECONDS: Final = 86_400.0
"""What could not be looked into in this time is nobody's."""
FOUND: Final = "found"
"""The source of evidence that is an object found for a parked delivery."""


class Parking:
    """What one life does about parked deliveries."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        accounts: Accounts,
        usage: Usage,
        rng: random.Random,
    ) -> None:
        self._store, self._writer = store, writer
        self._accounts, self._usage, self._rng = accounts, usage, rng

    async def look(self, now: datetime) -> None:
        """Look into the deliveries whose turn it is, some at a time, and no more in one pass than
        leaves the account to its runs. Raises DatabaseError."""
        for _ in range(PAGES_MAX):
            page = self._store.read(lambda c: parked(c, now, AT_ONCE))
            await asyncio.gather(*(self._one(item, now) for item in page))
            if len(page) < AT_ONCE:
                return

    async def _one(self, item: Parked, now: datetime) -> None:
        until = now + timedelta(seconds=TRY_SECONDS)
        if not await self._writer.transact(lambda c: take_parked(c, item, until)):
            return
        holder = self._store.read(lambda c: holder_of(c, item.object_id))
        aged = now - item.received_at > timedelta(seconds=AGE_OUT_SECONDS)
        if holder is not None:
            await self._known(item, holder, now)
        elif aged and item.tries:
            # Not by its age alone: it may have come by a queue that stood still for a day.
            await self._settle(item, DeliveryState.foreign)
        else:
            await self._unknown(item, now)

    async def _known(self, item: Parked, holder: Holder, now: datetime) -> None:
        """The reply to the create has come meanwhile."""
        body = self._store.read(lambda c: delivery_body(c, item.webhook_id)) or b""
        fact = Fact(PARKED, item.webhook_id, holder.run_id, body, item.object_id)
        await self._hand_over(item, DeliveryState.matched, fact, now)

    async def _unknown(self, item: Parked, now: datetime) -> None:
        account = self._account(item.profile)
        if account is None or not usable_id(item.object_id):
            await self._settle(item, DeliveryState.foreign)
            return
        closed = self._accounts.may_call(account.id, now)
        if closed is not None:
            await self._writer.transact(lambda c: postpone(c, item.id, closed))
            return
        started = monotonic()
        seen = await self._fetch(account, item.object_id)
        error = seen if isinstance(seen, UpstreamError) else None
        outcome = type(error).__name__ if error else "ok"
        self._usage.count(now, account.id, "parked", outcome, monotonic() - started)
        said = None if isinstance(seen, UpstreamError) else seen.limits
        seconds = monotonic() - started
        self._accounts.mind(account.id, error, now, self._rng, seconds=seconds, limits=said)
        if not isinstance(seen, UpstreamError):
            await self._fetched(item, seen, now)
        elif seen.pause == Pause.none and item.tries + 1 >= MISSING_TRIES:
            await self._settle(item, DeliveryState.foreign)

    def _account(self, profile: str) -> AccountRecord | None:
        """The account that deliveries to a profile are about; None where no run ever went to it."""
        found = self._known_account(profile)
        if found is None:
            self._accounts.learn(self._store)
            found = self._known_account(profile)
        return found

    def _known_account(self, profile: str) -> AccountRecord | None:
        mine = [r for r in self._accounts.records.values() if r.profile == profile]
        return next((r for r in reversed(mine) if FAMILIES[r.provider].notified), None)

    async def _fetch(self, account: AccountRecord, object_id: str) -> Observation | UpstreamError:
        address = Address(n=0, kind=RemoteKind.response, marker="", remote_id=object_id)
        try:
            return await self._accounts.provider(account).observe(address)
        except ConfigurationError as missing:
            return AuthenticationRefused(missing.message)
        except UpstreamError as error:
            return error

    async def _fetched(self, item: Parked, seen: Observation, now: datetime) -> None:
        marker = seen.marker
        holder = self._store.read(lambda c: marked(c, marker)) if marker else None
        if holder is None:
            await self._settle(item, DeliveryState.foreign)
        elif holder.state in (RemoteState.intended, RemoteState.sending):
            # Its create is under way: what the reply says goes before what we found.
            again = now + timedelta(seconds=SENDING_SECONDS)
            await self._writer.transact(lambda c: postpone(c, item.id, again))
        else:
            body = dump_outcome(Found(n=holder.n, observations=(seen,)))
            fact = Fact(FOUND, item.webhook_id, holder.run_id, body, item.object_id)
            await self._hand_over(item, DeliveryState.adopted, fact, now)

    async def _hand_over(
        self, item: Parked, state: DeliveryState, fact: Fact, now: datetime
    ) -> None:
        await self._writer.transact(lambda c: hand_over(c, item, state, fact, now))

    async def _settle(self, item: Parked, state: DeliveryState) -> None:
        await self._writer.transact(lambda c: settle(c, item.id, state))
