"""Judges a reply by the OpenAPI document: which schema is due, and what is wrong with it."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

SHARED = Path(os.environ.get("RUNWARD_SHARED") or Path(__file__).parents[2].parent / "shared")
DOCUMENT = SHARED / "openapi" / "openai.json"


@cache
def document() -> Any:
    return _nullable(json.loads(DOCUMENT.read_text()))


@cache
def _alarms() -> Any:
    return json.loads((SHARED / "openapi" / "known_false_alarms.json").read_text())


def _nullable(node: Any) -> Any:
    """Say in words of JSON Schema what the document says as `nullable: true`."""
    if isinstance(node, list):
        return [_nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    fixed = {key: _nullable(value) for key, value in node.items() if key != "nullable"}
    return {"anyOf": [fixed, {"type": "null"}]} if node.get("nullable") is True and fixed else fixed


@cache
def template_of(method: str, path: str) -> str:
    """The path template of the document that a request's path fits; literal ones first."""
    for template in sorted(document()["paths"], key=lambda text: text.count("{")):
        pattern = re.sub(r"\{\w+\}", "[^/]+", template)
        if re.fullmatch(pattern, path) and method.lower() in document()["paths"][template]:
            return template
    raise LookupError(f"the document has no {method} {path}")


@cache
def _validator(template: str, method: str, status: int) -> jsonschema.Draft202012Validator | None:
    if status >= 400:
        schema: Any = {"$ref": "#/components/schemas/ErrorResponse"}
    else:
        replies = document()["paths"][template][method.lower()]["responses"]
        content = replies[str(status)].get("content")
        if content is None:
            return None
        schema = content["application/json"]["schema"]
    whole = {**schema, "components": document()["components"]}
    return jsonschema.Draft202012Validator(whole)


def problems(method: str, path: str, status: int, body: Any) -> list[str]:
    """What the document holds against a reply, apart from its own known faults."""
    template = template_of(method, path)
    validator = _validator(template, method, status)
    if validator is None:
        return []
    found = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]
    return [text for text in found if not _is_false_alarm(template, text)]


def _is_false_alarm(template: str, text: str) -> bool:
    return any(
        alarm["op"] in template and re.search(alarm["msg"], text) is not None for alarm in _alarms()
    )
