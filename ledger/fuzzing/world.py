"""The world below the wire: the simulator's engine, and a network that delays, drops and lies.

The network is not part of any process: what a life has sent arrives although the life is dead.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from ledger.fuzzing.loop import START, Scheduler
from ledger.fuzzing.seams import Mortal
from ledger.providers.inprocess import Answered, Asked, BrokenOffError, NeverSentError
from ledger.simulator.endpoints import NewEndpoint
from ledger.simulator.engine import Engine
from ledger.simulator.routes import ROUTES
from ledger.simulator.scenario import Scenario
from ledger.simulator.world import Query

KEY: Final = "sk-simulated-0123456789"
LATENCY_SECONDS: Final = 0.05
HTML: Final = b"<!DOCTYPE html><html><body>Bad gateway</body></html>"


class Fault(StrEnum):
    """What the network does to one request."""

    never_sent = "never_sent"
    """No connection."""
    lost_request = "lost_request"
    """The connection breaks before the request arrives."""
    lost_reply = "lost_reply"
    """It arrives and has its effect; the reply is lost."""
    late_reply = "late_reply"
    """It has its effect, and the reply comes after the caller has given up."""
    twice = "twice"
    """It is delivered twice (no proxy does that to a create)."""
    error_before = "error_before"
    """500, and nothing has happened."""
    error_after = "error_after"
    """500, although it had its effect."""
    not_found = "not_found"
    """404 from a replica that is behind."""
    conflict = "conflict"
    """409 out of the blue."""
    rate_limited = "rate_limited"
    """429 with Retry-After."""
    truncated = "truncated"
    """Half of the reply."""
    html = "html"
    """A web page with status 200."""
    stale = "stale"
    """A read is answered with what the same read was answered before."""


BEFORE: Final = {
    Fault.error_before: (500, "server_error"),
    Fault.conflict: (409, "conflict"),
    Fault.rate_limited: (429, "rate_limit_exceeded"),
    Fault.not_found: (404, "not_found"),
}


@dataclass(slots=True)
class Request:
    """One request on its way, and the fault that strikes it."""

    asked: Asked
    fault: Fault | None
    reply: asyncio.Future[Answered]
    loop: Any
    create: bool


class World:
    """Upstream and the way to it."""

    def __init__(
        self,
        scheduler: Scheduler,
        rng: random.Random,
        scenario: Scenario,
        endpoints: Sequence[NewEndpoint] = (),
    ) -> None:
        self.scheduler, self._rng = scheduler, rng
        self.engine = Engine(scenario, endpoints)
        self.on_asked: Callable[[], None] = _unasked
        self.faults: dict[int, Fault] = {}
        self.requests = 0
        self.struck: Counter[Fault] = Counter()
        self._before: dict[str, Answered] = {}
        self.on_send: Callable[[Mortal, Asked], None] = _unseen

    def now(self) -> float:
        """Upstream's own clock: setting ours does not set theirs."""
        return START.timestamp() + self.scheduler.clock.now

    async def carry(self, mortal: Mortal, asked: Asked) -> Answered:
        """One exchange, as a life sees it."""
        mortal.point("provider")
        self.on_send(mortal, asked)
        self.requests += 1
        loop = asyncio.get_running_loop()
        fault = self.faults.get(self.requests)
        create = asked.method == "POST" and operation_of(asked)[0].endswith(".create")
        request = Request(asked, fault, loop.create_future(), loop, create)
        if fault == Fault.never_sent:
            self.struck[fault] += 1
            raise NeverSentError("connection refused")
        self.scheduler.after(self._latency(), lambda: self._arrive(request))
        answer = await request.reply
        mortal.point("provider")
        return answer

    def _latency(self) -> float:
        return 0.001 + self._rng.random() * LATENCY_SECONDS

    def _arrive(self, request: Request) -> None:
        fault = request.fault
        if fault is not None:
            self.struck[fault] += 1
        if fault == Fault.lost_request:
            self._deliver(request, BrokenOffError("connection reset"))
            return
        if fault in BEFORE:
            self._deliver(request, refusal(*BEFORE[fault]))
            return
        if fault == Fault.stale and request.asked.path in self._before:
            self._deliver(request, self._before[request.asked.path])
            return
        answer = self.ask(request.asked)
        if fault == Fault.twice and not request.create:
            answer = self.ask(request.asked)
        self._deliver(request, self._spoilt(request, answer))

    def _spoilt(self, request: Request, answer: Answered) -> Answered | Exception | None:
        if request.fault == Fault.lost_reply:
            return BrokenOffError("connection reset")
        if request.fault == Fault.late_reply:
            return None
        if request.fault == Fault.error_after:
            return refusal(500, "server_error")
        if request.fault == Fault.truncated:
            return Answered(status=200, body=answer.body[: len(answer.body) // 2])
        if request.fault == Fault.html:
            return Answered(status=200, body=HTML, headers={"content-type": "text/html"})
        if request.asked.method == "GET" and answer.status == 200:
            self._before[request.asked.path] = answer
        return answer

    def _deliver(self, request: Request, answer: Answered | Exception | None) -> None:
        """A reply on its way back; None never comes."""
        if answer is None:
            return

        def arrive() -> None:
            if request.reply.done():
                return
            if isinstance(answer, Exception):
                request.reply.set_exception(answer)
            else:
                request.reply.set_result(answer)

        self.scheduler.after(self._latency(), arrive)

    def jobs(self) -> list[dict[str, Any]]:
        """Every run and response there is, with its true state and answer."""
        made = self.engine.objects(self.now())
        for job in made:
            job["true_status"], job["answer"] = job["status"], self.engine.answer_of(job["id"])
        return made

    def journal(self) -> list[dict[str, Any]]:
        """Everything that changed something or tried to."""
        return self.engine.journal.entries()

    def make_thread(self) -> str:
        """A thread that somebody made before."""
        asked = Asked(
            method="POST", path="/v1/threads", query={}, body=b"{}", authorization=f"Bearer {KEY}"
        )
        return str(json.loads(self.ask(asked).body)["id"])

    def ask(self, asked: Asked) -> Answered:
        """What upstream answers, and does."""
        operation, ids = operation_of(asked)
        body = json.loads(asked.body) if asked.body else {}
        query = Query(
            operation=operation, now=self.now(), ids=ids, options=dict(asked.query), body=body
        )
        answer = self.engine.answer(query, asked.authorization)
        self.on_asked()
        return Answered(
            status=answer.status, body=json.dumps(answer.body).encode(), headers=answer.headers
        )


def _unasked() -> None:
    """Nobody waits for what a request brings about."""


def _unseen(mortal: Mortal, asked: Asked) -> None:
    """Nobody watches what is sent."""
    del mortal, asked


def refusal(status: int, code: str) -> Answered:
    """An error as upstream words it."""
    error = {"error": {"message": f"simulated {code}", "type": code, "code": code}}
    headers = {"retry-after": "1"} if status == 429 else {}
    return Answered(status=status, body=json.dumps(error).encode(), headers=headers)


def operation_of(asked: Asked) -> tuple[str, dict[str, str]]:
    """The operation that a request asks for, and the ids in its address."""
    parts = asked.path.removeprefix("/v1").split("/")
    for method, pattern, operation in ROUTES:
        names = pattern.split("/")
        if method == asked.method and len(names) == len(parts):
            pairs = list(zip(names, parts, strict=True))
            if all(name == part or name.startswith("{") for name, part in pairs):
                return operation, {n[1:-1]: p for n, p in pairs if n.startswith("{")}
    raise ValueError(f"the simulator has no {asked.method} {asked.path}")
