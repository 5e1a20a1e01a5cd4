"""The caller's request, judged at the edge before anything is written. Pure: no I/O.

Limits of metadata and the required fields: openai-python 3.52.0 `types/shared/metadata.py`,
`types/responses/response_create_params.py`, `types/beta/threads/run_create_params.py`. The other
limits are ours, and bound what a caller can make the ledger keep.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ledger.core.families import FAMILIES
from ledger.core.plain_json import judge_size, named, plain_json
from ledger.core.reading import MARKER_KEY
from ledger.errors import InvalidInput

PAIRS_MAX: Final = 15
PAIR_KEY_MAX: Final = 64
PAIR_VALUE_MAX: Final = 512
ID_CHARS_MAX: Final = 1000
KEY_CHARS_MAX: Final = 256
TAGS_MAX: Final = 32
TAG_VALUE_MAX: Final = 256
NAME_CHARS_MAX: Final = 256


_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TAG_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SAYS_STORED: Final = "runward always sends it as true, because a run that is not kept upstream"
_FIXED: Final = {
    "background": f"{_SAYS_STORED} in the background cannot be taken up again after a crash",
    "store": f"{_SAYS_STORED} cannot be read again after a crash",
}


def judge_request(provider: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The request in its canonical form: a copy in plain JSON types, aliases resolved.

    Raises InvalidInput, or SecretInRequest for a literal secret; the text never holds the secret.
    """
    judge_provider(provider)
    if not isinstance(request, Mapping):
        raise InvalidInput(f"a request is a JSON object, not {named(request)}")
    plain: dict[str, Any] = plain_json(request, "", 0)
    judge_size(plain)
    if plain.get("stream"):
        raise InvalidInput(
            "`stream` cannot be used: the ledger reads the finished object, and a stream would end"
            " with the process that opened it; leave it out and follow with `runward watch`"
        )
    plain.pop("stream", None)
    judged = _judge_responses(plain) if provider == "responses" else _judge_assistants(plain)
    if judged.get("model") is not None:
        judge_name("model", judged["model"])
    _judge_metadata(judged)
    _judge_tools(judged.get("tools"))
    return judged


def assistant_of(request: Mapping[str, Any]) -> str | None:
    """The assistant, or the stored prompt, that a request names: its runs are alike."""
    prompt = request.get("prompt")
    named = prompt.get("id") if isinstance(prompt, Mapping) else None
    found = request.get("assistant_id") or named
    return found[:NAME_CHARS_MAX] if isinstance(found, str) and found else None


def _judge_tools(tools: object) -> None:
    """What else a tool holds is upstream's to judge: servers differ."""
    if tools is None:
        return
    if not isinstance(tools, list):
        raise InvalidInput(f"`tools` is a list of tool objects, not {named(tools)}")
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise InvalidInput(f"`tools[{index}]` is an object, not {named(tool)}")


def judge_provider(provider: object) -> None:
    """One of the known families. Raises InvalidInput."""
    if not isinstance(provider, str) or provider not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise InvalidInput(f"there is no provider {str(provider)[:40]!r}; known: {known}")


def judge_key(key: object) -> str:
    """A run's key: 1 to 256 characters, none of them a control character, not only blanks."""
    return _judge_text("the key", key, KEY_CHARS_MAX)


def judge_number(field: str, value: object) -> int:
    """A number of a row: whole, not negative, and one that a database can hold."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(f"`{field}` is a whole number, not {named(value)}")
    if not 0 <= value < 2**63:
        raise InvalidInput(f"`{field}` is a number from 0 to {2**63 - 1}")
    return value


def judge_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    """At most 32 tags: names of letters, digits and `_.-` up to 64, values up to 256 characters."""
    if not isinstance(tags, Mapping):
        raise InvalidInput(f"tags are pairs of name and value, not {named(tags)}")
    if len(tags) > TAGS_MAX:
        raise InvalidInput(f"there are {len(tags)} tags; at most {TAGS_MAX} are taken")
    for name, value in tags.items():
        if not isinstance(name, str) or not _TAG_NAME.fullmatch(name):
            raise InvalidInput(
                f"{str(name)[:80]!r} is no name of a tag: use 1 to 64 of a-z, A-Z, 0-9 and _ . -"
            )
        if value != "":
            _judge_text(f"the value of tag {name!r}", value, TAG_VALUE_MAX, blank=True)
    return {str.__str__(name): str.__str__(value) for name, value in tags.items()}


def judge_name(field: str, value: object, *, longest: int = NAME_CHARS_MAX) -> str:
    """A name such as a model's: 1 to `longest` printable characters."""
    name = _judge_text(f"`{field}`", value, longest)
    if not name.isprintable():
        raise InvalidInput(f"`{field}` holds characters that cannot be printed")
    return name


