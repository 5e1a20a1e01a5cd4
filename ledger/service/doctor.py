"""What could be wrong, asked in order: configuration, database, lives, invariants, the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger.service.accounts import FAMILIES, account_profile
from ledger.service.workers import daemon_alive
from ledger.store.claims import count_watched
from ledger.store.invariants import INVARIANTS, broken
from ledger.store.queries import accounts, counts

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer. `ok` is None for a fact that is neither good nor bad."""

    name: str
    ok: bool | None
    what: str
    fix: str = ""


def examine(ledger: Ledger) -> Iterator[Finding]:
    """All findings, cheap ones first."""
    place = str(ledger.store.path or ledger.store.engine.url.render_as_string(hide_password=True))
    yield Finding("database", True, place)
    yield from _credentials(ledger)
    yield _daemon(ledger)
    yield from _accounts(ledger)
    found = ledger.store.read(counts)
    flagged = found.pop("attention")
    yield Finding("runs", None, ", ".join(f"{k} {v}" for k, v in sorted(found.items())) or "none")
    yield Finding(
        "attention",
        flagged == 0,
        f"{flagged} runs",
        "runward list -q attention:true" if flagged else "",
    )
    yield from _invariants(ledger)


def _credentials(ledger: Ledger) -> Iterator[Finding]:
    for name in ledger.settings.profile_names():
        for family in FAMILIES[:1]:
            profile = account_profile(ledger.settings, name, family)
            found = ledger.credentials.get((family, profile.base_url, profile.project or ""))
            what = f"{profile.base_url}, key from {profile.key_variable}"
            if found is None:
                yield Finding(f"profile {name}", False, what, f"export {profile.key_variable}=…")
            else:
                yield Finding(f"profile {name}", True, f"{what} ({found.fingerprint})")


def _daemon(ledger: Ledger) -> Finding:
    if daemon_alive(ledger.store):
        return Finding("daemon", True, "at work")
    waiting = ledger.store.read(count_watched)
    if not waiting:
        return Finding("daemon", True, "none at work, and no run needs one")
    return Finding("daemon", False, f"none at work; runs that wait: {waiting}", "runward daemon")


def _accounts(ledger: Ledger) -> Iterator[Finding]:
    for row in ledger.store.read(accounts):
        if row.stopped_why:
            what = (
                f"{row.provider} at {row.base_url} stopped at {row.stopped_at}: {row.stopped_why}"
            )
            yield Finding(f"account {row.id}", False, what, "docs/errors.md says what to do")


def _invariants(ledger: Ledger) -> Iterator[Finding]:
    for invariant in INVARIANTS:
        if invariant.query is not None:
            runs = ledger.store.read(lambda c, i=invariant: broken(c, i))  # type: ignore[misc]
            what = f"broken by runs {runs}" if runs else invariant.text
            fix = invariant.fix if runs else ""
            yield Finding(f"invariant {invariant.number}", not runs, what, fix)
