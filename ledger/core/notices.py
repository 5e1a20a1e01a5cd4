"""The words for what comes in unasked, what goes out, and who may ask."""

from __future__ import annotations

from enum import StrEnum


class DeliveryState(StrEnum):
    """What a webhook delivery turned out to be about."""

    matched = "matched"  # a run of this ledger
    parked = "parked"  # an id that nobody knows yet
    adopted = "adopted"  # an unknown id whose object carries our marker
    foreign = "foreign"  # somebody else's object, or a kind of event that no run has


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
