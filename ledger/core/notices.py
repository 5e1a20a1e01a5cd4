"""The words for what comes in unasked, what goes out, and who may ask."""

from __future__ import annotations

from enum import StrEnum


class DeliveryState(StrEnum):
    """What a webhook delivery turned out to be about."""

    matched = "matched"  # a run of this ledger
    parked = "parked"  # an id that nobody knows yet
    adopted = "adopted"  # an unknown id whose object carries our marker
    foreign = "foreign"  # somebody else's object, or a kind of event that no run has


class Receipt(StrEnum):
    """What became of one request to the receiver, and of one end that webhooks should tell of."""

    accepted = "accepted"
    duplicate = "duplicate"
    forged = "forged"  # no secret of ours made the signature
    stale = "stale"  # signed with a secret of ours, but not now: a replay, or a clock that is wrong
    malformed = "malformed"
    too_large = "too_large"
    told = "told"  # an object ended, and a delivery said so in time
    missed = "missed"  # an object ended, and none did


class OutboxState(StrEnum):
    """Where a notification of ours stands."""

    waiting = "waiting"
    taken = "taken"
    given_up = "given_up"


class Role(StrEnum):
    """What a token's bearer may do; each role may also do what those before it may."""

    viewer = "viewer"
    operator = "operator"
    admin = "admin"
