"""What the simulated model says and asks for: texts and arguments of tool calls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_SUM = re.compile(r"(-?\d+(?:\.\d+)?)\s*([-+*/x])\s*(-?\d+(?:\.\d+)?)")
_BROKEN_ARGUMENTS = '{"query": "unfinish'
_NOTHING: Mapping[str, Any] = {"type": "object"}
_SAMPLES: Mapping[str, str] = {
    "city": "Paris",
    "location": "Paris",
    "country": "France",
    "name": "Ada",
    "email": "ada@example.com",
    "date": "2026-01-31",
    "url": "https://example.com/",
    "currency": "EUR",
}


def reply_to(text: str, outputs: Sequence[str]) -> str:
    """The final text: the tools' outputs, else the result of a sum, else an echo."""
    if outputs:
        return "The tools said: " + "; ".join(outputs)
    return _result(text) or f"You said: {text}"


def _result(text: str) -> str | None:
    match = _SUM.search(text)
    if match is None:
        return None
    left, sign, right = float(match[1]), match[2], float(match[3])
    if sign == "/" and right == 0:
        return None
    results = {"+": left + right, "-": left - right, "/": left / right if right else 0.0}
    return f"{results.get(sign, left * right):.12g}"


def tokens(text: str) -> int:
    """About how many tokens a text is."""
    return len(text) // 4 + 1


def last_user_text(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The text of the last message of the user, in either shape of content."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return text_of(message.get("content"))
    return None


def text_of(content: object) -> str:
    """The text in a content: a string, or parts of which some carry text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(filter(None, (_text_of_part(part) for part in parts)))


def _text_of_part(part: object) -> str:
    text = part.get("text", "") if isinstance(part, dict) else ""
    if isinstance(text, dict):
        text = text.get("value", "")
    return text if isinstance(text, str) else ""


def functions_in(tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The functions among the declared tools; assistants nest them, responses do not."""
    functions = [tool for tool in tools if tool.get("type") == "function"]
    return [tool.get("function", tool) for tool in functions]


def tool_call(
    tools: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, str],
    text: str,
    variant: int,
) -> tuple[str, str]:
    """Name and arguments of a call; the variant tells parallel calls and rounds apart."""
    functions = {function["name"]: function for function in functions_in(tools)}
    name = metadata.get("sim_tool") or next(iter(functions), "lookup")
    if "sim_bad_args" in metadata:
        return name, _BROKEN_ARGUMENTS
    if "sim_args" in metadata:
        return name, metadata["sim_args"]
    if name in functions:
        schema = functions[name].get("parameters") or _NOTHING
        return name, json.dumps(_fill(schema, "", text, variant))
    return name, json.dumps({"query": _numbered(text, variant)})


def _fill(schema: Mapping[str, Any], name: str, text: str, variant: int) -> Any:
    """A value that fits a JSON schema: its required properties only."""
    if "const" in schema or "default" in schema:
        return schema.get("const", schema.get("default"))
    if schema.get("enum"):
        return schema["enum"][variant % len(schema["enum"])]
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            return _fill(schema[choice][0], name, text, variant)
    kind = _type_of(schema)
    if kind == "object":
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        return {key: _fill(properties.get(key, {}), key, text, variant) for key in required}
    if kind == "array":
        items = schema.get("items", {})
        return [_fill(items, name, text, variant + nth) for nth in range(schema.get("minItems", 1))]
    return _scalar(kind, schema, name, text, variant)


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    return str(kind[0]) if isinstance(kind, list) else str(kind)


def _scalar(kind: str, schema: Mapping[str, Any], name: str, text: str, variant: int) -> Any:
    if kind in ("integer", "number"):
        value = schema.get("minimum", 1) + variant
        return min(value, schema.get("maximum", value))
    if kind == "boolean":
        return variant % 2 == 0
    if kind == "null":
        return None
    sample = text if name in ("query", "question", "text", "q") else _SAMPLES.get(name, "sample")
    return _numbered(sample, variant)


def _numbered(value: str, variant: int) -> str:
    return f"{value} {variant + 1}" if variant else value
