"""What people do that is no run's history goes into the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.clock import utcnow
from ledger.store.access import audit

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger


def note_action(ledger: Ledger, action: str, subject: str, **detail: object) -> None:
    """Append who did what, just now. Raises DatabaseError."""
    ledger.writer.run(
        lambda c: audit(
            c, at=utcnow(), actor=ledger.actor, action=action, subject=subject, detail=detail
        )
    ).result()
