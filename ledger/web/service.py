"""What all requests share: the open ledger, how the service is reached, whether it is ending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import Request

from ledger.service.metrics import Measure
from ledger.service.price_list import load_prices
from ledger.service.tokens import Caller
from ledger.web.probe import Probe

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger
    from ledger.service.reconciler import Reconciler

FOLLOWERS_MAX: Final = 100
FOLLOW_SECONDS: Final = 3_600.0
"""So long one stream of events lasts at most; who wants more asks for the rest."""
CALLER: Final = "runward.caller"


class Service:
    """One service over one open ledger.

    `loopback` says that only this machine can reach it; `read_only`, that nothing can be changed
    through it; `reconciler` is the one that lives in this process.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        loopback: bool,
        read_only: bool = False,
        reconciler: Reconciler | None = None,
        follow_seconds: float = FOLLOW_SECONDS,
    ) -> None:
        self.ledger, self.loopback, self.read_only = ledger, loopback, read_only
        self.reconciler, self.follow_seconds = reconciler, follow_seconds
        prices = load_prices(ledger.settings.prices)
        self.measure, self.probe = Measure(ledger.store, prices=prices), Probe(ledger.store)
        self.draining = False
        self.followers = 0


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


def caller_of(scope: Any) -> Caller:
    """Who sent a request, as the gate found out."""
    caller: Caller = scope[CALLER]
    return caller


async def acting_ledger(request: Request) -> Ledger:
    """The ledger, for what the sender of this request does: the history has their name."""
    return service_of(request).ledger.acting_as(caller_of(request.scope).actor)
