"""JSON as callers write it: parsed, copied into plain types, and without literal secrets. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from ledger.core.redaction import looks_secret
from ledger.errors import InvalidInput, SecretInRequest

REQUEST_BYTES_MAX: Final = 10_000_000
DEPTH_MAX: Final = 100

SEALED: Final = "$secret"
REMEDY: Final = 'write {"$secret": "env:NAME"} in its place; NAME is read when the request is sent'

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SECRET: Final = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_SECRET_NAMES: Final = frozenset(
    {"authorization", "proxyauthorization", "apikey", "xapikey", "token", "accesstoken"}
    | {"password", "secret", "clientsecret"}
)


def parse_json_request(text: bytes) -> Any:
    """The JSON value in `text`. Raises InvalidInput with the line and the column of a mistake."""
    if len(text) > REQUEST_BYTES_MAX:
        raise InvalidInput(
            f"the request has {len(text)} bytes; at most {REQUEST_BYTES_MAX} are taken:"
            " upload large files and refer to them by id"
        )
    try:
        return json.loads(text.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"the request is not UTF-8: byte {error.start} cannot be read; save it as UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"the request is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise InvalidInput(f"the request is nested deeper than {DEPTH_MAX} levels") from None
    except ValueError:
        raise InvalidInput("the request has a number with too many digits") from None


def secret_variable(value: Mapping[str, Any]) -> str:
    """The variable that {"$secret": "env:NAME"} names. Raises InvalidInput if it is malformed."""
    named = value[SEALED]
    match = _SECRET.fullmatch(named) if isinstance(named, str) else None
    if match is None or len(value) != 1:
        raise InvalidInput(
            'a secret is written {"$secret": "env:NAME"}, alone in its object;'
            " NAME is the name of a variable: letters, digits and _"
        )
    return match[1]


def judge_size(request: dict[str, Any]) -> None:
    """Raises InvalidInput where the request is larger than the ledger takes."""
    try:
        size = len(json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode())
    except ValueError:
        raise InvalidInput("the request has a number with too many digits") from None
    if size > REQUEST_BYTES_MAX:
        raise InvalidInput(
            f"the request is {size} bytes of JSON; at most {REQUEST_BYTES_MAX} are taken:"
            " upload large files and refer to them by id"
        )


def plain_json(value: Any, path: str, depth: int, name: str = "") -> Any:
    """A deep copy in plain JSON types. `name` is the key that the value stands under."""
    if depth > DEPTH_MAX:
        raise InvalidInput(f"the request is nested deeper than {DEPTH_MAX} levels, at {_at(path)}")
    if isinstance(value, str):
        return _plain_text(value, path, name)
    if isinstance(value, Mapping):
        return _plain_object(value, path, depth)
    if isinstance(value, list | tuple):
        return [plain_json(item, f"{path}[{n}]", depth + 1, name) for n, item in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise InvalidInput(f"{_at(path)} is {named(value)}, which JSON cannot carry")


def _plain_object(value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
    if SEALED in value:
        try:
            return {SEALED: f"env:{secret_variable(value)}"}
        except InvalidInput as error:
            raise InvalidInput(f"{_at(path)}: {error.message}") from None
    copy: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise InvalidInput(f"{_at(path)} has a key that is no text: {named(key)}")
        if _SURROGATE.search(key) or "\x00" in key:
            raise InvalidInput(f"{_at(path)} has a key that cannot be sent: {key[:40]!a}")
        if looks_secret(key):
            raise SecretInRequest(f"{_at(path)} has a secret as a key", hint=REMEDY)
        name = str.__str__(key)
        copy[name] = plain_json(item, f"{path}.{name}" if path else name, depth + 1, name)
    return copy


def _plain_text(value: str, path: str, name: str) -> str:
    if found := _SURROGATE.search(value):
        raise InvalidInput(
            f"{_at(path)} holds half of a surrogate pair (U+{ord(found[0]):04X}) at place"
            f" {found.start() + 1}, which cannot be sent as UTF-8; repair the text"
        )
    bare = name.lower().replace("-", "").replace("_", "")
    if (value and bare in _SECRET_NAMES) or looks_secret(value):
        raise SecretInRequest(
            f"{_at(path)} holds a literal secret, and the request is stored as it is", hint=REMEDY
        )
    return str.__str__(value)


def _at(path: str) -> str:
    return f"{path[:120]}…" if len(path) > 120 else path or "the request"


def _refuse_constant(name: str) -> None:
    raise InvalidInput(f"the request holds {name}, which is not JSON; use null or a number")


def named(value: object) -> str:
    """What a value is, in words for its writer."""
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return names.get(type(value), f"a value of type {type(value).__name__}")
