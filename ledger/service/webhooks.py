"""What people ask about webhooks: deliveries, coverage as measured, upstream's endpoints."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ledger.clock import utcnow
from ledger.core.alphabet import DeliveryState, Receipt
from ledger.errors import ConfigurationError, RunwardError, UpstreamError
from ledger.providers.client import read_key
from ledger.providers.endpoints import EVENTS, Endpoint, Endpoints, Signed
from ledger.service.accounts import account_profile
from ledger.service.auditing import note_action
from ledger.store.gaps import recent_gaps
from ledger.store.webhook_stats import delays, foreign, list_deliveries, newest_delivery, receipts

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger

T = TypeVar("T")
GAPS_SHOWN: Final = 20
SECRETS_KEPT: Final = 20
"""So many secrets a file holds at most: those of all endpoints of a profile, and of rotations."""


def deliveries(
    ledger: Ledger,
    *,
    limit: int = 100,
    run_id: int | None = None,
    state: DeliveryState | None = None,
    after: int | None = None,
) -> list[dict[str, Any]]:
    """Deliveries, the newest first; with `after` those above that id, in order."""
    rows = ledger.store.read(
        lambda c: list_deliveries(c, limit=limit, run_id=run_id, state=state, after=after)
    )
    return [_plain(row) for row in rows]


def newest(ledger: Ledger) -> int:
    """The id of the newest delivery."""
    return ledger.store.read(newest_delivery)


def coverage(ledger: Ledger, since: datetime) -> list[dict[str, Any]]:
    """What was measured of each profile since then, and whether it is in a gap."""
    store = ledger.store
    counts = store.read(lambda c: receipts(c, since))
    strange = store.read(lambda c: foreign(c, since))
    late = store.read(lambda c: delays(c, since))
    open_now = {gap.profile: gap for gap in store.read(lambda c: recent_gaps(c, 1_000))
                if gap.closed_at is None}  # fmt: skip
    covered = ledger.settings.covered()
    names = sorted({*counts, *late, *covered, *open_now} - {""})
    rows = [
        {
            "profile": name,
            "covered": name in covered,
            "gap_since": _text(open_now[name].since) if name in open_now else None,
            **{str(word): counts.get(name, {}).get(word, 0) for word in MEASURED},
            "foreign": strange.get(name, 0),
            "late_p50": _share(late.get(name, []), 0.5),
            "late_p99": _share(late.get(name, []), 0.99),
        }
        for name in names
    ]
    unsigned = counts.get("", {})
    if unsigned:
        rows.append({"profile": "(unsigned)", **{str(w): unsigned.get(w, 0) for w in REFUSED}})
    return rows


MEASURED: Final = (Receipt.told, Receipt.missed, Receipt.accepted, Receipt.duplicate)
REFUSED: Final = (Receipt.forged, Receipt.stale, Receipt.malformed, Receipt.too_large)


def gaps(ledger: Ledger) -> list[dict[str, Any]]:
    """The newest gaps, the last one first."""
    found = ledger.store.read(lambda c: recent_gaps(c, GAPS_SHOWN))
    return [_plain(gap._asdict()) for gap in found]


def list_endpoints(ledger: Ledger, profile: str) -> list[dict[str, Any]]:
    """The endpoints of a profile's project. Raises RunwardError."""
    return [_plain(asdict(item)) for item in _ask(ledger, profile, lambda e: e.list())]


def create_endpoint(
    ledger: Ledger, profile: str, *, name: str, url: str, events: Sequence[str] = EVENTS
) -> Signed:
    """Make an endpoint; its secret is in the answer, and nowhere else."""
    made = _ask(ledger, profile, lambda e: e.create(name, url, events))
    _audited(ledger, "webhook.endpoint.create", made.endpoint)
    return made


def rotate_endpoint(ledger: Ledger, profile: str, endpoint_id: str, *, overlap: bool) -> Signed:
    """Get a new secret; with `overlap` the old one counts for 24 hours more."""
    made = _ask(ledger, profile, lambda e: e.rotate(endpoint_id, overlap=overlap))
    _audited(ledger, "webhook.endpoint.rotate", made.endpoint, overlap=overlap)
    return made


def delete_endpoint(ledger: Ledger, profile: str, endpoint_id: str) -> None:
    """Delete an endpoint."""
    _ask(ledger, profile, lambda e: e.delete(endpoint_id))
    note_action(ledger, "webhook.endpoint.delete", endpoint_id)


def try_endpoint(ledger: Ledger, profile: str, endpoint_id: str, event: str) -> int:
    """Have upstream send a sample; the status that the endpoint answered with."""
    status = _ask(ledger, profile, lambda e: e.test(endpoint_id, event))
    note_action(ledger, "webhook.endpoint.test", endpoint_id, event=event, status=status)
    return status


def judge_secret_file(file: Path) -> None:
    """Refuse a file that others can read or that cannot be there. Raises ConfigurationError."""
    if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise ConfigurationError(f"others may read {file}", hint=f"chmod 600 {file}")
    if file.is_dir() or not os.access(file.absolute().parent, os.W_OK):
        raise ConfigurationError(
            f"{file} cannot be written", hint="name a file in a folder of yours"
        )


def write_secret(file: Path, secret: str, *, keep_old: bool) -> None:
    """Put a secret first into a file that only its owner can read; a receiver that reads the file
    takes it from there. Raises ConfigurationError."""
    judge_secret_file(file)
    try:
        kept = file.read_text(encoding="utf-8").split() if keep_old and file.exists() else []
        beside = file.with_name(f".{file.name}.new")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write("\n".join([secret, *kept][:SECRETS_KEPT]) + "\n")
        beside.replace(file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be written: {error}") from None


def _ask(ledger: Ledger, profile: str, work: Callable[[Endpoints], Coroutine[Any, Any, T]]) -> T:
    found = account_profile(ledger.settings, profile, "responses")
    key = read_key(found)

    async def asked() -> T:
        endpoints = Endpoints(found, key)
        try:
            return await work(endpoints)
        finally:
            await endpoints.close()

    try:
        return asyncio.run(asked())
    except UpstreamError as error:
        raise RunwardError(f"upstream: {error.message}") from None


def _audited(ledger: Ledger, action: str, endpoint: Endpoint, **detail: object) -> None:
    note_action(ledger, action, endpoint.id, url=endpoint.url, **detail)


def _plain(row: Any) -> dict[str, Any]:
    return {name: _text(value) for name, value in dict(row).items()}


def _text(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return list(value) if isinstance(value, tuple) else value


def _share(values: list[float], share: float) -> float | None:
    """The value that this share of them does not exceed."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 3)


def since_hours(hours: float) -> datetime:
    """So long ago."""
    return utcnow() - timedelta(hours=hours)
