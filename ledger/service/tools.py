"""Tools: Python functions that the model may ask for, run exactly as often as they should."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, overload

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError

from ledger.core.alphabet import OnUnknownOutcome
from ledger.core.outcome import error_output
from ledger.core.policy import parse_word
from ledger.core.redaction import redact_text
from ledger.core.steps import ToolSpec
from ledger.errors import ConfigurationError, InvalidInput
from ledger.service.handlers import Handler
from ledger.service.threads import in_thread

TIMEOUT_SECONDS: Final = 60.0
TIMEOUT_SECONDS_MAX: Final = 3_600.0
OUTPUT_BYTES_MAX: Final = 1_048_576
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """What a tool may know of the call that it answers. `key` survives crashes and restarts: hand
    it to whatever the tool calls as an idempotency key."""

    key: str
    call_id: str
    tool: str
    run_id: int
    run_key: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Result:
    """What goes back to the model."""

    output: bytes
    is_error: bool = False


class Tool:
    """A function with a name, a signature that arguments are checked against, and its promises."""

    def __init__(self, function: Callable[..., Any], spec: ToolSpec) -> None:
        self.function = function
        self.spec = spec
        self._model, self._wants_call = _arguments_model(function, spec.name)
        self._is_async = inspect.iscoroutinefunction(function)

    @property
    def name(self) -> str:
        """The name that the model uses."""
        return self.spec.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it were not decorated."""
        return self.function(*args, **kwargs)

    def declaration(self, provider: str) -> dict[str, Any]:
        """What to put into a request's `tools` for `responses` or `assistants`."""
        function = {
            "name": self.name,
            "description": inspect.getdoc(self.function) or "",
            "parameters": self._model.model_json_schema(),
        }
        if provider == "responses":
            return {"type": "function", "strict": False, **function}
        return {"type": "function", "function": function}

    async def run(
        self, arguments: bytes, call: ToolCall, *, after: Callable[[], None] | None = None
    ) -> Result:
        """Run the function. Whatever goes wrong becomes an output that the model sees.

        With `after` it runs in a thread of its own, which calls that at the end: a coroutine too,
        since what blocks in it must not block the loop that keeps this life alive.
        """
        try:
            values = self._check(arguments)
        except ValueError as error:
            return _problem("invalid_arguments", str(error))
        if self._wants_call:
            values["call"] = call
        try:
            async with asyncio.timeout(self.spec.timeout_seconds):
                return _output(await self._call(values, after))
        except TimeoutError:
            return _problem("timeout", f"no result after {self.spec.timeout_seconds:g} s")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return _problem("cancelled", "something inside the tool was cancelled")
        except (Exception, SystemExit) as error:
            # A tool that calls sys.exit must not end the daemon.
            return _problem(type(error).__name__, str(error))

    async def _call(self, values: dict[str, Any], after: Callable[[], None] | None) -> Any:
        if after is not None:
            return await in_thread(lambda: self._apart(values, after))
        if self._is_async:
            return await self.function(**values)
        return await in_thread(lambda: self.function(**values))

    def _apart(self, values: dict[str, Any], after: Callable[[], None]) -> Any:
        try:
            made = self.function(**values)
            return asyncio.run(made) if self._is_async else made
        finally:
            after()

    def _check(self, arguments: bytes) -> dict[str, Any]:
        try:
            model = self._model.model_validate_json(arguments or b"{}", strict=True)
        except ValidationError as error:
            wrong = [
                f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}"
                for item in error.errors(include_url=False, include_input=False)
            ]
            raise ValueError("; ".join(wrong[:10])) from None
        return {name: getattr(model, name) for name in type(model).model_fields}


def _arguments_model(function: Callable[..., Any], name: str) -> tuple[type[BaseModel], bool]:
    fields: dict[str, Any] = {}
    wants_call = False
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if parameter.name == "call":
            wants_call = True
            continue
        if parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
            parameter.POSITIONAL_ONLY,
        ):
            raise ConfigurationError(
                f"tool {name!r}: parameter {parameter.name!r} must be a named one"
            )
        kind = Any if parameter.annotation is parameter.empty else parameter.annotation
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (kind, default)
    try:
        model = create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
    except PydanticUserError as error:
        raise ConfigurationError(f"tool {name!r}: {error.message}") from None
    return model, wants_call


