"""An upstream without a network, whose deliveries a test answers in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ledger.simulator import Scenario
from ledger.simulator.deliveries import Try
from ledger.simulator.engine import Engine
from ledger.simulator.world import Query

START = 1_800_000_000.0
RESPONSE_EVENTS = [f"response.{end}" for end in ("completed", "failed", "cancelled", "incomplete")]
Answering = Callable[[Try], int | None]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One delivery as it reached the endpoint, and when."""

    at: float
    sent: Try

    @property
    def headers(self) -> Mapping[str, str]:
        return self.sent.headers

    @property
    def webhook_id(self) -> str:
        return self.sent.headers["webhook-id"]

    @property
    def said(self) -> Any:
        return json.loads(self.sent.body)

    @property
    def type(self) -> str:
        return str(self.said["type"])


@dataclass
class Upstream:
    """An engine with its time."""

    scenario: Mapping[str, Any] = field(default_factory=dict)
    now: float = START

    def __post_init__(self) -> None:
        self.engine = Engine(Scenario.from_mapping(dict(self.scenario)))

    def ask(self, operation: str, body: Mapping[str, Any] | None = None, **ids: str) -> Any:
        query = Query(operation=operation, now=self.now, ids=ids, body=body or {})
        answer = self.engine.answer(query, "Bearer sk-test")
        assert answer.status == 200, answer.body
        return answer.body

    def endpoint(self, *event_types: str, url: str = "https://example.com/hook") -> Any:
        types = list(event_types) or RESPONSE_EVENTS
        body = {"name": "ours", "url": url, "event_types": types}
        return self.ask("webhook_endpoints.create", body)

    def response(self, model: str = "sim-ok", **options: Any) -> str:
        body = {"model": model, "input": "Hello", "background": True} | options
        return str(self.ask("responses.create", body)["id"])

    def arrivals(
        self, seconds: float = 60.0, answering: Answering = lambda _: 200
    ) -> list[Arrival]:
        """What arrives within so many seconds, each answered at once."""
        plan, until, come = self.engine.webhooks, self.now + seconds, []
        while (at := plan.next_delivery_at(self.now)) is not None and at <= until:
            self.now = max(self.now, at)
            for sent in plan.deliveries_due(self.now):
                come.append(Arrival(self.now, sent))
                plan.answered(sent, answering(sent), self.now)
        self.now = until
        return come

    def told(self) -> dict[str, list[dict[str, Any]]]:
        return self.engine.webhooks.log.account()
