"""One request in, one answer out: keys, limits, faults, the operation, the journal.

Still without input or output; the server only carries what is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from . import ops_responses, ops_runs, ops_threads, ops_webhooks
from .choosing import CREATES, Choice, choose, model_of
from .deliveries import Try, Webhooks
from .endpoints import NewEndpoint
from .faults import Bucket, Fault, FaultPlan, Rule
from .ids import chance, opaque
from .journal import Journal, objects_of
from .refusals import Refusal, of_status
from .scenario import Scenario
from .world import Item, Outcome, Query, World

HANDLERS: Mapping[str, Callable[[World, Query], Outcome]] = {
    "assistants.create": ops_threads.create_assistant,
    "assistants.list": ops_threads.list_assistants,
    "assistants.retrieve": ops_threads.retrieve_assistant,
    "assistants.delete": ops_threads.delete_assistant,
    "threads.create": ops_threads.create_thread,
    "threads.retrieve": ops_threads.retrieve_thread,
    "threads.delete": ops_threads.delete_thread,
    "threads.create_and_run": ops_runs.create_thread_and_run,
    "messages.create": ops_threads.create_message,
    "messages.list": ops_threads.list_messages,
    "messages.retrieve": ops_threads.retrieve_message,
    "runs.create": ops_runs.create_run,
    "runs.list": ops_runs.list_runs,
    "runs.retrieve": ops_runs.retrieve_run,
    "runs.cancel": ops_runs.cancel_run,
    "runs.submit": ops_runs.submit,
    "steps.list": ops_runs.list_steps,
    "responses.create": ops_responses.create_response,
    "responses.retrieve": ops_responses.retrieve_response,
    "responses.delete": ops_responses.delete_response,
    "responses.cancel": ops_responses.cancel_response,
    "responses.input_items": ops_responses.list_input_items,
    "webhook_endpoints.create": ops_webhooks.create_endpoint,
    "webhook_endpoints.list": ops_webhooks.list_endpoints,
    "webhook_endpoints.retrieve": ops_webhooks.retrieve_endpoint,
    "webhook_endpoints.update": ops_webhooks.update_endpoint,
    "webhook_endpoints.delete": ops_webhooks.delete_endpoint,
    "webhook_endpoints.rotate_secret": ops_webhooks.rotate_secret,
    "webhook_endpoints.test": ops_webhooks.test_endpoint,
    "webhook_event_types.list": ops_webhooks.list_event_types,
}
_READS = frozenset(
    name for name in HANDLERS if name.endswith((".list", ".retrieve", ".input_items"))
)


_KEYS: Mapping[str, tuple[int, str, str, str]] = {
    "sk-bad": (401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    "sk-forbidden": (403, "This key may not use this API.", "invalid_request_error", "forbidden"),
    "sk-broke": (
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a body with its headers, and the fault that is to spoil it.

    ``sends`` is a try to make before; ``Engine.tested`` puts its result into the answer.
    """

    status: int
    body: Item
    headers: Mapping[str, str]
    fault: Fault | None
    sends: Try | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a request, before it is dressed as an answer."""

    model: str
    fault: Fault | None
    result: Outcome | Refusal


class Engine:
    """A simulator without its network."""

    def __init__(self, scenario: Scenario, endpoints: Sequence[NewEndpoint] = ()) -> None:
        self.scenario = scenario
        self._endpoints = tuple(endpoints)
        self.reset()

    def reset(self) -> None:
        """Forget everything, as if just started."""
        self._world = World(self.scenario, self._endpoints)
        self._bucket = Bucket(self.scenario.requests_per_minute, self.scenario.speed)
        self._requests = 0
        self.journal = Journal()
        self.replace_faults(self.scenario.faults)

    def replace_faults(self, rules: Iterable[Rule]) -> None:
        """Put other fault rules in force."""
        self._plan = FaultPlan(rules, self.scenario.seed)

    def objects(self, now: float) -> list[Item]:
        """Every run and response with its true state."""
        return objects_of(self._world, now)

    def answer_of(self, job_id: str) -> str:
        """What a run or response says, or will say, when it completes."""
        return self._world.jobs[job_id].answer

    @property
    def webhooks(self) -> Webhooks:
        """The plan of deliveries; another one after a reset."""
        return self._world.webhooks

    def answer(self, query: Query, authorization: str) -> Answer:
        """Decide about one request, and write down what came of it."""
        self._requests += 1
        self.webhooks.advance(query.now)
        tried = self._try(query, authorization)
        answer = self._dress(tried)
        if query.operation in _READS:
            self.journal.reads[query.operation] += 1
        else:
            dropped = tried.fault is not None and tried.fault.kind == "drop"
            self.journal.write(self._entry(query, tried, None if dropped else answer.status))
        return answer

    def tested(self, answer: Answer, status: int | None) -> Answer:
        """The answer to a test of an endpoint, once the endpoint has answered or has not."""
        if answer.status != 200:
            return answer
        if status is None:
            refusal = Refusal(400, "The webhook endpoint did not answer.")
            return replace(answer, status=refusal.status, body=refusal.body)
        return replace(answer, body={**answer.body, "status_code": status})

    def _try(self, query: Query, authorization: str) -> Tried:
        model = model_of(self._world, query)
        try:
            check_key(authorization)
            self._spend(query.now)
            fault, choice = self._choose(query, model)
            if fault is not None and not fault.accepted:
                return Tried(model, fault, self._refusal(fault))
            chosen = replace(query, behaviour=choice.behaviour) if choice else query
            outcome = HANDLERS[query.operation](self._world, chosen)
            self._remember(choice)
            return Tried(model, fault, outcome)
        except Refusal as refusal:
            return Tried(model, None, refusal)

    def _choose(self, query: Query, model: str) -> tuple[Fault | None, Choice | None]:
        """The fault of a rule before that of a behaviour, which only creates have."""
        fault = self._plan.choose(query.operation, model)
        if query.operation not in CREATES or (fault is not None and not fault.accepted):
            return fault, None
        choice = choose(self._world, query)
        fault = fault or choice.behaviour.fault
        if fault is not None and not fault.accepted:
            self._remember(choice)
        return fault, choice

    def _remember(self, choice: Choice | None) -> None:
        if choice is not None and choice.key is not None:
            self._world.done_once.add(choice.key)

    def _spend(self, now: float) -> None:
        wait = self._bucket.take(now)
        if wait > 0:
            refusal = of_status(429)
            refusal.retry_after = wait
            raise refusal

    def _refusal(self, fault: Fault) -> Refusal:
        refusal = of_status(fault.status)
        if fault.says_when:
            usual = self.scenario.pace.seconds("retry_after")
            refusal.retry_after = usual if fault.retry_after is None else fault.retry_after
        return refusal

    def _dress(self, tried: Tried) -> Answer:
        result = tried.result
        if isinstance(result, Outcome) and tried.fault is not None and tried.fault.status != 200:
            result = self._refusal(tried.fault)
        status = result.status if isinstance(result, Refusal) else 200
        headers = self._headers()
        if isinstance(result, Refusal) and result.retry_after is not None:
            headers["retry-after"] = f"{result.retry_after:.3f}".rstrip("0").rstrip(".")
            headers["retry-after-ms"] = str(round(result.retry_after * 1000))
        sends = tried.result.sends if isinstance(tried.result, Outcome) else None
        return Answer(status, result.body, headers, tried.fault, sends)

    def _headers(self) -> dict[str, str]:
        seed, nth = self.scenario.seed, self._requests
        headers = {
            "x-request-id": f"req_{opaque(32, seed, 'request', nth)}",
            "openai-version": "2020-10-01",
            "openai-processing-ms": str(5 + int(40 * chance(seed, "processing", nth))),
            "x-ratelimit-limit-requests": str(self._bucket.limit),
            "x-ratelimit-remaining-requests": str(self._bucket.remaining),
            "x-ratelimit-reset-requests": f"{round(self._bucket.reset_after * 1000)}ms",
            "x-ratelimit-limit-tokens": "2000000",
            "x-ratelimit-remaining-tokens": "1999000",
            "x-ratelimit-reset-tokens": "30ms",
        }
        if self.scenario.poll_after_ms is not None:
            headers["openai-poll-after-ms"] = str(self.scenario.poll_after_ms)
        return headers

    def _entry(self, query: Query, tried: Tried, status: int | None) -> Item:
        done = tried.result if isinstance(tried.result, Outcome) else None
        object_id, parent_id = _addressed(query)
        job = self._world.jobs.get(object_id or "")
        metadata = query.body.get("metadata") or (job.metadata if job else {})
        return {
            "at": query.now,
            "operation": query.operation,
            "object_id": done.object_id if done else object_id,
            "parent_id": done.parent_id if done else parent_id,
            "model": tried.model,
            "metadata": metadata,
            "status": status,
            "fault": tried.fault.name if tried.fault else None,
            "accepted": done is not None,
            "detail": done.detail if done else _why_refused(tried),
        }


def _why_refused(tried: Tried) -> Item:
    return {} if tried.fault else {"error": str(tried.result)}


def _addressed(query: Query) -> tuple[str | None, str | None]:
    """The object and the parent that the address of a request names; a create has no object."""
    ids = query.ids
    names = ("run_id", "response_id", "assistant_id", "webhook_endpoint_id")
    object_id = next((ids[name] for name in names if name in ids), None)
    if object_id is None and query.operation == "threads.delete":
        return ids["thread_id"], None
    return object_id, ids.get("thread_id") or query.body.get("previous_response_id")


def check_key(authorization: str) -> None:
    """Refuse a request without a key, or with one of the magic keys."""
    key = authorization.removeprefix("Bearer").strip()
    if not key:
        raise Refusal(401, "You didn't provide an API key.")
    for beginning, (status, message, kind, code) in _KEYS.items():
        if key.startswith(beginning):
            raise Refusal(status, message, kind=kind, code=code)
