"""The user's own redaction: what was observed, before any of it is written.

Upstream's words are read first, so nothing that is decided depends on what the hook leaves. The
arguments of tool calls stay as they came: a tool is run with them, also after a crash.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ledger.core.outcome import Failed, Found, Harvested, Observation, Observed, Outcome
from ledger.core.reading import BODY_BYTES_MAX
from ledger.core.results import has_messages
from ledger.errors import ConfigurationError, UpstreamError

Hook = Callable[[bytes], bytes]
log = logging.getLogger("runward")
HINT: Final = "redact names a function as module:function, importable from where the command runs"


class Redaction:
    """What a hook makes of outcomes. Without a hook, all stays as it is."""

    def __init__(self, hook: Hook | None = None) -> None:
        self._hook = hook

    @classmethod
    def load(cls, name: str | None) -> Redaction:
        """The hook of this name, `module:function`. Raises ConfigurationError if there is none."""
        if name is None:
            return cls()
        module, colon, function = name.partition(":")
        if not (module and colon and function):
            raise ConfigurationError(f"redact: {name!r} names no function", hint=HINT)
        if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds texts
            sys.path.insert(0, os.getcwd())  # noqa: PTH109
        try:
            hook = getattr(importlib.import_module(module), function, None)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            text = f"redact: the module {module!r} cannot be imported: {why}"
            raise ConfigurationError(text, hint=HINT) from None
        if not callable(hook):
            raise ConfigurationError(f"redact: {module!r} has no function {function!r}", hint=HINT)
        return cls(hook)

    def outcome(self, outcome: Outcome) -> Outcome:
        """The outcome with every observed body redacted."""
        if self._hook is None:
            return outcome
        match outcome:
            case Observed(observation=seen):
                return replace(outcome, observation=self._observation(seen))
            case Found(observations=found):
                return replace(outcome, observations=tuple(map(self._observation, found)))
            case Harvested(body=body):
                told = has_messages(body) if outcome.has_messages is None else outcome.has_messages
                return replace(outcome, body=self.body(body), has_messages=told)
            case Failed(reply=reply):
                kept = None if reply.body is None else self.body(reply.body)
                message = self.text(outcome.message)
                return replace(outcome, message=message, reply=replace(reply, body=kept))
            case _:
                return outcome

    def error(self, error: UpstreamError | None) -> UpstreamError | None:
        """The error, fit for a log."""
        if self._hook is None or error is None:
            return error
        kept = None if error.reply.body is None else self.body(error.reply.body)
        return type(error)(self.text(error.message), reply=replace(error.reply, body=kept))

    def _observation(self, seen: Observation) -> Observation:
        return replace(
            seen,
            body=self.body(seen.body),
            last_error=None if seen.last_error is None else self.body(seen.last_error),
            error_message=None if seen.error_message is None else self.text(seen.error_message),
        )

    def text(self, text: str) -> str:
        """A piece of text out of a body, redacted by itself."""
        return self.body(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    def body(self, body: bytes) -> bytes:
        """What the hook makes of bytes; where it fails, words that say so, and none of them."""
        if self._hook is None:
            return body
        try:
            made = self._hook(body)
        except (Exception, SystemExit) as error:
            return _failed(type(error).__name__)
        # An instance of a subclass could be anything once it is written.
        if type(made) is not bytes:
            return _failed(f"returned {type(made).__name__}, not bytes")
        if len(made) > BODY_BYTES_MAX:
            return _failed(f"returned more than {BODY_BYTES_MAX} bytes")
        return made


def _failed(why: str) -> bytes:
    log.error("the redact hook failed (%s); the body was left out", why)
    return json.dumps(
        {"runward": "the redact hook failed; the body was left out", "error": why}
    ).encode()
