"""Whether webhooks really tell of what ends: measured by each end, not believed.

A profile that should be covered and is not is polled like any other until deliveries come again.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ledger.core.alphabet import Receipt
from ledger.core.families import FAMILIES
from ledger.core.lifecycle import FINAL
from ledger.core.outcome import Observed, Outcome
from ledger.service.commits import ignore
from ledger.service.usage import hour_of
from ledger.store.gaps import Gap, close_gap, last_delivery, open_gap, open_gaps, told_of
from ledger.store.store import Store
from ledger.store.tally import add_receipts
from ledger.store.writer import Writer

if TYPE_CHECKING:
    from ledger.core.model import Facts
    from ledger.service.accounts import AccountRecord

log = logging.getLogger("runward")
GRACE_SECONDS: Final = 60.0
"""A delivery that is not there so long after we saw the end counts as missed."""
GAP_ENDS: Final = 3
"""So many ends in a row that no delivery told of make a gap."""
PENDING_MAX: Final = 100_000
FINAL_WORDS: Final = frozenset(str(state) for state in FINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One object that we saw ended, and that a delivery should have told of."""

    profile: str
    remote_id: str
    seen_at: datetime


class Coverage:
    """What one life knows of its profiles' webhooks."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        covered: frozenset[str],
        accounts: Mapping[int, AccountRecord],
    ) -> None:
        self._store, self._writer = store, writer
        self._covered, self._accounts = covered, accounts
        self._ends: deque[End] = deque(maxlen=PENDING_MAX)
        self._missed_in_row: Counter[str] = Counter()
        self._first_missed: dict[str, datetime] = {}
        self.gaps: frozenset[str] = frozenset()
        self.on_gap: Callable[[str], None] = ignore

    def covers(self, account_id: int, provider: str) -> bool:
        """Whether a delivery will most likely tell when an object of this account ends."""
        account = self._accounts.get(account_id)
        if account is None or not FAMILIES[provider].notified:
            return False
        return account.profile in self._covered and account.profile not in self.gaps

    def read_gaps(self) -> None:
        """Take in the gaps that any life noticed. Raises DatabaseError."""
        self.gaps = frozenset(gap.profile for gap in self._store.read(open_gaps))

    def saw(self, before: Facts, after: Facts, outcome: Outcome, now: datetime) -> None:
        """An object was read: if it has just ended, a delivery is due."""
        if not isinstance(outcome, Observed) or not self._covered:
            return
        account = self._accounts.get(after.run.account_id)
        if account is None or account.profile not in self._covered:
            return
        remote = after.remote(outcome.n)
        known = outcome.n <= len(before.remotes) and before.remote(outcome.n).observed_status
        over = remote.observed_status in FINAL_WORDS and known not in FINAL_WORDS
        if over and remote.remote_id and FAMILIES[after.run.provider].notified:
            end = End(profile=account.profile, remote_id=remote.remote_id, seen_at=now)
            self._ends.append(end)

    async def check(self, now: datetime) -> None:
        """Judge the ends whose time is up, and open or close gaps. Raises DatabaseError."""
        if not self._covered:
            return
        await self._heal(now)
        ripe = self._ripe(now)
        if not ripe:
            return
        told = self._store.read(lambda c: told_of(c, [end.remote_id for end in ripe]))
        counts: Counter[tuple[str, str]] = Counter()
        for end in ripe:
            seen = end.remote_id in told
            counts[end.profile, Receipt.told if seen else Receipt.missed] += 1
            self._count(end, told=seen)
        rows = [(hour_of(now), profile, result, n) for (profile, result), n in counts.items()]
        await self._writer.transact(lambda c: add_receipts(c, rows))
        for profile, missed in self._missed_in_row.items():
            if missed >= GAP_ENDS and profile not in self.gaps:
                await self._open(profile, missed, now)

    def _ripe(self, now: datetime) -> list[End]:
        found = []
        while self._ends and now - self._ends[0].seen_at >= timedelta(seconds=GRACE_SECONDS):
            found.append(self._ends.popleft())
        return found

    def _count(self, end: End, *, told: bool) -> None:
        if told:
            self._missed_in_row[end.profile] = 0
            self._first_missed.pop(end.profile, None)
        else:
            self._missed_in_row[end.profile] += 1
            self._first_missed.setdefault(end.profile, end.seen_at)

    async def _open(self, profile: str, missed: int, now: datetime) -> None:
        last = self._store.read(lambda c: last_delivery(c, profile))
        first = self._first_missed.get(profile, now)
        if last is not None and last > first:
            # Others were told of meanwhile: some are lost, but there is no gap.
            self._missed_in_row[profile] = 0
            return
        since = last or first
        await self._writer.transact(lambda c: open_gap(c, profile, since, now, missed))
        self.gaps |= {profile}
        log.warning(
            "profile %s: no webhook since %s while %d runs ended; polling until one comes",
            profile, since.isoformat(timespec="seconds"), missed, extra={"profile": profile},
        )  # fmt: skip
        self.on_gap(profile)

    async def _heal(self, now: datetime) -> None:
        """Gaps that any life noticed, and deliveries that ended them."""
        found = self._store.read(open_gaps)
        open_now = frozenset([gap.profile for gap in found if not await self._healed(gap, now)])
        before, self.gaps = self.gaps, open_now
        for profile in (open_now - before) & self._covered:
            self.on_gap(profile)

    async def _healed(self, gap: Gap, now: datetime) -> bool:
        last = self._store.read(lambda c: last_delivery(c, gap.profile))
        if last is None or last <= gap.noticed_at:
            return False
        if await self._writer.transact(lambda c: close_gap(c, gap.profile, now)):
            what = "profile %s: webhooks come again"
            log.warning(what, gap.profile, extra={"profile": gap.profile})
        self._missed_in_row[gap.profile] = 0
        self._first_missed.pop(gap.profile, None)
        return True
