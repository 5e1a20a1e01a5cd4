"""Traces: one span for a run and one for each attempt, written from the ledger at the end."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from following_rig import MakeWalker
from hook_receiver import Receiver, receiving
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from service_rig import MakeRig
from support import NOW, Bench, later, response, seen

from ledger.core.alphabet import Source, State
from ledger.core.policy import Policy, RestartRule
from ledger.core.tracing import VERSION
from ledger.service import tracing as module
from ledger.service.doctor_following import passing_on
from ledger.service.tracing import Tracing, tracing


@pytest.fixture
def hook() -> Iterator[Receiver]:
    """A collector on loopback."""
    with receiving() as receiver:
        receiver.say(200)
        yield receiver


def nanoseconds(moment: datetime) -> int:
    """As a span has its times."""
    return int(moment.timestamp()) * 10**9


def restarted(bench: Bench) -> int:
    """A run whose first attempt failed after ten seconds, and whose second took twenty."""
    rule = RestartRule(outcome=State.failed, code="server_error", count=1)
    sent = bench.sending(policy=Policy(restart=(rule,)), model="gpt-5", tags={"team": "risk"})
    bench.now = later(10)
    body = response("failed", remote_id="resp_a", error={"code": "server_error", "message": "x"})
    failed = bench.take(sent, seen(body), source=Source.create)
    again = bench.arm(failed).facts  # type: ignore[union-attr]
    bench.now = later(30)
    usage = {"input_tokens": 7, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 3}}
    said = [{"type": "message", "content": [{"type": "output_text", "text": "the secret memo"}]}]
    body = response("completed", remote_id="resp_b", output=said, usage=usage)
    return bench.take(again, seen(body, n=2), source=Source.create).run.id


def exported(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """Spans by name."""
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_run_is_one_trace(bench: Bench, walk: MakeWalker) -> None:
    """With explicit times, from the rows; no contents."""
    life, exporter = walk(), InMemorySpanExporter()
    follower = life.follow(Tracing(bench.store, exporter))
    run = restarted(bench)
    life.run(follower, 100)
    spans = exported(exporter)
    root, first, second = (spans[name] for name in ("chat gpt-5", "attempt 1", "attempt 2"))

    times = [(span.start_time, span.end_time) for span in (root, first, second)]
    at = [nanoseconds(later(seconds)) for seconds in (0, 10, 30)]
    assert [(at[0], at[2]), (at[0], at[1]), (at[1], at[2])] == times
    assert 3 == len(spans)
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "openai.api.type": "responses",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.response.id": "resp_b",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "runward.spans.version": VERSION,
        "runward.ledger": bench.store.ledger_id,
        "runward.run": run,
        "runward.key": bench.facts(run).run.key,
        "runward.state": "completed",
        "runward.attempts": 2,
        "runward.tag.team": "risk",
    } == dict(root.attributes or {})
    assert ("server_error", "failed", "resp_a") == tuple(
        (first.attributes or {})[name]
        for name in ("error.type", "runward.outcome", "gen_ai.response.id")
    )
    assert [True, False, True] == [span.status.is_ok for span in (root, first, second)]
    assert {root.context.span_id} == {first.parent.span_id, second.parent.span_id}  # type: ignore[union-attr]
    assert "secret" not in "".join(span.to_json() for span in spans.values())


def test_a_repeat_is_the_same_span(bench: Bench, walk: MakeWalker) -> None:
    """And another run is another trace."""
    life, exporters = walk(), [InMemorySpanExporter() for _ in range(2)]
    followers = []
    for number, exporter in enumerate(exporters):
        consumer = Tracing(bench.store, exporter)
        consumer.name = f"otel{number}"
        followers.append(life.follow(consumer))
    restarted(bench)
    bench.completed()
    for follower in followers:
        life.run(follower, 100)

    one, two = ([span.to_json() for span in e.get_finished_spans()] for e in exporters)
    assert one == two
    assert 2 == len({s.context.trace_id for s in exporters[0].get_finished_spans()})
    assert 5 == len({s.context.span_id for s in exporters[0].get_finished_spans()})


class Down(SpanExporter):
    """An exporter without its collector."""

    def __init__(self, how: Callable[[], SpanExportResult]) -> None:
        self.how, self.calls = how, 0
        self.taken = InMemorySpanExporter()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As it is asked to."""
        self.calls += 1
        result = self.how()
        return self.taken.export(spans) if result == SpanExportResult.SUCCESS else result


def explode() -> SpanExportResult:
    """What a library may do."""
    raise OSError("no route")


@pytest.mark.parametrize("how", [lambda: SpanExportResult.FAILURE, explode])
def test_an_exporter_that_is_down_is_caught_up_with(
    bench: Bench, walk: MakeWalker, how: Callable[[], SpanExportResult]
) -> None:
    """With growing pauses, and nothing is lost."""
    life, exporter = walk(), Down(how)
    follower = life.follow(Tracing(bench.store, exporter))
    for _ in range(3):
        bench.completed()
    at, calls = 0.0, 12
    for _ in range(calls):
        due = life.run(follower, at)
        assert due is not None
        at = (due - NOW).total_seconds()
    assert calls == exporter.calls
    assert at > 120
    exporter.how = lambda: SpanExportResult.SUCCESS
    life.run(follower, at)

    assert 3 * 2 == len(exporter.taken.get_finished_spans())


# The real exporter.


def test_a_daemon_exports_over_http(
    make_rig: MakeRig, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To where the usual variable says, under the service's name."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", hook.url.removesuffix("/hook"))
    rig = make_rig()
    with rig.daemon():
        run = rig.submit()
        rig.expect(lambda: len(hook.got) > 0)
    asked = ExportTraceServiceRequest()
    asked.ParseFromString(hook.got[0].body)
    (resource,) = asked.resource_spans
    names = {item.key: item.value.string_value for item in resource.resource.attributes}
    spans: list[Any] = [span for scope in resource.scope_spans for span in scope.spans]

    assert "runward" == names["service.name"]
    assert {"chat sim-ok", "attempt 1"} == {span.name for span in spans}
    done = rig.ledger.get(run)
    assert done.finished_at is not None
    (root,) = [span for span in spans if span.name == "chat sim-ok"]
    length = timedelta(microseconds=(root.end_time_unix_nano - root.start_time_unix_nano) // 1000)
    assert done.finished_at - done.created_at == length


def test_nothing_is_exported_unless_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the usual ways to say no are heard."""
    assert [] == tracing(bench.store)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/v1/traces")
    assert ["otel"] == [consumer.name for consumer in tracing(bench.store)]
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert [] == tracing(bench.store)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("EXPORTER", "opentelemetry_that_is_not.there"), "pip install 'runward[otel]'"),
        (("PROTOCOL", "grpc"), "http/protobuf"),
    ],
)
def test_what_is_missing_is_said(
    make_rig: MakeRig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: tuple[str, str],
    said: str,
) -> None:
    """In the log of the daemon, which starts all the same, and by doctor."""
    rig = make_rig()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    if change[0] == "EXPORTER":
        monkeypatch.setattr(module, *change)
    else:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", change[1])
    with caplog.at_level(logging.WARNING):
        assert [] == tracing(rig.ledger.store)
    (answer,) = [found for found in passing_on(rig.ledger) if found[0] == "traces"]

    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set, and no traces are written" in caplog.text
    assert said in caplog.text
    assert answer[1] is False
    assert said in answer[3]


def test_the_library_is_loaded_at_the_first_export() -> None:
    """Not by importing ours."""
    program = "import sys, ledger.service.workers; print('opentelemetry' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "False" == done.stdout.strip()
