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

from ledger.core.intent import AccountProfile
from ledger.core.pacing import after_failure
from ledger.errors import DatabaseError, MissingCredential, ObjectMissing, Pause, UpstreamError
from ledger.providers.client import credential_fingerprint, read_key
from ledger.providers.seam import Provider
from ledger.service.redacting import Redaction
from ledger.settings import Settings
from ledger.store.queries import accounts as read_accounts
from ledger.store.store import Store, stop_account
from ledger.store.writer import Writer

log = logging.getLogger("runward")
PROBE_SECONDS: Final = 60.0
TURN_SECONDS_MAX: Final = 15
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

    def __repr__(self) -> str:
        return f"Credential({self.profile_name!r}, fingerprint={self.fingerprint!r})"


@dataclass(slots=True)
class Gate:
    """When an account may be called again, and why not now."""

    not_before: datetime | None = None
    failures: int = 0
    stopped: str | None = None
    missing: dict[tuple[int, int], datetime] = field(default_factory=dict)

    def enter(self, now: datetime, failures: int) -> datetime | None:
        """None to go on, or the time to wait for. A stopped account lets one probe a minute in.

        `failures` are those of the run in a row: who was refused comes after those who were not,
        since the fault may lie with one run.
        """
        if self.not_before is not None and self.not_before > now:
            turn = min(failures, TURN_SECONDS_MAX) if self.stopped is not None else 0
            return self.not_before + timedelta(seconds=turn)
        if self.stopped is not None:
            self.not_before = now + timedelta(seconds=PROBE_SECONDS)
        return None

    def failed(self, error: UpstreamError, now: datetime, spread: float) -> None:
        """Close the gate as the error demands."""
        if error.pause == Pause.none:
            return
        self.failures += 1
        if error.pause == Pause.stopped:
            self.stopped = type(error).__name__
            self.not_before = now + timedelta(seconds=PROBE_SECONDS)
            return
        self.not_before = after_failure(
            now,
            failures=self.failures,
            retry_after_seconds=error.reply.retry_after_seconds,
            spread=spread,
        )

    def worked(self) -> bool:
        """A call succeeded; says whether the account had been stopped."""
        was_stopped = self.stopped is not None
        self.failures, self.not_before, self.stopped = 0, None, None
        return was_stopped


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

    def learn(self, store: Store) -> None:
        """Read all accounts of the ledger."""
        for row in store.read(read_accounts):
            self.records[row.id] = self.read(row)

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
        self, account_id: int, error: UpstreamError | None, now: datetime, rng: random.Random
    ) -> bool:
        """Take in how a call went; says whether a stopped account works again."""
        gate = self.gate(account_id)
        if error is None:
            back = gate.worked()
            if back:
                self.marks[account_id] = None
            return back
        was_stopped = gate.stopped
        gate.failed(error, now, rng.random())
        if gate.stopped and not was_stopped:
            log.error("account %s stopped: %s", account_id, error.message)
            self.marks[account_id] = gate.stopped
        return False

    async def write_marks(self, writer: Writer, now: datetime) -> None:
        """After what the calls brought: a mark that fails costs nothing, and is made later."""
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
