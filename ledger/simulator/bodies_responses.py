"""Bodies of the responses endpoints, as the OpenAPI document describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .bodies import error
from .ids import opaque
from .jobs import Job, View
from .talk import tokens
from .timeline import FINAL
from .world import Item, whole_seconds


def response(job: Job, seen: View) -> Item:
    """A response as a read shows it."""
    settings = job.settings
    output = _output(job, seen)
    return {
        "id": job.id,
        "object": "response",
        "created_at": whole_seconds(job.created),
        "status": seen.status,
        "background": bool(settings.get("background")),
        "completed_at": whole_seconds(seen.since) if seen.status == "completed" else None,
        "error": error(job) if seen.status == "failed" else None,
        "incomplete_details": _incomplete(job, seen),
        "instructions": settings.get("instructions"),
        "max_output_tokens": settings.get("max_output_tokens"),
        "max_tool_calls": settings.get("max_tool_calls"),
        "metadata": job.metadata,
        "model": job.model,
        "output": output,
        "parallel_tool_calls": settings.get("parallel_tool_calls", True),
        "previous_response_id": settings.get("previous_response_id"),
        "prompt_cache_key": settings.get("prompt_cache_key"),
        "reasoning": settings.get("reasoning") or {"effort": None, "summary": None},
        "safety_identifier": settings.get("safety_identifier"),
        "service_tier": "default",
        "store": settings.get("store", True),
        "temperature": settings.get("temperature", 1.0),
        "text": settings.get("text") or {"format": {"type": "text"}},
        "tool_choice": settings.get("tool_choice") or "auto",
        "tools": [_tool(tool) for tool in job.tools],
        "top_p": settings.get("top_p", 1.0),
        "truncation": settings.get("truncation") or "disabled",
        "usage": _usage(job, output) if seen.status in FINAL else None,
    }


def _incomplete(job: Job, seen: View) -> Item | None:
    return {"reason": job.behaviour.code} if seen.status == "incomplete" else None


def _tool(tool: Mapping[str, Any]) -> Item:
    if tool.get("type") != "function":
        return dict(tool)
    return {"description": None, "strict": True, "parameters": None, **tool}


def _output(job: Job, seen: View) -> list[Item]:
    if seen.status not in ("completed", "incomplete") or job.behaviour.empty:
        return []
    if seen.calls:
        return [
            {
                "id": call.item_id,
                "type": "function_call",
                "status": "completed",
                "call_id": call.id,
                "name": call.name,
                "arguments": call.arguments,
            }
            for call in seen.calls
        ]
    return [_message(job, seen.status)]


def _message(job: Job, status: str) -> Item:
    text = job.answer if status == "completed" else job.answer[: len(job.answer) // 2]
    content = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": job.message_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [content],
    }


def _usage(job: Job, output: list[Item]) -> Item:
    taken = tokens(job.text) + sum(tokens(heard) for heard in job.heard)
    given = tokens(job.answer) if output else 0
    return {
        "input_tokens": taken,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": given,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": taken + given,
    }


def input_items(job: Job, items: list[Item]) -> list[Item]:
    """The input of a response as items with ids, oldest first."""
    return [_input_item(job, index, item) for index, item in enumerate(items)]


def _input_item(job: Job, index: int, item: Item) -> Item:
    given = {key: value for key, value in item.items() if value is not None}
    prefix = "msg" if "role" in item else "fc"
    given = {"id": f"{prefix}_{opaque(48, job.id, index)}", "status": "completed", **given}
    if "role" not in item:
        return given
    given["type"] = "message"
    if isinstance(item.get("content"), str):
        given["content"] = [_text_part(item["role"], item["content"])]
    return given


def _text_part(role: str, text: str) -> Item:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}