def judge_id(field: str, value: object) -> str:
    """An upstream id: opaque, 1 to 1000 characters, and nothing that could change a path."""
    name = _judge_text(f"`{field}`", value, ID_CHARS_MAX)
    dots = name.lower().replace("%2e", ".")
    if any(sign in name for sign in "/\\?#") or ".." in dots or dots == ".":
        raise InvalidInput(
            f"`{field}` is an id, and would become a part of an address:"
            " / \\ ? # and .. cannot be in it; give the id alone, not a URL"
        )
    return name


def _judge_responses(request: dict[str, Any]) -> dict[str, Any]:
    for field, why in _FIXED.items():
        if request.pop(field, None) not in (None, True):
            raise InvalidInput(f"`{field}` cannot be turned off: {why}; leave it out")
    prompted = request.get("prompt") is not None
    if request.get("model") is None and not prompted:
        raise InvalidInput("a response needs `model` (or a stored `prompt` that names one)")
    given = request.get("input")
    if given is None and not prompted:
        raise InvalidInput("a response needs `input`: a text, or a list of items")
    if given is not None and not isinstance(given, str | list):
        raise InvalidInput(f"`input` is a text or a list of items, not {named(given)}")
    if request.get("previous_response_id") is not None:
        judge_id("previous_response_id", request["previous_response_id"])
    if isinstance(request.get("conversation"), str):
        judge_id("conversation", request["conversation"])
    return request


def _judge_assistants(request: dict[str, Any]) -> dict[str, Any]:
    for alias, field in (("assistant", "assistant_id"), ("thread", "thread_id")):
        _rename(request, alias, field)
    if isinstance(request.get("input"), str):
        request["input"] = [{"role": "user", "content": request["input"]}]
    for alias in ("input", "additional_messages"):
        _rename(request, alias, "messages")
    if request.get("assistant_id") is None:
        raise InvalidInput("a thread run needs `assistant_id`")
    judge_id("assistant_id", request["assistant_id"])
    if request.get("thread_id") is not None:
        judge_id("thread_id", request["thread_id"])
    elif not request.get("messages"):
        raise InvalidInput(
            "a thread run needs `thread_id`, or `messages` (or `input`) for a new thread"
        )
    _judge_messages(request.get("messages"))
    return {name: value for name, value in request.items() if value is not None}


def _rename(request: dict[str, Any], alias: str, field: str) -> None:
    given = request.pop(alias, None)
    if given is None:
        return
    if request.get(field) is not None:
        raise InvalidInput(f"`{alias}` and `{field}` mean the same; give one of them")
    request[field] = given


def _judge_messages(messages: object) -> None:
    if messages is None:
        return
    if not isinstance(messages, list):
        raise InvalidInput(f"`messages` is a list of messages, not {named(messages)}")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise InvalidInput(f"messages[{place}] must be an object with `role` and `content`")


def _judge_metadata(request: dict[str, Any]) -> None:
    metadata = request.get("metadata")
    if metadata is None:
        request.pop("metadata", None)
        return
    if not isinstance(metadata, dict):
        raise InvalidInput(f"`metadata` is an object of texts, not {named(metadata)}")
    if MARKER_KEY in metadata:
        raise InvalidInput(f"the metadata key {MARKER_KEY!r} is runward's own: rename yours")
    if len(metadata) > PAIRS_MAX:
        raise InvalidInput(
            f"`metadata` has {len(metadata)} pairs; at most {PAIRS_MAX} are taken: upstream allows"
            " 16, and the sixteenth is the mark by which runward finds the object again"
        )
    for key, value in metadata.items():
        _judge_text("a key of `metadata`", key, PAIR_KEY_MAX)
        if not isinstance(value, str):
            raise InvalidInput(f"metadata[{key!r}] must be a text, not {named(value)}")
        if len(value) > PAIR_VALUE_MAX:
            raise InvalidInput(
                f"metadata[{key!r}] has {len(value)} characters; at most {PAIR_VALUE_MAX} are taken"
            )


def _judge_text(what: str, value: object, longest: int, *, blank: bool = False) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{what} must be a text, not {named(value)}")
    if not blank and not value.strip():
        raise InvalidInput(f"{what} is empty")
    if len(value) > longest:
        raise InvalidInput(f"{what} has {len(value)} characters; at most {longest} are taken")
    if found := _CONTROL.search(value):
        raise InvalidInput(
            f"{what} holds the character U+{ord(found[0]):04X} at place {found.start() + 1}:"
            " control characters and lone surrogates cannot be stored"
        )
    return str.__str__(value)


def usable_id(object_id: str) -> bool:
    """Whether an id can be sent and stored; `.` and `..` change the path even when escaped."""
    dots = object_id.lower().replace("%2e", ".") in (".", "..")
    return 0 < len(object_id) <= ID_CHARS_MAX and object_id.isprintable() and not dots
