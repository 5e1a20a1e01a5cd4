"""The budgets of this life, one for each credential, and what was seen of their limits.

A credential is a base URL and a fingerprint: the accounts of one profile for responses and for
assistants share it, and so do all lives. Each life has one part in as many as lives are at work. A
Retry-After, and the limit that upstream names, are written to the account's row when they change,
and read by the others at their next sweep: until then, seconds, those may still call. What
one life's 429s have left of its part stays its own: the others meet theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ledger.core.budget import Budget
from ledger.core.pacing.looks import HINT_SECONDS_MAX
from ledger.errors import Limits, MalformedReply, RateLimited, UpstreamError
from ledger.service.usage import minute_of
from ledger.settings import Limits as Configured
from ledger.store.limits import Known

if TYPE_CHECKING:
    from ledger.service.accounts import AccountRecord, Credential

Place = tuple[str, str, str]
KNOWN_FOR: Final = timedelta(days=1)
"""A limit that nobody has seen for longer is not believed by a new life."""
CHANGED_SHARE: Final = 0.01
HELD_FOR_MAX: Final = timedelta(seconds=HINT_SECONDS_MAX + 60.0)
TOO_MANY: Final = 429
HELD_SECONDS_MIN: Final = 1.0
"""Shorter waits are over before anybody else has read of them."""


@dataclass(slots=True)
class Minute:
    """What was seen of one account's limits in one minute."""

    limit: float | None = None
    lowest: float | None = None
    calls: int = 0
    refused: int = 0
    throttled: int = 0
    throttled_seconds: float = 0.0


