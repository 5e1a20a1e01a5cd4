"""Webhook endpoints: where events are sent, and the secrets that sign them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

PREFIX = "whsec_"
FEWEST_BYTES, MOST_BYTES = 24, 64
LONGEST_URL = 2048
OVERLAP_SECONDS = 24 * 3600

RESPONSE_EVENTS = tuple(
    f"response.{status}" for status in ("completed", "failed", "cancelled", "incomplete")
)
EVENT_TYPES = (
    *(f"batch.{end}" for end in ("completed", "failed", "expired", "cancelled")),
    *RESPONSE_EVENTS,
    *(f"eval.run.{end}" for end in ("succeeded", "failed", "canceled")),
    *(f"fine_tuning.job.{end}" for end in ("succeeded", "failed", "cancelled")),
    "realtime.call.incoming",
    *("video.completed", "video.failed"),
    *(f"agent.environment.{end}" for end in ("ready", "failed", "suspended", "expired")),
    *(
        f"agent.session.{end}"
        for end in ("created", "action_required", "in_progress", "idle", "failed")
    ),
    "safety.alert.created",
)


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint to begin with; it gets the events of responses."""

    url: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError for a URL or a secret that cannot be used; never shows the secret."""
        if problem := url_problem(self.url):
            raise ValueError(f"the webhook URL {self.url!r} cannot be used: {problem}")
        if not _usable(self.secret):
            raise ValueError(
                f"the webhook secret cannot be used: expected {PREFIX} and the base64 of "
                f"{FEWEST_BYTES} to {MOST_BYTES} bytes"
            )


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """One endpoint. ``old`` are secrets that go on signing, each until its instant."""

    id: str
    name: str
    url: str
    event_types: tuple[str, ...]
    created: float
    updated: float
    secret: str = field(repr=False)
    old: list[tuple[str, float]] = field(default_factory=list, repr=False)
    rotations: int = 0
    deleted: bool = False

    def rotate(self, secret: str, *, keep_until: float | None, now: float) -> None:
        """Sign with another secret; without ``keep_until`` every older one ends at once."""
        kept = [] if keep_until is None else [(self.secret, keep_until), *self.old]
        self.old = [(old, until) for old, until in kept if until > now]
        self.secret, self.updated = secret, now
        self.rotations += 1

    def secrets(self, now: float) -> list[str]:
        """The secrets that sign now, the newest first."""
        return [self.secret, *(old for old, until in self.old if now < until)]


def make_secret(*name: object) -> str:
    """A secret of 32 bytes that looks random and is always the same for the same name."""
    key = hashlib.sha256(repr(("webhook secret", *name)).encode()).digest()
    return PREFIX + base64.b64encode(key).decode()


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """One signature as Standard Webhooks writes it."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def url_problem(url: str) -> str | None:
    """What is wrong with the address of an endpoint, if something is."""
    if len(url) > LONGEST_URL:
        return f"expected at most {LONGEST_URL} characters"
    if not url.isprintable() or " " in url:
        return "expected no spaces or control characters"
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return "expected a valid URL"
    if not host or parts.username is not None or parts.fragment:
        return "expected a host, and no user or fragment"
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)):
        return None
    return "expected an https URL (http only for loopback)"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _usable(secret: str) -> bool:
    if not secret.startswith(PREFIX):
        return False
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        return False
    return FEWEST_BYTES <= len(key) <= MOST_BYTES
