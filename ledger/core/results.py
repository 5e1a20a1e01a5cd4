"""The text that a stored result holds, and what upstream's objects say of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def output_text(provider: str, body: bytes | None) -> str:
    """The final text: of a response's output, or of the assistant's messages. Empty if none."""
    try:
        value = json.loads(body or b"null")
    except ValueError:
        return ""
    if not isinstance(value, Mapping):
        return ""
    parts = _message_parts(value) if provider == "assistants" else _response_parts(value)
    return "\n".join(part for part in parts if part)


def has_messages(body: bytes) -> bool:
    """Whether a thread run's result holds a message of the assistant."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return False
    messages = _list(value.get("messages")) if isinstance(value, Mapping) else []
    return any(message.get("role") == "assistant" for message in messages)


def _response_parts(value: Mapping[str, Any]) -> list[str]:
    items = _list(value.get("output"))
    return [
        str(part.get("text") or "")
        for item in items
        if item.get("type") == "message"
        for part in _list(item.get("content"))
        if part.get("type") == "output_text"
    ]


def _message_parts(value: Mapping[str, Any]) -> list[str]:
    parts = []
    for message in _list(value.get("messages")):
        if message.get("role") != "assistant":
            continue
        for part in _list(message.get("content")):
            text = part.get("text")
            parts.append(str(text.get("value") or "") if isinstance(text, Mapping) else "")
    return parts


def _list(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
