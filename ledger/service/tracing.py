"""Traces: when a run has its verdict, its spans are written from the ledger and exported.

Nothing is kept in memory while a run goes on, so a restart of the daemon loses no trace; and while
an exporter is down its follower waits. The library is imported when the first span is exported.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import logging
import os
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from ledger.core.model import Facts
from ledger.core.passing_on import VERDICTS, Notice
from ledger.core.redaction import redact_text
from ledger.core.tracing import SpanRecord, spans_of
from ledger.errors import ConfigurationError
from ledger.service.followers import Consumer, Taken
from ledger.service.threads import in_thread, to_its_end
from ledger.store.facts import load_facts
from ledger.store.store import Store

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger("runward")
VARIABLES: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
AT_ONCE: Final = 50
"""Runs in one export."""
SECONDS_MAX: Final = 60.0
"""An exporter that has not answered by then is down."""


def wanted() -> bool:
    """Whether the environment asks for traces."""
    off = (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or os.environ.get("OTEL_TRACES_EXPORTER", "otlp").lower() == "none"
    )
    return not off and any(os.environ.get(name) for name in VARIABLES)


def demand_exporter() -> None:
    """Raises ConfigurationError where traces are asked for and cannot be written."""
    variable = next(name for name in VARIABLES if os.environ.get(name))
    try:
        found = importlib.util.find_spec(EXPORTER)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise ConfigurationError(
            f"{variable} is set, and no traces are written: the exporter is not installed",
            hint="pip install 'runward[otel]'",
        )
    protocol = next((os.environ[name] for name in PROTOCOLS if os.environ.get(name)), "")
    if protocol not in ("", "http/protobuf"):
        raise ConfigurationError(
            f"{variable} is set, and no traces are written: the protocol {protocol!r} is not known",
            hint="set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        )


def tracing(store: Store) -> list[Consumer]:
    """The consumer that writes traces, if they are asked for and can be written. What is missing
    is said in the log: another program's variable must not keep a daemon from starting."""
    if not wanted():
        return []
    try:
        demand_exporter()
    except ConfigurationError as error:
        log.warning("%s; %s", error.message, error.hint)
        return []
    return [Tracing(store)]


class NotExported(Exception):
    """The exporter did not take the spans."""


class Tracing(Consumer):
    """Spans as a consumer of the log."""

    name, types = "otel", VERDICTS

    def __init__(self, store: Store, exporter: SpanExporter | None = None) -> None:
        self._store, self._exporter = store, exporter
        self._resource: Resource | None = None

    async def take(self, notices: Sequence[Notice]) -> Taken:
        """Export the spans of these verdicts together; all are taken, or none."""
        some = notices[:AT_ONCE]
        ids = sorted({notice.run for notice in some})
        facts = await to_its_end(self._store.read, lambda c: load_facts(c, ids))
        spans = [span for notice in some if notice.run in facts for span in _spans(facts, notice)]
        try:
            async with asyncio.timeout(SECONDS_MAX):
                await in_thread(functools.partial(self._export, spans))
        except (NotExported, TimeoutError) as error:
            return Taken(0, NotExported(str(error) or f"no answer within {SECONDS_MAX:g} s"))
        return Taken(len(some))

    def _export(self, records: Sequence[SpanRecord]) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        exporter, resource = self._open()
        spans = [_readable(record, resource) for record in records]
        try:
            result = exporter.export(spans)
        except Exception as error:
            said = redact_text(f"{type(error).__name__}: {error}")
            raise NotExported(f"the exporter failed: {said}") from error
        if result != SpanExportResult.SUCCESS:
            raise NotExported("the exporter did not deliver the spans; its own log says why")

    def _open(self) -> tuple[SpanExporter, Resource]:
        if self._exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            self._exporter = OTLPSpanExporter()
        if self._resource is None:
            from opentelemetry.sdk.resources import Resource

            said = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
            named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in said
            self._resource = Resource.create({} if named else {"service.name": "runward"})
        return self._exporter, self._resource

    async def close(self) -> None:
        """Close the exporter, without waiting for what it is doing."""
        if self._exporter is not None:
            exporter, self._exporter = self._exporter, None
            try:
                async with asyncio.timeout(1):
                    await in_thread(exporter.shutdown)
            except TimeoutError:
                log.warning("the exporter of traces did not close in time")


def _spans(facts: dict[int, Facts], notice: Notice) -> list[SpanRecord]:
    return spans_of(facts[notice.run], notice)


def _readable(record: SpanRecord, resource: Resource) -> ReadableSpan:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(span_id: int) -> SpanContext:
        sampled = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(record.trace_id, span_id, is_remote=False, trace_flags=sampled)

    return ReadableSpan(
        name=record.name,
        context=context(record.span_id),
        parent=None if record.parent_id is None else context(record.parent_id),
        resource=resource,
        attributes=record.attributes,
        kind=SpanKind.CLIENT if record.parent_id is None else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR if record.failed else StatusCode.UNSET),
        start_time=_nanoseconds(record.start),
        end_time=_nanoseconds(max(record.start, record.end)),
        instrumentation_scope=InstrumentationScope("runward"),
    )


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000
