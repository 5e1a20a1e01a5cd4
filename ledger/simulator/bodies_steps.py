"""Bodies of run steps: one for each round of calls, one for the final message."""

from __future__ import annotations

from .bodies import usage
from .ids import opaque
from .jobs import Call, Job, Round
from .world import Item, whole_seconds

_ENDS = ("cancelled", "failed", "expired")


def steps(job: Job, now: float) -> list[Item]:
    """The steps that a run has taken by now, oldest first."""
    status = job.status(now)
    asked = job.rounds[: job.timeline.times("requires_action", now)]
    made = [
        _step(job, index, now, "completed" if asked_for.answers else _open(status), asked_for)
        for index, asked_for in enumerate(asked)
    ]
    if status == "completed" and not job.behaviour.empty:
        made.append(_step(job, len(asked), now, status, None))
    return made


def _open(run_status: str) -> str:
    return run_status if run_status in _ENDS else "in_progress"


def _step(job: Job, index: int, now: float, status: str, asked: Round | None) -> Item:
    at = whole_seconds(job.timeline.at(now).at)
    return {
        # Fixed by the run and the place in it, so that a step needs no memory of its own.
        "id": f"step_{opaque(24, job.id, index)}",
        "object": "thread.run.step",
        "created_at": whole_seconds(job.created),
        "assistant_id": job.settings["assistant_id"],
        "thread_id": job.parent_id,
        "run_id": job.id,
        "type": "message_creation" if asked is None else "tool_calls",
        "status": status,
        "step_details": _message(job) if asked is None else _tool_calls(asked),
        "last_error": None,
        **{f"{end}_at": at if status == end else None for end in (*_ENDS, "completed")},
        "metadata": {},
        "usage": None if status == "in_progress" else usage(job, asked is None),
    }


def _message(job: Job) -> Item:
    return {"type": "message_creation", "message_creation": {"message_id": job.message_id}}


def _tool_calls(asked: Round) -> Item:
    outputs = {answer["call_id"]: answer["output"] for answer in asked.answers}
    calls = [_tool_call(call, outputs.get(call.id)) for call in asked.calls]
    return {"type": "tool_calls", "tool_calls": calls}


def _tool_call(call: Call, output: str | None) -> Item:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments, "output": output},
    }
