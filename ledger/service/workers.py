"""Lives as a whole: making one, and asking whether another is at work."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from ledger.clock import utcnow
from ledger.providers import open_provider
from ledger.service.accounts import Accounts
from ledger.service.configuration import shown
from ledger.service.followers import Consumer
from ledger.service.handlers import Handling
from ledger.service.heart import new_life_id
from ledger.service.options import Options
from ledger.service.outbound import Sending, endpoints
from ledger.service.paces import paces_of
from ledger.service.reconciler import Reconciler
from ledger.service.tracing import tracing
from ledger.store.claims import owner_counts
from ledger.store.lives import Life
from ledger.store.store import Store

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ledger.service.ledger import Ledger
    from ledger.settings import Settings


def program_version() -> str:
    """The installed version of runward."""
    try:
        return version("runward")
    except PackageNotFoundError:
        return "0+checkout"


def make_reconciler(
    ledger: Ledger, *, role: str, only: tuple[int, ...] | None = None, **options: float | int
) -> Reconciler:
    """A life over an open ledger. It must be used in one event loop."""
    settings = ledger.settings
    chosen: dict[str, object] = {
        "concurrency": settings.concurrency,
        "grace_seconds": settings.shutdown_grace_seconds,
        **(_of_a_daemon(settings) if role == "daemon" else {}),
        "poison_deaths": settings.poison_deaths,
        "covered": settings.covered(),
        "paces": paces_of(settings),
        **options,
    }
    life = Life(
        id=new_life_id(),
        role=role,
        version=program_version(),
        lease_seconds=settings.lease_seconds,
    )
    reconciler = Reconciler(
        ledger.store,
        ledger.writer,
        Accounts(ledger.credentials, open_provider, ledger.redaction),
        ledger.toolbox,
        life,
        Options(only=only, **chosen),  # type: ignore[arg-type]
        clock=utcnow,
    )
    reconciler.followers.consumers += consumers(ledger, role)
    return reconciler


def _of_a_daemon(settings: Settings) -> dict[str, object]:
    return {"seal_seconds": settings.seal_seconds, "settings": shown(settings)}


def consumers(ledger: Ledger, role: str) -> list[Consumer]:
    """To whom a life over this ledger passes on what happens: to the handlers of its process, and
    if it is a daemon to other systems. Raises ConfigurationError."""
    found: list[Consumer] = [Handling(item) for item in ledger.toolbox.handlers.values()]
    if role == "daemon":
        to = endpoints(ledger.settings)
        found += [Sending(one, ledger.store, ledger.writer, clock=utcnow) for one in to]
        found += tracing(ledger.store)
    return found


def daemon_alive(store: Store) -> bool:
    """Whether a daemon that takes new runs is certainly at work."""

    def ask(connection: Connection) -> bool:
        dead, overdue = store.lives.judge(connection, "")
        gone = {*dead, *overdue}
        return any(
            row.role == "daemon" and not row.drain and row.id not in gone
            for row in store.lives.alive(connection)
        )

    return store.read(ask)


def list_lives(store: Store, *, everything: bool) -> list[dict[str, object]]:
    """Lives with their standing and the number of runs that each owns."""

    def ask(connection: Connection) -> list[dict[str, object]]:
        dead, overdue = store.lives.judge(connection, "")
        owned = owner_counts(connection)
        return [
            {
                "id": row.id,
                "role": row.role,
                "host": row.host,
                "pid": row.pid,
                "version": row.version,
                "started_at": row.started_at.isoformat(),
                "heartbeat_at": row.heartbeat_at.isoformat(),
                "state": _standing(row, dead, overdue),
                "runs": owned.get(row.id, 0),
            }
            for row in store.lives.rows(connection, everything=everything)
        ]

    return store.read(ask)


def _standing(row: Any, dead: list[str], overdue: list[str]) -> str:
    if row.ended_at is not None:
        return f"ended: {row.end}"
    if row.id in dead:
        return "dead"
    if row.id in overdue:
        return "overdue"
    return "draining" if row.drain else "alive"


def ask_to_drain(ledger: Ledger, prefix: str) -> list[str]:
    """Ask the lives whose id begins so to drain; returns their ids."""
    store = ledger.store
    return ledger.writer.run(lambda c: store.lives.ask_to_drain(c, prefix)).result()
