"""Deliveries as upstream signs them, made by hand, and a receiver that takes them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
from datetime import datetime, timedelta
from typing import Any

from service_rig import Rig

from ledger.clock import utcnow
from ledger.core.alphabet import Receipt
from ledger.providers import open_provider
from ledger.service.accounts import Accounts
from ledger.service.keyring import Keyring
from ledger.service.parking import Parking
from ledger.service.receiving import Receiver
from ledger.service.usage import Usage

SECRET = "whsec_" + base64.b64encode(b"a secret for the tests, 32 bytes").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret of the tests, 34 by").decode()
VARIABLE = "OPENAI_WEBHOOK_SECRET"


def sign(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """One signature as Standard Webhooks defines it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def event(object_id: str, kind: str = "response.completed", **fields: Any) -> bytes:
    """The body of a delivery."""
    value = {
        "object": "event",
        "id": f"evt_{object_id}",
        "type": kind,
        "created_at": int(utcnow().timestamp()),
        "data": {"id": object_id},
    }
    return json.dumps(value | fields).encode()


def delivery(
    object_id: str = "resp_1",
    *,
    webhook_id: str = "wh_1",
    secret: str = SECRET,
    at: datetime | None = None,
    body: bytes | None = None,
) -> tuple[dict[str, str], bytes]:
    """Headers and body of one delivery."""
    sent = body if body is not None else event(object_id)
    timestamp = str(int((at or utcnow()).timestamp()))
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": sign(secret, webhook_id, timestamp, sent),
    }
    return headers, sent


def receive(rig: Rig, *deliveries: tuple[dict[str, str], bytes]) -> list[Receipt]:
    """Hand deliveries to a receiver of this rig, all at once."""

    async def work() -> list[Receipt]:
        settings, store = rig.ledger.settings, rig.ledger.store
        receiver = Receiver(store, rig.ledger.writer, Keyring(settings), utcnow)
        try:
            return await asyncio.gather(*(receiver.receive(h, body) for h, body in deliveries))
        finally:
            await receiver.close()

    return asyncio.run(work())


def look_into_parked(rig: Rig, *, after_seconds: float = 3.0) -> None:
    """Do what a life does about parked deliveries, so long after now."""

    async def work() -> None:
        ledger = rig.ledger
        accounts = Accounts(ledger.credentials, open_provider, ledger.redaction)
        parking = Parking(ledger.store, ledger.writer, accounts, Usage(), random.Random(1))
        await parking.look(utcnow() + timedelta(seconds=after_seconds))
        await accounts.close()

    asyncio.run(work())


def states(rig: Rig) -> list[str]:
    """What each delivery turned out to be, in order."""
    return [row[0] for row in rig.rows("SELECT state FROM delivery ORDER BY id")]