class Budgets:
    """Budgets by credential."""

    def __init__(self, credentials: Mapping[Place, Credential]) -> None:
        self._credentials = credentials
        self._budgets: dict[tuple[str, str], Budget] = {}
        self._by_account: dict[int, Budget] = {}
        self._tags: dict[int, str] = {}
        self._written: dict[int, tuple[float | None, float]] = {}
        self.share = 1.0
        self.news: set[int] = set()
        """The accounts whose rows are to be written."""
        self.minutes: dict[tuple[datetime, int], Minute] = {}

    def of(self, account_id: int, record: AccountRecord | None) -> Budget:
        """The budget that an account draws on."""
        found = self._by_account.get(account_id)
        if found is None:
            if record is None:
                return Budget()
            key = self._key(record)
            if key not in self._budgets:
                made = Budget(configured=self._configured(key), share=self.share)
                self._budgets[key] = made
            found = self._by_account[account_id] = self._budgets[key]
        return found

    def fair_tag(self, account_id: int, record: AccountRecord | None) -> str:
        """The tag whose values take turns."""
        found = self._tags.get(account_id)
        if found is None:
            if record is None:
                return Configured().fair_tag
            found = self._tags[account_id] = self._limits(record).fair_tag
        return found

    def mind(
        self,
        account_id: int,
        budget: Budget,
        error: UpstreamError | None,
        limits: Limits | None,
        now: datetime,
        started: datetime,
        spread: float,
    ) -> None:
        """Take in what a call says of the limit."""
        at = now.timestamp()
        if limits is not None:
            budget.saw(limits, at)
            self._saw(account_id, limits, now)
        if error is not None and _refused(error):
            minute = self.minute(account_id, now)
            minute.calls += 1
            minute.refused += 1
            wait = error.reply.retry_after_seconds
            budget.refused(at, started=started.timestamp(), retry_after=wait, spread=spread)
        elif error is None:
            self.minute(account_id, now).calls += 1
            budget.worked(started.timestamp())
        else:
            return
        self._notice(account_id, budget, at)

    def minute(self, account_id: int, now: datetime) -> Minute:
        """What is counted of the present minute."""
        key = (minute_of(now), account_id)
        if key not in self.minutes:
            self.minutes[key] = Minute()
        return self.minutes[key]

    def put_back(self, minutes: Mapping[tuple[datetime, int], Minute]) -> None:
        """What was taken could not be written: count it again."""
        for (at, account_id), old in minutes.items():
            new = self.minute(account_id, at)
            new.limit = old.limit if new.limit is None else new.limit
            new.lowest = min((v for v in (old.lowest, new.lowest) if v is not None), default=None)
            new.calls += old.calls
            new.refused += old.refused
            new.throttled += old.throttled
            new.throttled_seconds += old.throttled_seconds

    def throttled(self, counts: Mapping[int, list[float]], now: datetime) -> None:
        """Count how often, and how long, something had to wait for a call."""
        for account_id, (times, seconds) in counts.items():
            minute = self.minute(account_id, now)
            minute.throttled += int(times)
            minute.throttled_seconds += seconds

    def divide(self, lives: int, now: datetime) -> None:
        """So many lives are at work, this one among them."""
        self.share = 1.0 / max(lives, 1)
        for budget in self._budgets.values():
            budget.divide(self.share, now.timestamp())

    def hear(self, known: Known, budget: Budget, now: datetime) -> None:
        """What the account's row says, as this or another life wrote it."""
        at = now.timestamp()
        held = known.held_until
        # Longer than any hold: written by a clock that was set back since.
        if held is not None and held - now <= HELD_FOR_MAX:
            budget.hold(held.timestamp(), at)
        if known.limit is not None and known.limit_at and now - known.limit_at < KNOWN_FOR:
            budget.told(known.limit, known.limit_at.timestamp(), at)
        self._written[known.id] = (budget.seen, budget.held_until)

    def known(self, account_id: int, budget: Budget, breaker: str | None) -> Known:
        """What an account's row is to say."""
        self._written[account_id] = (budget.seen, budget.held_until)
        return Known(
            id=account_id,
            limit=budget.seen,
            left=budget.remaining,
            limit_at=_time(budget.seen_at),
            held_until=_time(budget.held_until),
            breaker=breaker,
        )

    def shift(self, by: timedelta) -> None:
        """The wall clock was set: nobody waits longer than before."""
        back = min(by, timedelta(0)).total_seconds()
        for budget in self._budgets.values():
            budget.shift(back)

    def _notice(self, account_id: int, budget: Budget, at: float) -> None:
        """Whether others should know."""
        limit, held = self._written.get(account_id, (None, 0.0))
        if budget.held_until > max(held, at) + HELD_SECONDS_MIN:
            self.news.add(account_id)
        seen = budget.seen
        if seen is not None and (limit is None or abs(seen - limit) > limit * CHANGED_SHARE):
            self.news.add(account_id)

    def _saw(self, account_id: int, limits: Limits, now: datetime) -> None:
        minute = self.minute(account_id, now)
        if limits.limit is not None:
            minute.limit = limits.limit
        if limits.remaining is not None:
            known = (minute.lowest, limits.remaining)
            minute.lowest = min(left for left in known if left is not None)

    def _key(self, record: AccountRecord) -> tuple[str, str]:
        here = self._credentials.get((record.provider, record.base_url, record.project))
        return record.base_url, here.fingerprint if here else record.fingerprint

    def _configured(self, key: tuple[str, str]) -> float | None:
        """The lowest limit that any profile with this credential has."""
        found = [
            limit
            for (_, base_url, _), credential in self._credentials.items()
            if (base_url, credential.fingerprint) == key
            and (limit := credential.limits.requests_per_minute) is not None
        ]
        return min(found, default=None)

    def _limits(self, record: AccountRecord) -> Configured:
        here = self._credentials.get((record.provider, record.base_url, record.project))
        return here.limits if here else Configured()


def _refused(error: UpstreamError) -> bool:
    """Whether the call came too soon: upstream's 429, or that of a proxy, which need not be JSON
    and so proves nothing else. A quota that is used up is none: waiting does not help."""
    proxied = isinstance(error, MalformedReply) and error.reply.status == TOO_MANY
    return isinstance(error, RateLimited) or proxied


def _time(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
