"""The names under which Prometheus knows our numbers. No run, key or id is ever a label."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ledger.service.metrics import Numbers
from ledger.service.workers import program_version
from ledger.store.metrics import LAG_SECONDS
from ledger.store.schema import HEAD

if TYPE_CHECKING:
    from ledger.service.reconciler import Reconciler

Counts = Mapping[tuple[str, ...], float]


def registry_of(numbers: Numbers, reconciler: Reconciler | None) -> CollectorRegistry:
    """What to print."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(numbers, reconciler))
    return registry


class _Numbers(Collector):
    def __init__(self, numbers: Numbers, reconciler: Reconciler | None) -> None:
        self._numbers, self._reconciler = numbers, reconciler

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from _history(self._numbers)
        yield from _spending(self._numbers)
        yield from _standing(self._numbers)
        yield from _webhooks(self._numbers)
        yield from _process(self._reconciler)


def _history(numbers: Numbers) -> Iterator[Metric]:
    total = numbers.total
    yield _counter("runward_runs_submitted", "Runs accepted.", ("provider",), total.submitted)
    yield _counter(
        "runward_runs_finished",
        "Verdicts; an end that policy answered with a restart is none.",
        ("provider", "outcome", "error_code"),
        total.finished,
    )
    yield _counter(
        "runward_restarts", "Further attempts, by who asked.", ("source",), total.restarts
    )
    lag = HistogramMetricFamily(
        "runward_detection_lag_seconds",
        "From upstream's own end of an object to the event that records it.",
        labels=["source"],
    )
    ends = [*map(str, LAG_SECONDS), "+Inf"]
    for source, (buckets, seconds) in sorted(total.lag.items()):
        counts = zip(ends, accumulate(map(float, buckets)), strict=True)
        lag.add_metric([source], list(counts), seconds)
    yield lag


def _spending(numbers: Numbers) -> Iterator[Metric]:
    yield _counter(
        "runward_tokens",
        "Tokens by upstream's count; cached_input is a part of input.",
        ("direction", "model"),
        numbers.total.tokens,
    )
    yield _counter(
        "runward_cost_usd",
        "What those tokens cost; models without a known price are not in here.",
        ("model",),
        numbers.cost_usd,
    )
    yield _counter(
        "runward_wasted_tokens",
        "Tokens of attempts that ended other than completed, by that end.",
        ("cause",),
        numbers.total.wasted,
    )


def _standing(numbers: Numbers) -> Iterator[Metric]:
    now = numbers.now
    yield _gauges("runward_runs_active", "Runs without a verdict.", ("status",), now.active)
    yield _gauges("runward_runs_attention", "Runs that are flagged.", ("why",), now.attention)
    yield GaugeMetricFamily(
        "runward_runs_overdue",
        "Runs past their deadline, and runs that are due and that nobody drives.",
        now.overdue,
    )
    yield _gauges("runward_tool_calls_open", "Tool calls without an output.", ("state",), now.calls)
    yield GaugeMetricFamily("runward_leases_held", "Runs that a living worker owns.", now.leases)
    yield _gauges("runward_workers", "Living workers.", ("role",), now.workers)
    by = ("operation", "outcome")
    yield _counter("runward_api_requests", "Calls upstream.", by, now.requests)
    yield _counter(
        "runward_api_request_seconds", "Time spent in calls upstream.", by, now.request_seconds
    )
    whose = ("profile", "provider")
    yield _gauges(
        "runward_ratelimit_limit", "Requests a minute, as upstream named them.", whose, now.limits
    )
    yield _gauges(
        "runward_ratelimit_remaining", "Requests that upstream said were left.", whose, now.left
    )
    yield _counter(
        "runward_throttled_seconds",
        "Time in which something that was due waited for a call.",
        whose,
        now.throttled_seconds,
    )


def _webhooks(numbers: Numbers) -> Iterator[Metric]:
    now = numbers.now
    yield _counter(
        "runward_webhooks_received", "Requests to the receiver.", ("result",), now.webhooks
    )
    if now.webhook_at is not None:
        yield GaugeMetricFamily(
            "runward_webhook_last_received_timestamp_seconds",
            "When the last delivery came.",
            now.webhook_at.timestamp(),
        )
    yield GaugeMetricFamily(
        "runward_webhook_gaps_open", "Profiles whose deliveries do not come.", now.gaps
    )
    yield GaugeMetricFamily(
        "runward_webhooks_parked", "Deliveries about objects that nobody knows yet.", now.parked
    )
    yield GaugeMetricFamily(
        "runward_outbox_waiting", "Notifications that nobody has taken yet.", now.outbox
    )


def _process(reconciler: Reconciler | None) -> Iterator[Metric]:
    if reconciler is not None:
        age = reconciler.age_seconds
        yield GaugeMetricFamily(
            "runward_reconcile_age_seconds",
            "Since the last pass of the reconciler in this process.",
            math.inf if age is None else age,
        )
    build = GaugeMetricFamily("runward_build_info", "What runs here.", labels=["version", "schema"])
    build.add_metric([program_version(), HEAD], 1)
    yield build


def _counter(name: str, text: str, labels: tuple[str, ...], counts: Counts) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in sorted(counts.items()):
        family.add_metric(values, count)
    return family


def _gauges(name: str, text: str, labels: tuple[str, ...], counts: Counts) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, count in sorted(counts.items()):
        family.add_metric(values, count)
    return family
