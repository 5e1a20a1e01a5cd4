"""Bodies of the assistants endpoints, as the OpenAPI document describes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .jobs import Job, View
from .talk import tokens
from .timeline import FINAL
from .world import Item, Record, deadline_seconds, whole_seconds

_WHEN = ("cancelled", "failed", "completed")


def assistant(record: Record) -> Item:
    """An assistant."""
    data = record.data
    return {
        "id": record.id,
        "object": "assistant",
        "created_at": whole_seconds(record.created),
        "name": data.get("name"),
        "description": data.get("description"),
        "model": data["model"],
        "instructions": data.get("instructions"),
        "tools": data.get("tools") or [],
        "metadata": data.get("metadata") or {},
        "temperature": data.get("temperature", 1.0),
        "top_p": data.get("top_p", 1.0),
        "response_format": data.get("response_format", "auto"),
        "tool_resources": data.get("tool_resources"),
    }


def thread(record: Record) -> Item:
    """A thread, without its messages."""
    return {
        "id": record.id,
        "object": "thread",
        "created_at": whole_seconds(record.created),
        "tool_resources": record.data.get("tool_resources") or {},
        "metadata": record.data.get("metadata") or {},
    }


def message(thread_id: str, record: Record) -> Item:
    """A message of a thread."""
    data = record.data
    return {
        "id": record.id,
        "object": "thread.message",
        "created_at": whole_seconds(record.created),
        "thread_id": thread_id,
        "status": "completed",
        "incomplete_details": None,
        "completed_at": whole_seconds(record.created),
        "incomplete_at": None,
        "role": data["role"],
        "content": _content(data["content"]),
        "assistant_id": data.get("assistant_id"),
        "run_id": data.get("run_id"),
        "attachments": data.get("attachments") or [],
        "metadata": data.get("metadata") or {},
    }


def _content(content: object) -> list[Any]:
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return [_content_part(part) for part in parts]


def _content_part(part: Item) -> Item:
    if part.get("type") != "text" or not isinstance(part.get("text"), str):
        return part
    return {"type": "text", "text": {"value": part["text"], "annotations": []}}


def run(job: Job, seen: View, now: float) -> Item:
    """A run as a read shows it."""
    settings = job.settings
    final = seen.status in FINAL
    started = job.timeline.first("in_progress", now)
    return {
        "id": job.id,
        "object": "thread.run",
        "created_at": whole_seconds(job.created),
        "thread_id": job.parent_id,
        "assistant_id": settings["assistant_id"],
        "status": seen.status,
        "required_action": _required_action(seen),
        "last_error": error(job) if seen.status == "failed" else None,
        "incomplete_details": _reason(job) if seen.status == "incomplete" else None,
        "expires_at": None if final else deadline_seconds(job.expires),
        "started_at": whole_seconds(started),
        **{f"{name}_at": _at(seen, name) for name in _WHEN},
        "model": job.model,
        "instructions": settings.get("instructions") or "",
        "tools": list(job.tools),
        "metadata": job.metadata,
        "usage": usage(job, seen.status == "completed") if final else None,
        "temperature": settings.get("temperature", 1.0),
        "top_p": settings.get("top_p", 1.0),
        "max_prompt_tokens": settings.get("max_prompt_tokens"),
        "max_completion_tokens": settings.get("max_completion_tokens"),
        "truncation_strategy": settings.get("truncation_strategy")
        or {"type": "auto", "last_messages": None},
        "tool_choice": settings.get("tool_choice") or "auto",
        "parallel_tool_calls": settings.get("parallel_tool_calls", True),
        "response_format": settings.get("response_format") or "auto",
    }


def _required_action(seen: View) -> Item | None:
    if seen.status != "requires_action":
        return None
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in seen.calls
    ]
    return {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}


def error(job: Job) -> Item | None:
    """Why a job failed; nothing for the behaviour that leaves it out."""
    code = job.behaviour.code
    if code is None:
        return None
    return {"code": code, "message": f"The simulator was asked to fail with {code}."}


def _reason(job: Job) -> Item:
    return {"reason": job.behaviour.code}


def _at(seen: View, status: str) -> int | None:
    return whole_seconds(seen.since) if seen.status == status else None


def usage(job: Job, answered: bool) -> Item:
    """Plausible token counts."""
    prompt = tokens(job.text) + sum(tokens(output) for output in job.heard)
    completion = tokens(job.answer) if answered else 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def listing(items: Sequence[Item], has_more: bool) -> Item:
    """A page of a list. Ids of an empty page are empty: the document wants text there."""
    return {
        "object": "list",
        "data": list(items),
        "first_id": items[0]["id"] if items else "",
        "last_id": items[-1]["id"] if items else "",
        "has_more": has_more,
    }


def deleted(object_id: str, noun: str) -> Item:
    """The answer to a delete."""
    return {"id": object_id, "object": noun, "deleted": True}
