"""Everything that exists in a simulator: objects, how they are found, how jobs are made.

The world is pure: it reads no clock (``now`` is handed in) and does no input or output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from . import jobs
from .behaviours import OK, Behaviour
from .deliveries import Try, Webhooks
from .endpoints import NewEndpoint
from .ids import Ids
from .jobs import Call, Job
from .refusals import not_found
from .scenario import Scenario

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """One request, freed of HTTP: what is asked, of which objects, and when."""

    operation: str
    now: float
    ids: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    behaviour: Behaviour = OK


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request did: the body to answer, what the log says of it, and what it sends."""

    body: Item
    object_id: str | None = None
    parent_id: str | None = None
    detail: Item = field(default_factory=dict)
    sends: Try | None = None


@dataclass(slots=True, kw_only=True)
class Record:
    """An assistant, a thread or a message: fixed once it is made."""

    id: str
    created: float
    data: Item
    deleted: bool = False


@dataclass(slots=True)
class Thread:
    """A thread with its messages and the ids of its runs, oldest first."""

    record: Record
    messages: list[Record] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)


class World:
    """The objects of one simulator."""

    def __init__(self, scenario: Scenario, endpoints: Sequence[NewEndpoint] = ()) -> None:
        self.pace = scenario.pace
        self.ids = Ids(scenario.seed, scenario.id_length)
        self.webhooks = Webhooks(scenario, self.ids, endpoints)
        self.assistants: dict[str, Record] = {}
        self.threads: dict[str, Thread] = {}
        self.jobs: dict[str, Job] = {}
        self.asked_by: dict[str, str] = {}
        self.done_once: set[str] = set()

    def assistant(self, assistant_id: str) -> Record:
        """An assistant; one whose id begins ``asst_sim`` needs no set-up."""
        record = self.assistants.get(assistant_id)
        if record is None and assistant_id.startswith("asst_sim"):
            model = assistant_id.removeprefix("asst_")
            return Record(id=assistant_id, created=0, data={"model": model.strip("-_")})
        if record is None or record.deleted:
            raise not_found("assistant", assistant_id)
        return record

    def thread(self, thread_id: str, now: float) -> Thread:
        """A thread, with the answers of the runs that have completed by now."""
        thread = self.threads.get(thread_id)
        if thread is None or thread.record.deleted:
            raise not_found("thread", thread_id)
        for job in self.runs_of(thread):
            self._add_answer(thread, job, now)
        return thread

    def runs_of(self, thread: Thread) -> list[Job]:
        """The runs of a thread, oldest first."""
        return [self.jobs[run_id] for run_id in thread.run_ids]

    def run(self, query: Query) -> Job:
        """The run that a request is about; it must belong to the thread of the address."""
        thread_id, run_id = query.ids["thread_id"], query.ids["run_id"]
        self.thread(thread_id, query.now)
        job = self.jobs.get(run_id)
        if job is None or job.parent_id != thread_id or job.gone(query.now):
            raise not_found("run", run_id)
        return job

    def find_response(self, response_id: str, now: float) -> Job | None:
        """A response that can be seen now."""
        job = self.jobs.get(response_id)
        return None if job is None or job.api != "responses" or job.gone(now) else job

    def active_run(self, thread: Thread, now: float) -> Job | None:
        """The run that locks a thread."""
        return next((job for job in self.runs_of(thread) if job.active(now)), None)

    def add_thread(self, data: Item, now: float) -> Thread:
        """A new thread, still without messages."""
        thread = Thread(Record(id=self.ids.make("thread"), created=now, data=data))
        self.threads[thread.record.id] = thread
        return thread

    def add_message(self, thread: Thread, data: Item, now: float) -> Record:
        """A new message at the end of a thread."""
        record = Record(id=self.ids.make("msg"), created=now, data=data)
        thread.messages.append(record)
        return record

    def add_job(
        self,
        query: Query,
        *,
        api: str,
        parent_id: str | None,
        model: str,
        text: str,
        tools: Sequence[Mapping[str, Any]],
        carries_on: Job | None = None,
        heard: Sequence[str] = (),
    ) -> Job:
        """Make a run or a response and plan its life."""
        expires_in = "expire" if query.behaviour.expires_early else "expires_after"
        expires = query.now + self.pace.seconds(expires_in) if api == "runs" else None
        job = Job(
            id=self.ids.make("run" if api == "runs" else "resp"),
            api=api,
            parent_id=parent_id,
            model=model,
            behaviour=query.behaviour,
            metadata=dict(query.body.get("metadata") or {}),
            settings=query.body,
            text=text,
            tools=tools,
            message_id=self.ids.make("msg"),
            created=query.now,
            expires=expires,
            heard=list(heard),
        )
        jobs.begin(job, self.pace, self.next_calls(job, carries_on), query.now)
        self.jobs[job.id] = job
        self.webhooks.expect(job)
        return job

    def next_calls(self, job: Job, last: Job | None) -> tuple[Call, ...]:
        """The calls that a job asks for next; ``last`` is what asked before."""
        before = last.rounds_asked if last is not None else 0
        behaviour = job.behaviour
        if before >= behaviour.rounds:
            return ()
        job.rounds_asked = before + 1
        ids = [(self.ids.make("call"), self.ids.make("fc")) for _ in range(behaviour.calls)]
        if behaviour.repeats_call_ids and last is not None and last.rounds:
            ids = [(call.id, call.item_id) for call in last.rounds[-1].calls]
        calls = jobs.calls_for(job, ids, before)
        self.asked_by.update((call.id, job.id) for call in calls)
        return calls

    def _add_answer(self, thread: Thread, job: Job, now: float) -> None:
        if job.message_added or job.behaviour.empty or job.status(now) != "completed":
            return
        job.message_added = True
        data = {"role": "assistant", "content": job.answer, "run_id": job.id}
        data["assistant_id"] = job.settings["assistant_id"]
        since = job.timeline.at(now).at
        thread.messages.append(Record(id=job.message_id, created=since, data=data))


def canonical(value: object) -> str:
    """One text for equal JSON values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def whole_seconds(at: float | None) -> int | None:
    """An instant as the API writes it."""
    return None if at is None else int(at)


def deadline_seconds(at: float | None) -> int | None:
    """A deadline as the API writes it: rounded up, or it would lie before the fact."""
    return None if at is None else ceil(at)
