"""Accounts at work: the provider behind each, and when it may be called."""

from __future__ import annotations

import contextlib
import functools
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from ledger.clock import utcnow
from ledger.core.budget import Budget
from ledger.core.intent import AccountProfile
from ledger.errors import (
    DatabaseError,
    Limits,
    MissingCredential,
    ObjectMissing,
    UpstreamError,
)
from ledger.providers.client import credential_fingerprint, read_key
from ledger.providers.seam import Provider
from ledger.service.budgets import Budgets
from ledger.service.gates import Gate
from ledger.service.limit_care import write_news
from ledger.service.redacting import Redaction
from ledger.settings import Limits as Configured
from ledger.settings import Settings
from ledger.store.limits import known_limits
from ledger.store.queries import accounts as read_accounts
from ledger.store.store import Store, stop_account
from ledger.store.writer import Writer

log = logging.getLogger("runward")
HIDDEN_OBJECTS: Final = 3
HIDDEN_WITHIN: Final = timedelta(seconds=120)
"""So many objects that are missing at once, and none that is not, speak of the credential."""
FAMILIES: Final = ("responses", "assistants")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRecord:
    """One account as the ledger knows it."""

    id: int
    provider: str
    base_url: str
    project: str
    profile: str
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a profile resolves to in this process. `key` never leaves it."""

    profile_name: str
    profile: AccountProfile
    key: str
    fingerprint: str
    limits: Configured = field(default_factory=Configured)

    def __repr__(self) -> str:
        return f"Credential({self.profile_name!r}, fingerprint={self.fingerprint!r})"


class Opener(Protocol):
    """Makes a provider; the seam where tests put their own."""

    def __call__(self, profile: AccountProfile, key: str) -> Provider: ...


class Accounts:
    """Providers by account, opened on first use."""

    def __init__(
        self,
        credentials: Mapping[tuple[str, str, str], Credential],
        opener: Opener,
        redaction: Redaction | None = None,
    ) -> None:
        self.redaction = redaction or Redaction()
        self._credentials = credentials
        self._opener = opener
        self._providers: dict[int, Provider] = {}
        self._gates: dict[int, Gate] = {}
        self.budgets = Budgets(credentials)
        self.records: dict[int, AccountRecord] = {}
        """The accounts that this process has read of."""
        self.marks: dict[int, str | None] = {}
        """Why an account is stopped, or that it works again: what is still to be written."""

    def gate(self, account_id: int) -> Gate:
        """The account's gate."""
        gate = self._gates.get(account_id)
        if gate is None:
            gate = self._gates[account_id] = Gate()
        return gate

    def budget(self, account_id: int) -> Budget:
        """What the account's credential may spend."""
        return self.budgets.of(account_id, self.records.get(account_id))

    def fair_tag(self, account_id: int) -> str:
        """The tag whose values take turns."""
        return self.budgets.fair_tag(account_id, self.records.get(account_id))

    def may_call(self, account_id: int, now: datetime) -> datetime | None:
        """None to make a call that belongs to no run, which is thereby spent, or when to ask."""
        budget, at = self.budget(account_id), now.timestamp()
        wait = budget.wait(at)
        if wait > 0:
            return now + timedelta(seconds=wait)
        closed = self.gate(account_id).enter(now, 0)
        if closed is None:
            budget.take(at)
        return closed

    def learn(self, store: Store) -> None:
        """Read all accounts of the ledger, and what is known of their limits."""
        rows, (known, _) = store.read(lambda c: (read_accounts(c), known_limits(c)))
        for row in rows:
            self.records[row.id] = self.read(row)
        for item in known:
            if item.id in self.records:
                self.budgets.hear(item, self.budget(item.id), utcnow())

    def read(self, row: Any) -> AccountRecord:
        """An account as its row has it."""
        # Stopped by an earlier life: one probe goes first, and its success takes the mark away.
        if row.stopped_why:
            self.gate(row.id).stopped = row.stopped_why
        here = self._credentials.get((row.provider, row.base_url, row.project))
        return AccountRecord(
            id=row.id,
            provider=row.provider,
            base_url=row.base_url,
            project=row.project,
            profile=here.profile_name if here else row.profile,
            fingerprint=row.fingerprint,
        )

    def mind(
        self,
        account_id: int,
        error: UpstreamError | None,
        now: datetime,
        rng: random.Random,
        *,
        seconds: float = 0.0,
        limits: Limits | None = None,
    ) -> bool:
        """Take in how a call of so many seconds went, and what its reply said of the limit; says
        whether an account that was stopped, or its breaker open, works again."""
        gate, budget = self.gate(account_id), self.budget(account_id)
        started, was_stopped, was_open = (
            now - timedelta(seconds=seconds),
            gate.stopped,
            gate.opened_at,
        )
        limits = error.reply.limits if error else limits
        spread = rng.random() if error else 0.0
        self.budgets.mind(account_id, budget, error, limits, now, started, spread)
        if error is None:
            back = gate.worked()
            if was_stopped:
                self.marks[account_id] = None
        else:
            back = False
            gate.failed(error, now, spread, started)
        if (was_open is None) != (gate.opened_at is None):
            self.budgets.news.add(account_id)
            log.warning("account %s: the breaker is %s", account_id, gate.state(now))
        if error and gate.stopped and not was_stopped:
            log.error("account %s stopped: %s", account_id, error.message)
            self.marks[account_id] = gate.stopped
        return back

    async def write_marks(self, writer: Writer, now: datetime) -> None:
        """After what the calls brought: a mark that fails costs nothing, and is made later."""
        if self.budgets.news:
            await write_news(self, writer)
        while self.marks:
            account_id, why = self.marks.popitem()
            mark = functools.partial(stop_account, account_id=account_id, why=why, now=now)
            try:
                await writer.transact(mark)
            except DatabaseError:
                self.marks.setdefault(account_id, why)
                return

    def provider(self, account: AccountRecord) -> Provider:
        """The provider of an account. Raises MissingCredential if no profile resolves to it."""
        if account.id not in self._providers:
            place = (account.provider, account.base_url, account.project)
            credential = self._credentials.get(place)
            if credential is None:
                raise MissingCredential(
                    f"no profile of this process resolves to account {account.id}: "
                    f"{account.provider} at {account.base_url}",
                    hint="set OPENAI_BASE_URL and OPENAI_API_KEY as they were at submit, or add a "
                    "profile to runward.toml",
                )
            self._providers[account.id] = self._opener(credential.profile, credential.key)
        return self._providers[account.id]

    def refused(self, account_id: int) -> bool:
        """Whether this life was refused, and not only heard that an earlier one had been."""
        gate = self.gate(account_id)
        return gate.stopped is not None and gate.failures > 0

    def shift(self, by: timedelta) -> None:
        """The wall clock was set: no closed gate opens later than it would have. Set forward, it
        may open earlier: whether it was closed since is not known."""
        for gate in self._gates.values():
            if gate.not_before is not None:
                gate.not_before += min(by, timedelta(0))
        self.budgets.shift(by)

    def sees(
        self,
        account: AccountRecord,
        place: tuple[int, int],
        error: UpstreamError | None,
        now: datetime,
    ) -> bool:
        """Whether a 404 on a confirmed object may be believed: the credential is the one that the
        account was made with, and upstream shows it some other object."""
        gate = self.gate(account.id)
        if error is None:
            gate.missing.clear()
        if not isinstance(error, ObjectMissing):
            return True
        recent = {p: at for p, at in gate.missing.items() if now - at < HIDDEN_WITHIN}
        gate.missing = {**recent, place: now}
        credential = self._credentials.get((account.provider, account.base_url, account.project))
        same = credential is None or account.fingerprint in ("", credential.fingerprint)
        return same and len(gate.missing) < HIDDEN_OBJECTS

    async def close(self) -> None:
        """Close all providers."""
        for provider in self._providers.values():
            with contextlib.suppress(Exception):
                await provider.close()
        self._providers.clear()


def resolve(settings: Settings) -> dict[tuple[str, str, str], Credential]:
    """Every profile whose key is set now, by (provider, base URL, project)."""
    found: dict[tuple[str, str, str], Credential] = {}
    for name in reversed(settings.profile_names()):
        for family in FAMILIES:
            profile = account_profile(settings, name, family)
            try:
                key = read_key(profile)
            except MissingCredential:
                continue
            place = (family, profile.base_url, profile.project or "")
            found[place] = Credential(
                profile_name=name,
                profile=profile,
                key=key,
                fingerprint=credential_fingerprint(key),
                limits=settings.limits_of(name),
            )
    return found


def account_profile(settings: Settings, name: str, family: str) -> AccountProfile:
    """A profile of the settings as a provider takes it. Raises ConfigurationError."""
    profile = settings.profile(name)
    return AccountProfile(
        provider=family,
        base_url=profile.base_url.rstrip("/"),
        key_variable=profile.key_variable,
        project=profile.project,
        organization=profile.organization,
    )