def _output(value: Any) -> Result:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    body = text.encode("utf-8", "replace")
    if len(body) > OUTPUT_BYTES_MAX:
        return _problem("output_too_large", f"{len(body)} bytes; the limit is {OUTPUT_BYTES_MAX}")
    return Result(body)


def _problem(kind: str, message: str) -> Result:
    """An error as the model sees it: no traceback, no credential."""
    return Result(error_output(kind, redact_text(message)[:2_000]), is_error=True)


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...


@overload
def tool(
    *,
    idempotent: bool = ...,
    transactional: bool = ...,
    requires_approval: bool = ...,
    on_unknown_outcome: str | None = ...,
    timeout_seconds: float = ...,
    name: str | None = ...,
) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    idempotent: bool = False,
    transactional: bool = False,
    requires_approval: bool = False,
    on_unknown_outcome: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    name: str | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function a tool.

    `idempotent=True` says that running it twice with one `call.key` is harmless. A `transactional`
    one has no effect but what it hands to `call.write`, which happens exactly once. Either is run
    again after a crash in the middle; for any other, `on_unknown_outcome` says what then becomes of
    the call (hold, error_output, rerun; by default what the run says). With `requires_approval` no
    call runs before a person has approved it. A parameter named `call` receives the ToolCall.
    Raises ConfigurationError for a signature, name, word or timeout (seconds) that cannot work.
    """

    def make(wrapped: Callable[..., Any]) -> Tool:
        chosen = name or wrapped.__name__
        spec = ToolSpec(
            name=chosen,
            idempotent=idempotent,
            timeout_seconds=timeout_seconds,
            transactional=transactional,
            requires_approval=requires_approval,
            on_unknown_outcome=_unknown_outcome(chosen, on_unknown_outcome),
        )
        if not NAME.fullmatch(chosen):
            raise ConfigurationError(
                f"{chosen!r} cannot name a tool: letters, digits, _ and - only"
            )
        if not 0 < timeout_seconds <= TIMEOUT_SECONDS_MAX:
            raise ConfigurationError(f"tool {chosen!r}: timeout_seconds must be within (0, 3600]")
        return Tool(wrapped, spec)

    return make if function is None else make(function)


def _unknown_outcome(name: str, text: str | None) -> OnUnknownOutcome | None:
    try:
        return (
            None if text is None else parse_word("on_unknown_outcome", OnUnknownOutcome, str(text))
        )
    except InvalidInput as error:
        raise ConfigurationError(f"tool {name!r}: {error.message}") from None


class Toolbox:
    """The tools at hand in one process, and the handlers that are told what happened."""

    def __init__(self, tools: Iterable[Tool | Handler] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        self.handlers: dict[str, Handler] = {}
        for item in tools:
            if isinstance(item, Handler):
                self.handle(item)
                continue
            if item.name in self._tools and self._tools[item.name] is not item:
                raise ConfigurationError(f"two tools are named {item.name!r}")
            self._tools[item.name] = item
        self.specs: Mapping[str, ToolSpec] = {item.name: item.spec for item in self._tools.values()}

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __iter__(self) -> Any:
        return iter(self._tools.values())

    def handle(self, handler: Handler) -> None:
        """Take one more handler. Raises ConfigurationError for another one of the same name."""
        known = self.handlers.get(handler.name)
        if known is not None and known.function is not handler.function:
            raise ConfigurationError(
                f"two handlers are named {handler.name}",
                hint="the name is what a handler's place in the log is kept under: rename one",
            )
        self.handlers[handler.name] = handler

    @classmethod
    def load(cls, module: str | None) -> Toolbox:
        """The tools and handlers of a module, or none. Raises ConfigurationError if it cannot be
        imported, or has neither."""
        if module is None:
            return cls()
        if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds texts
            sys.path.insert(0, os.getcwd())  # noqa: PTH109
        try:
            loaded = importlib.import_module(module)
        except Exception as error:
            raise ConfigurationError(
                f"the tools module {module!r} cannot be imported: {type(error).__name__}: {error}",
                hint="it must be importable from where the command runs; set PYTHONPATH if need be",
            ) from None
        found = [value for value in vars(loaded).values() if isinstance(value, Tool | Handler)]
        if not found:
            raise ConfigurationError(f"{module!r} has no function marked with @tool or @on")
        return cls(found)
