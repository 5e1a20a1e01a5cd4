"""Checks of what a request brings, refused in the words of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import bodies
from .refusals import Refusal
from .talk import functions_in
from .world import Item

_MOST_PAIRS, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512
_DEFAULT_LIMIT, _MOST_LISTED = 20, 100


def metadata_of(body: Mapping[str, Any]) -> Item:
    """The metadata of a request within its bounds: 16 pairs, keys of 64, values of 512."""
    metadata = body.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise invalid("metadata", "invalid_type", "expected an object")
    if len(metadata) > _MOST_PAIRS:
        problem = f"expected at most {_MOST_PAIRS} properties, but got {len(metadata)}"
        raise invalid("metadata", "object_above_max_properties", problem)
    for key, value in metadata.items():
        _check_pair(key, value)
    return metadata


def _check_pair(key: str, value: object) -> None:
    if len(key) > _LONGEST_KEY:
        problem = f"expected a key of at most {_LONGEST_KEY} characters, but got {len(key)}"
        raise invalid("metadata", "string_above_max_length", problem)
    if not isinstance(value, str):
        raise invalid(f"metadata.{key}", "invalid_type", "expected a string")
    if len(value) > _LONGEST_VALUE:
        problem = f"expected at most {_LONGEST_VALUE} characters, but got {len(value)}"
        raise invalid(f"metadata.{key}", "string_above_max_length", problem)


def required_text(body: Mapping[str, Any], name: str) -> str:
    """A text that a request must bring."""
    value = body.get(name)
    if value is None:
        raise Refusal(
            400,
            f"Missing required parameter: '{name}'.",
            code="missing_required_parameter",
            param=name,
        )
    if not isinstance(value, str):
        raise invalid(name, "invalid_type", "expected a string")
    return value


def list_of(body: Mapping[str, Any], name: str) -> list[Item]:
    """A list of objects that a request may bring."""
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(name, "invalid_type", "expected an array of objects")
    return value


def tools_in(body: Mapping[str, Any]) -> list[Item]:
    """The tools that a request declares; each function must have a name."""
    tools = list_of(body, "tools")
    for function in functions_in(tools):
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise invalid("tools", "invalid_type", "expected a name for each function")
    return tools


def refuse_unsupported(body: Mapping[str, Any], *names: str) -> None:
    """Say plainly what the simulator does not do, rather than do something else."""
    for name in names:
        if body.get(name):
            raise Refusal(400, f"The simulator does not support '{name}'.", param=name)


def page(items: Sequence[Item], options: Mapping[str, str]) -> Item:
    """One page of a list, newest first unless asked otherwise; items come oldest first."""
    ordered = list(items) if options.get("order") == "asc" else list(reversed(items))
    ids = [item["id"] for item in ordered]
    if after := options.get("after"):
        ordered = ordered[_place(ids, after) + 1 :]
    elif before := options.get("before"):
        ordered = ordered[: _place(ids, before)]
    limit = _limit(options.get("limit"))
    return bodies.listing(ordered[:limit], len(ordered) > limit)


def _place(ids: list[str], object_id: str) -> int:
    if object_id not in ids:
        raise Refusal(400, f"No object found with id '{object_id}'.")
    return ids.index(object_id)


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_LIMIT
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_LISTED:
        raise invalid("limit", "invalid_value", f"expected a number from 1 to {_MOST_LISTED}")
    return int(text)


def invalid(param: str, code: str, problem: str) -> Refusal:
    """The 400 of a parameter that is not as it must be."""
    return Refusal(400, f"Invalid '{param}': {problem}.", code=code, param=param)
