"""What could be wrong, asked in order: configuration, database, lives, invariants, the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ledger.clock import utcnow
from ledger.core.policy import UNKNOWN_PRICE
from ledger.errors import ConfigurationError
from ledger.service.accounts import FAMILIES, account_profile
from ledger.service.doctor_following import passing_on
from ledger.service.keyring import Keyring
from ledger.service.webhooks import coverage
from ledger.service.workers import daemon_alive
from ledger.store import findings
from ledger.store.claims import count_watched
from ledger.store.invariants import INVARIANTS, broken
from ledger.store.queries import accounts, counts

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger

COVERAGE_HOURS: Final = 24


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
    yield from _webhooks(ledger)
    found = ledger.store.read(counts)
    flagged = found.pop("attention")
    yield Finding("runs", None, ", ".join(f"{k} {v}" for k, v in sorted(found.items())) or "none")
    yield Finding(
        "attention",
        flagged == 0,
        f"{flagged} runs",
        "runward list -q attention:true" if flagged else "",
    )
    yield from _unsettled(ledger)
    yield from (Finding(*answer) for answer in passing_on(ledger))
    yield from _invariants(ledger)


def _unsettled(ledger: Ledger) -> Iterator[Finding]:
    """What waits for a person, kind by kind: how many, the oldest, and what settles it."""
    yield _pending(
        "unresolved creates",
        ledger.store.read(findings.unresolved_creates),
        "creates whose reply was lost",
        f"{UNKNOWN_PRICE}; runward adopt ID --run {{run}} says which object it made, runward "
        "resolve {run} --reason TEXT takes the loss",
    )
    for kind in findings.FLAGGED:
        found = ledger.store.read(lambda c, k=kind: findings.flagged(c, k))  # type: ignore[misc]
        yield _pending(kind.name, found, kind.what, kind.fix)
    now = utcnow()
    yield _pending(
        "results expiring",
        ledger.store.read(lambda c: findings.expiring(c, now)),
        "objects that upstream may drop before their result is here",
        "runward show {run} says what it waits for; runward daemon fetches it",
    )


def _pending(name: str, found: findings.Pending | None, what: str, fix: str) -> Finding:
    if found is None:
        return Finding(name, True, "none")
    oldest = f"the oldest is run {found.run_id} of {found.since.isoformat(timespec='seconds')}"
    return Finding(name, False, f"{found.count}: {what}; {oldest}", fix.format(run=found.run_id))


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


def _webhooks(ledger: Ledger) -> Iterator[Finding]:
    """For each profile that webhooks should cover: whether they come."""
    try:
        held = Keyring(ledger.settings).profiles
    except ConfigurationError as error:
        yield Finding("webhook secrets", False, error.message, error.hint or "")
        return
    for row in coverage(ledger, utcnow() - timedelta(hours=COVERAGE_HOURS)):
        if not row.get("covered"):
            continue
        name, since = row["profile"], row["gap_since"]
        what = (
            f"in {COVERAGE_HOURS} h {row['told']} ends told, {row['missed']} missed; "
            f"secrets here: {', '.join(held.get(name, [])) or 'none'}"
        )
        if since:
            what = f"no delivery since {since}, so runs are polled; {what}"
        fix = "runward webhook endpoint list; runward webhook endpoint test ID" if since else ""
        yield Finding(f"webhooks {name}", since is None, what, fix)


def _invariants(ledger: Ledger) -> Iterator[Finding]:
    for invariant in INVARIANTS:
        if invariant.query is not None:
            runs = ledger.store.read(lambda c, i=invariant: broken(c, i))  # type: ignore[misc]
            what = f"broken by runs {runs}" if runs else invariant.text
            fix = invariant.fix if runs else ""
            yield Finding(f"invariant {invariant.number}", not runs, what, fix)
