"""A reply with a 2xx status: redacted, and believed only after it has been judged."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from ledger.core.alphabet import RemoteKind
from ledger.core.intent import Address
from ledger.core.limits import read_limits
from ledger.core.outcome import Observation
from ledger.core.reading import parse_json, read_object
from ledger.core.request import usable_id
from ledger.errors import MalformedReply, Reply, RequestRefused, RunwardError
from ledger.providers.replies import (
    BODY_BYTES_KEPT,
    Answer,
    Redact,
    clean_text,
    poll_after_seconds,
    request_id,
)

PLAIN: Final = re.compile(r"\w{1,200}", re.ASCII)
"""The ids that upstream makes: nothing in them is odd, and looks ask by the thousand."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `after` leads to the next, None ends it."""

    items: list[dict[str, Any]]
    after: str | None


class Exchange:
    """What came back from one call."""

    def __init__(self, operation: str, answer: Answer, redact: Redact) -> None:
        self.body = redact(answer.body)
        self._operation = operation
        self._status = answer.status
        self._headers = answer.headers

    def observation(self, address: Address, *, created: bool = False) -> Observation:
        """The object that was made or asked for.

        Raises MalformedReply, with the reply attached, when it cannot be read, is about another
        object, or brings no id although it answers a create.
        """
        try:
            self._judge_type()
            seen = read_object(
                address.kind,
                self.body,
                request_id=request_id(self._headers),
                poll_after_seconds=poll_after_seconds(self._headers),
                limits=read_limits(self._headers.get),
            )
            _judge(seen, address, created=created)
        except Exception as error:
            raise self._unreadable(error) from error
        return seen

    def page(self) -> Page:
        """One page of a list (`data`, `has_more`, ids as cursors). Raises MalformedReply."""
        try:
            self._judge_type()
            return _read_page(parse_json(self.body))
        except Exception as error:
            raise self._unreadable(error) from error

    def _judge_type(self) -> None:
        if self._headers.get("content-type", "").lower().startswith("text/html"):
            raise MalformedReply("the reply is a web page")

    def _unreadable(self, error: Exception) -> MalformedReply:
        why = error.message if isinstance(error, RunwardError) else type(error).__name__
        text = clean_text(f"{self._operation}: {why}", 500)
        return MalformedReply(text, reply=self._reply())

    def _reply(self) -> Reply:
        return Reply(
            status=self._status,
            request_id=request_id(self._headers),
            body=self.body[:BODY_BYTES_KEPT],
            limits=read_limits(self._headers.get),
        )


def read_listed(item: dict[str, Any], address: Address) -> Observation:
    """One object of a list that has our marker. Raises MalformedReply, as for a create."""
    try:
        seen = read_object(address.kind, json.dumps(item).encode())
        _judge(seen, address, created=True)
    except Exception as error:
        why = error.message if isinstance(error, RunwardError) else type(error).__name__
        raise MalformedReply(f"an object in the list cannot be read: {why}") from error
    return seen


def _judge(seen: Observation, address: Address, *, created: bool) -> None:
    if created and seen.remote_id is None:
        raise MalformedReply("what was made has no id")
    if seen.remote_id is None and seen.status is None:
        raise MalformedReply("the reply describes nothing: it has neither id nor status")
    if seen.remote_id is not None and not usable_id(seen.remote_id):
        raise MalformedReply("the reply has an id that cannot be part of an address")
    if not created and seen.remote_id not in (None, address.remote_id):
        raise MalformedReply("the reply is about another object than the one asked for")
    if address.kind is RemoteKind.thread_run and seen.parent_id not in (None, address.parent_id):
        raise MalformedReply("the reply is about a run on another thread")
    if created and seen.marker not in (None, address.marker):
        raise MalformedReply("what was made carries the marker of another create")


def _read_page(value: Any) -> Page:
    items = value.get("data") if isinstance(value, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise MalformedReply("the reply is not a list of objects")
    if not value.get("has_more") or not items:
        return Page(items, None)
    last = items[-1].get("id")
    if not isinstance(last, str) or not last:
        raise MalformedReply("the list goes on, but its last object has no id")
    return Page(items, last)


def segment(object_id: str) -> str:
    """An id as one segment of a path (RFC 3986 section 3.3).

    Raises RequestRefused for one that no path can carry.
    """
    if PLAIN.fullmatch(object_id):
        return object_id
    if not usable_id(object_id):
        raise RequestRefused(f"the id {object_id[:40]!r} cannot be part of an address")
    return quote(object_id, safe="")
