"""The part of a Ledger that reports on many runs at once."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from ledger.clock import utcnow
from ledger.errors import InvalidInput
from ledger.service.cost import SINCE, cost_report, judge_by, judge_window
from ledger.service.dates import Moment, moment
from ledger.service.failures import failure_report, failures_report, rules_of
from ledger.service.incidents import SINCE as INCIDENTS_SINCE
from ledger.service.incidents import incident, incidents
from ledger.service.next_looks import next_looks
from ledger.service.paces import pace_of
from ledger.service.part import Part, RunName
from ledger.service.policies import Terms, policies_report, traffic
from ledger.service.postmortem import postmortem
from ledger.service.price_list import load_prices
from ledger.service.run_report import run_report
from ledger.service.simulating import simulate_policy
from ledger.service.timelines import compared
from ledger.store.failures import Span

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger
    from ledger.settings import Settings
    from ledger.store.costs import Window

MONEY_MAX: Final = 1_000_000


class Reporting(Part):
    """Reports. Each reads the ledger as it stands."""

    settings: Settings

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

    def policies(
        self,
        *,
        since: Moment = SINCE,
        until: Moment | None = None,
        endpoint_monthly_usd: Decimal | None = None,
    ) -> dict[str, Any]:
        """What the window's runs would have cost in calls and delay under other ways to watch them.

        Played are the durations of the newest objects that upstream ended, `objects_max` of them.
        Delays are in seconds. `endpoint_monthly_usd` is what a webhook endpoint costs a month, by
        default that of the settings. Raises InvalidInput.
        """
        window = _window(since, until)
        monthly = self.settings.endpoint_monthly_usd
        if endpoint_monthly_usd is not None:
            monthly = judge_money("endpoint_monthly_usd", endpoint_monthly_usd)
        terms = Terms(
            aim=pace_of(self.settings, "default").aim,
            call_price=self.settings.call_price_usd,
            endpoint_monthly=monthly,
        )
        return policies_report(self.store.read(lambda c: traffic(c, window)), terms)

    def simulate_policy(
        self, *, profile: str = "default", since: Moment = SINCE, **pacing: Any
    ) -> dict[str, Any]:
        """A profile's recorded durations under another policy, beside its own of today.

        `pacing` holds the keys of a `[pacing]` table. Delays are in seconds. Raises NotFound where
        no run has ended, ConfigurationError for what cannot be meant.
        """
        return simulate_policy(cast("Ledger", self), _window(since, None), profile, pacing)

    def errors(self, *, since: Moment = SINCE, until: Moment | None = None) -> dict[str, Any]:
        """Attempts that failed in a window, grouped by fingerprint or by the user's rules: counts,
        runs hit, first and last seen, and the trend against the equal time before."""
        span, rules = _span(since, until), rules_of(self.settings)
        return self.store.read(lambda c: failures_report(c, span, rules))

    def error(
        self, name: str, *, since: Moment = SINCE, until: Moment | None = None
    ) -> dict[str, Any]:
        """One group of `errors` whole, by its name or the beginning of a fingerprint, with the
        newest attempts and the states of their runs. Raises NotFound, InvalidInput."""
        span, rules = _span(since, until), rules_of(self.settings)
        return self.store.read(lambda c: failure_report(c, name, span, rules))

    def diff(self, one: RunName, other: RunName) -> dict[str, Any]:
        """Two runs side by side: request, outcome, times in seconds, tools, usage, and the step at
        which their histories part. Raises NotFound."""
        ledger = cast("Ledger", self)
        pair = [ledger.run_id(run) for run in (one, other)]
        return compared(map(ledger.show, pair), map(ledger.events, pair))

    def postmortem(
        self,
        *,
        since: Moment,
        until: Moment | None = None,
        query: str = "",
        as_of: Moment | None = None,
        baseline: str = "previous",
        redact: bool = False,
    ) -> dict[str, Any]:
        """The numbers of an incident report on a window, as plain values; `render` makes a text.

        Runs count that match the query and were created, open or ended in the window. `until` is
        by default `as_of`, and that now; what happened after `as_of` is left out. `baseline` is
        previous or week: what delays and excesses are judged by. With `redact` names are hashes.
        Raises InvalidInput, and ConfigurationError for a bad price file.
        """
        return postmortem(
            cast("Ledger", self),
            since=since,
            until=until,
            query=query,
            as_of=as_of,
            baseline=baseline,
            redact=redact,
        )

    def postmortem_run(
        self, run: RunName, *, as_of: Moment | None = None, redact: bool = False
    ) -> dict[str, Any]:
        """The numbers of a report on one run, with what was recorded up to `as_of`.

        Raises NotFound, and InvalidInput for a time that cannot be meant.
        """
        return run_report(cast("Ledger", self), run, as_of=as_of, redact=redact)

    def incidents(
        self, *, since: Moment = INCIDENTS_SINCE, until: Moment | None = None
    ) -> list[dict[str, Any]]:
        """Times that may be worth a report, the newest first: more failures than usual, 429 storms,
        webhook gaps, workers that died or lost runs again and again, runs that waited to be sent.

        They are computed each time. `minutes` is how long each took. Ages count from `until`, by
        default now. Raises InvalidInput.
        """
        return incidents(cast("Ledger", self), since=since, until=until)

    def incident(
        self, name: str, *, since: Moment = INCIDENTS_SINCE, until: Moment | None = None
    ) -> dict[str, Any]:
        """One of them by its id. Raises NotFound, InvalidInput."""
        return incident(cast("Ledger", self), name, since=since, until=until)

    def next_looks(self, run: RunName) -> dict[str, Any]:
        """When the next looks at a run come, and why then. Raises NotFound."""
        ledger = cast("Ledger", self)
        return next_looks(ledger, ledger.facts(run), utcnow())


def judge_money(name: str, amount: Decimal | float | str) -> Decimal:
    """An amount in USD. Raises InvalidInput for what is none, negative, or beyond a million."""
    try:
        judged = Decimal(str(amount))
    except ArithmeticError:
        judged = Decimal("nan")
    if not judged.is_finite() or not 0 <= judged <= MONEY_MAX:
        raise InvalidInput(f"{name}: {amount!s:.40} is no amount in USD, 0 to {MONEY_MAX}")
    return judged


def _span(since: Moment, until: Moment | None) -> Span:
    window = _window(since, until if until is not None else utcnow())
    assert window.until is not None
    return Span(since=window.since, until=window.until)


def _window(since: Moment, until: Moment | None) -> Window:
    now = utcnow()
    begin = moment(since, now)
    if begin > now:
        raise InvalidInput(f"{since!s:.50} is still to come: no run was created since")
    return judge_window(begin, None if until is None else moment(until, now))
