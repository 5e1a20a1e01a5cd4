"""A delivery to ourselves, signed as upstream would."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ledger.clock import utcnow
from ledger.core.addresses import origin
from ledger.core.delivery import PATH, TEST_EVENT
from ledger.entropy import new_id
from ledger.errors import ConfigurationError
from ledger.providers.signing import post, signed_headers
from ledger.service.keyring import Keyring

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger


def own_receiver(ledger: Ledger) -> str:
    """Where the service of this configuration takes deliveries."""
    return f"{origin(ledger.settings.host, ledger.settings.port)}{PATH}"


def send_test(ledger: Ledger, profile: str, url: str) -> tuple[int, str]:
    """Sign one with the profile's first secret and send it; the status and the words of the answer.

    Raises ConfigurationError without a secret, RunwardError when nobody answers.
    """
    secrets = Keyring(ledger.settings).secrets_of(profile)
    if not secrets:
        raise ConfigurationError(
            f"profile {profile!r} has no webhook secret here",
            hint="export OPENAI_WEBHOOK_SECRET=…, or name its file in OPENAI_WEBHOOK_SECRET_FILE",
        )
    now, name = utcnow(), new_id()
    body = json.dumps(
        {
            "object": "event",
            "id": f"evt_{name}",
            "type": TEST_EVENT,
            "created_at": int(now.timestamp()),
            "data": {"id": f"test_{name}"},
        }
    ).encode()
    return post(url, body, signed_headers(secrets[0], f"wh_{name}", now, body))
