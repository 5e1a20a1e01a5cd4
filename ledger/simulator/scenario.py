"""Scenario files: what a simulator does beyond the magic names, read and checked."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .faults import FAULT_NAMES, Rule, parse_fault
from .routes import OPERATIONS
from .timeline import DURATIONS, Pace
from .webhook_settings import LONGEST_RETRY_SECONDS, WebhookSettings

_MOST_RETRIES = 100


class ScenarioError(ValueError):
    """A scenario is wrong: names the key, the value and what was expected."""

    def __init__(self, key: str, value: object, expected: str) -> None:
        super().__init__(f"scenario: {key} is {value!r}; expected {expected}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The settings of one simulator."""

    seed: int = 1
    speed: float = 1.0
    id_length: int | None = None
    poll_after_ms: int | None = None
    requests_per_minute: int | None = None
    durations: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[Rule, ...] = ()
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)

    @classmethod
    def from_mapping(cls, data: object) -> Scenario:
        """The scenario that a JSON or TOML document describes; ``ScenarioError`` if it is wrong."""
        table = _table("the document", data, _FIELDS)
        values = {key: check(key, table[key]) for key, check in _FIELDS.items() if key in table}
        return cls(**values)

    @property
    def pace(self) -> Pace:
        """How long things take in this scenario."""
        return Pace(self.seed, self.speed, {**DURATIONS, **self.durations})


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario file: TOML if its name ends so, else JSON."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise ScenarioError("the file", str(path), f"a readable file ({error.strerror})") from error
    except ValueError as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise ScenarioError("the file", str(path), f"valid {kind} ({error})") from error
    return Scenario.from_mapping(data)


def rules_from(data: object, key: str = "faults") -> tuple[Rule, ...]:
    """The fault rules of a list of tables; ``ScenarioError`` names the one that is wrong."""
    if not isinstance(data, list):
        raise ScenarioError(key, data, "a list of fault rules")
    return tuple(_rule(f"{key}[{index}]", item) for index, item in enumerate(data))


def _rule(key: str, item: object) -> Rule:
    table = _table(key, item, _RULE_FIELDS)
    checked = {name: _RULE_FIELDS[name](f"{key}.{name}", value) for name, value in table.items()}
    name = checked.pop("fault", None)
    retry_after = checked.pop("retry_after_s", None)
    try:
        fault = parse_fault(name or "", retry_after)
    except ValueError:
        raise ScenarioError(f"{key}.fault", name, f"one of {FAULT_NAMES}") from None
    return Rule(fault=fault, **checked)


def _table(key: str, data: object, known: Mapping[str, object]) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ScenarioError(key, data, "a table of settings")
    for name, value in data.items():
        if name not in known:
            raise ScenarioError(f"{key}: {name}", value, f"no such key; known: {', '.join(known)}")
    return data


def _number(low: float, high: float, *, above: bool = False) -> Callable[[str, Any], float]:
    words = f"a number {'above' if above else 'from'} {low:g} up to {high:g}"

    def check(key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ScenarioError(key, value, words)
        if not low <= value <= high or (above and value == low):
            raise ScenarioError(key, value, words)
        return float(value)

    return check


def _integer(low: int, high: int) -> Callable[[str, Any], int]:
    def check(key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ScenarioError(key, value, f"a whole number from {low} to {high}")
        return value

    return check


def _or_null(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda key, value: None if value is None else check(key, value)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ScenarioError(key, value, "a text that is not empty")
    return value


def _durations(key: str, value: Any) -> dict[str, float]:
    seconds = _number(0, 1e6)
    table = _table(key, value, DURATIONS)
    return {name: seconds(f"{key}.{name}", given) for name, given in table.items()}


def _operation(key: str, value: Any) -> str:
    pattern = _text(key, value)
    if not any(fnmatchcase(operation, pattern) for operation in OPERATIONS):
        raise ScenarioError(key, value, f"one of {', '.join(OPERATIONS)}, or a pattern such as *")
    return pattern


def _rules(key: str, value: Any) -> tuple[Rule, ...]:
    return rules_from(value, key)


def _waits(key: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) > _MOST_RETRIES:
        raise ScenarioError(key, value, f"a list of at most {_MOST_RETRIES} waits in seconds")
    seconds = _number(0, LONGEST_RETRY_SECONDS)
    waits = tuple(seconds(f"{key}[{index}]", one) for index, one in enumerate(value))
    if sum(waits) > LONGEST_RETRY_SECONDS:
        raise ScenarioError(key, value, f"{LONGEST_RETRY_SECONDS} s (72 hours) or less in all")
    return waits


def _webhooks(key: str, value: Any) -> WebhookSettings:
    table = _table(key, value, _WEBHOOK_FIELDS)
    checked = {name: _WEBHOOK_FIELDS[name](f"{key}.{name}", one) for name, one in table.items()}
    settings = WebhookSettings(**checked)
    slow = settings.delay_p99
    if slow is not None and not 0 < settings.delay <= slow:
        expected = f"a number from the delay ({settings.delay:g}) up, and that above 0"
        raise ScenarioError(f"{key}.delay_p99", slow, expected)
    return settings


_FIELDS: Mapping[str, Callable[[str, Any], Any]] = {
    "seed": _integer(-(2**63), 2**63 - 1),
    "speed": _number(0, 1e6, above=True),
    "id_length": _or_null(_integer(8, 512)),
    "poll_after_ms": _or_null(_integer(0, 3_600_000)),
    "requests_per_minute": _or_null(_integer(1, 10**9)),
    "durations": _durations,
    "faults": _rules,
    "webhooks": _webhooks,
}
_RULE_FIELDS: Mapping[str, Callable[[str, Any], Any]] = {
    "operation": _operation,
    "model": _text,
    "probability": _number(0, 1),
    "times": _or_null(_integer(0, 10**9)),
    "after": _integer(0, 10**9),
    "fault": _text,
    "retry_after_s": _or_null(_number(0, 1e6)),
}
_WEBHOOK_FIELDS: Mapping[str, Callable[[str, Any], Any]] = {
    "loss": _number(0, 1),
    "delay": _number(0, 1e6),
    "delay_p99": _number(0, 1e6),
    "duplicate": _number(0, 1),
    "reorder": _number(0, 1),
    "forged": _number(0, 100),
    "retry_seconds": _waits,
}
