"""The part of a Ledger that reports on many runs at once."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ledger.clock import utcnow
from ledger.core.query import read_moment
from ledger.service.cost import SINCE, cost_report, judge_by, judge_window
from ledger.service.price_list import load_prices

if TYPE_CHECKING:
    from ledger.settings import Settings
    from ledger.store.costs import Window
    from ledger.store.store import Store

Moment = datetime | str


class Reporting:
    """Reports. Each reads the ledger as it stands."""

    settings: Settings

    @property
    def store(self) -> Store:
        """The database."""
        raise NotImplementedError

    def cost(
        self, *, by: str | None = None, since: Moment = SINCE, until: Moment | None = None
    ) -> dict[str, Any]:
        """What the runs created in a window have cost: calls, tokens, money, and the waste in them.

        `by` is model, profile, provider, kind, state or tag:NAME. `since` and `until` are aware
        datetimes, ISO dates or ages such as "7d". Money is in USD, as text; what has no price is
        listed as unknown. Raises InvalidInput, and ConfigurationError for a bad price file.
        """
        judged, window = judge_by(by), _window(since, until)
        prices, per_call = load_prices(self.settings.prices), self.settings.call_price_usd
        return self.store.read(lambda c: cost_report(c, window, judged, prices, per_call))


def _window(since: Moment, until: Moment | None) -> Window:
    now = utcnow()

    def moment(given: Moment) -> datetime:
        return read_moment(given.isoformat() if isinstance(given, datetime) else given, now)

    return judge_window(moment(since), None if until is None else moment(until))
