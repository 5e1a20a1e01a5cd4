"""What a caller may choose about a run, bounded at the edge and kept with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from ledger.core.alphabet import Effects, LateApproval, OnUnknownOutcome, State
from ledger.errors import InvalidInput

RESTARTS_MAX: Final = 20
RECREATES_MAX: Final = 5
DEADLINE_SECONDS_MAX: Final = 30 * 86_400.0
DEADLINE_SECONDS: Final = 86_400.0
SETTLE_SECONDS: Final = 30.0
SETTLE_SECONDS_MAX: Final = 3_600.0
RESTART_DELAY_SECONDS_MAX: Final = 7 * 86_400.0
RESTART_BACKOFF_MAX: Final = 100.0
TOKENS_MAX: Final = 10**12
UNKNOWN_PRICE: Final = "on_unknown=fail may waste one paid run, recreate=N may pay for N+1"
"""What each answer to a create of unknown outcome can cost."""
RESTARTABLE: Final = frozenset({State.expired, State.failed, State.incomplete})
Word = TypeVar("Word", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class RestartRule:
    """Restart attempts that end in `outcome` (with `code`, if given), at most `count` times."""

    outcome: State
    code: str | None
    count: int

    def matches(self, outcome: State, code: str | None) -> bool:
        """Whether an attempt that ended so falls under this rule."""
        return outcome == self.outcome and self.code in (None, code)

    def __str__(self) -> str:
        return f"{self.outcome}{':' + self.code if self.code else ''}={self.count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Restart, effects, ambiguous creates, deadline, settle window and polling of one run, and
    whether its request is erased at its end."""

    restart: tuple[RestartRule, ...] = (RestartRule(State.expired, None, 2),)
    effects: Effects = Effects.hold
    recreate: int = 0
    deadline_seconds: float = DEADLINE_SECONDS
    settle_seconds: float = SETTLE_SECONDS
    poll_seconds: float | None = None
    on_unknown_outcome: OnUnknownOutcome = OnUnknownOutcome.hold
    late_approval: LateApproval = LateApproval.refuse
    forget_request: bool = False
    restart_delay_seconds: float = 0.0
    restart_backoff: float = 2.0
    restart_delay_max_seconds: float = 600.0
    restart_max_tokens: int | None = None
    result_retention_seconds: float | None = None
    """So long upstream keeps what is over; None where it keeps it for good."""

    def restart_wait_seconds(self, restarts: int) -> float:
        """How long a restart waits that follows so many by policy; without chance in it."""
        if not self.restart_delay_seconds:
            return 0.0
        grown = self.restart_delay_seconds * self.restart_backoff ** min(restarts, RESTARTS_MAX)
        return min(grown, self.restart_delay_max_seconds)

    def restart_rule(self, outcome: State, code: str | None) -> RestartRule | None:
        """The first rule for an attempt that ended so; the most specific come first."""
        found = [rule for rule in self.restart if rule.matches(outcome, code)]
        return min(found, key=lambda rule: rule.code is None) if found else None

    def as_json(self) -> dict[str, Any]:
        """Plain values for the database and for `show -o json`."""
        return {
            "restart": [str(rule) for rule in self.restart],
            "effects": str(self.effects),
            "on_unknown": f"recreate={self.recreate}" if self.recreate else "fail",
            "deadline_seconds": self.deadline_seconds,
            "settle_seconds": self.settle_seconds,
            "poll_seconds": self.poll_seconds,
            "on_unknown_outcome": str(self.on_unknown_outcome),
            "late_approval": str(self.late_approval),
            "forget_request": self.forget_request,
            "restart_delay_seconds": self.restart_delay_seconds,
            "restart_backoff": self.restart_backoff,
            "restart_delay_max_seconds": self.restart_delay_max_seconds,
            "restart_max_tokens": self.restart_max_tokens,
            "result_retention_seconds": self.result_retention_seconds,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Policy:
        """The policy that `as_json` wrote."""
        return cls(
            restart=parse_restart(",".join(value["restart"])),
            effects=Effects(value["effects"]),
            recreate=parse_on_unknown(value["on_unknown"]),
            deadline_seconds=value["deadline_seconds"],
            settle_seconds=value["settle_seconds"],
            poll_seconds=value["poll_seconds"],
            on_unknown_outcome=OnUnknownOutcome(value["on_unknown_outcome"]),
            late_approval=LateApproval(value["late_approval"]),
            forget_request=value.get("forget_request", False),
            restart_delay_seconds=value["restart_delay_seconds"],
            restart_backoff=value["restart_backoff"],
            restart_delay_max_seconds=value["restart_delay_max_seconds"],
            restart_max_tokens=value["restart_max_tokens"],
            result_retention_seconds=value["result_retention_seconds"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyInput:
    """A policy as a caller writes it, before it is judged."""

    restart: str | None = None
    effects: str | None = None
    on_unknown: str | None = None
    deadline: float | str | None = None
    settle_seconds: float | None = None
    poll_seconds: float | None = None
    on_unknown_outcome: str | None = None
    late_approval: str | None = None
    forget_request: bool | None = None
    restart_delay: float | str | None = None
    restart_backoff: float | str | None = None
    restart_delay_max: float | str | None = None
    restart_max_tokens: int | str | None = None


def judge_policy(given: PolicyInput, default: Policy) -> Policy:
    """The policy that `given` asks for over `default`. Raises InvalidInput, naming the field."""
    return Policy(
        restart=_restart(given, default),
        forget_request=bool(given.forget_request),
        effects=default.effects if given.effects is None else parse_effects(given.effects),
        recreate=default.recreate
        if given.on_unknown is None
        else parse_on_unknown(given.on_unknown),
        deadline_seconds=bounded(
            "deadline",
            default.deadline_seconds if given.deadline is None else parse_duration(given.deadline),
            low=0.001,
            high=DEADLINE_SECONDS_MAX,
        ),
        settle_seconds=bounded(
            "settle_seconds",
            default.settle_seconds if given.settle_seconds is None else given.settle_seconds,
            low=0.0,
            high=SETTLE_SECONDS_MAX,
        ),
        poll_seconds=default.poll_seconds
        if given.poll_seconds is None
        else bounded("poll_seconds", given.poll_seconds, low=0.01, high=3_600.0),
        on_unknown_outcome=default.on_unknown_outcome
        if given.on_unknown_outcome is None
        else parse_word("on_unknown_outcome", OnUnknownOutcome, given.on_unknown_outcome),
        late_approval=default.late_approval
        if given.late_approval is None
        else parse_word("late_approval", LateApproval, given.late_approval),
        **_restart_limits(given, default),
        result_retention_seconds=default.result_retention_seconds,
    )


def parse_word(name: str, words: type[Word], text: str) -> Word:
    """The word of a vocabulary that `text` is. Raises InvalidInput, naming them all."""
    try:
        return words(text)
    except ValueError:
        raise InvalidInput(f"{name} must be one of {', '.join(words)}, not {text!r}") from None


def _restart(given: PolicyInput, default: Policy) -> tuple[RestartRule, ...]:
    """A request that is erased cannot be sent again, so it has no rules of its own accord."""
    if given.forget_request not in (None, True, False):
        raise InvalidInput(f"forget_request is true or false, not {given.forget_request!r}")
    if not given.forget_request:
        return default.restart if given.restart is None else parse_restart(given.restart)
    if given.restart is not None and parse_restart(given.restart):
        raise InvalidInput(
            "restart and forget_request exclude each other: a restart sends the request again",
            hint="leave one of them out",
        )
    return ()


def _restart_limits(given: PolicyInput, default: Policy) -> dict[str, Any]:
    """How long restarts wait, and what ends them besides their count."""

    def delay(name: str, text: float | str | None, otherwise: float) -> float:
        seconds = otherwise if text is None else parse_duration(text)
        return bounded(name, seconds, low=0.0, high=RESTART_DELAY_SECONDS_MAX)

    backoff, tokens = given.restart_backoff, given.restart_max_tokens
    return {
        "restart_delay_seconds": delay(
            "restart_delay", given.restart_delay, default.restart_delay_seconds
        ),
        "restart_delay_max_seconds": delay(
            "restart_delay_max", given.restart_delay_max, default.restart_delay_max_seconds
        ),
        "restart_backoff": default.restart_backoff
        if backoff is None
        else bounded(
            "restart_backoff", _number(backoff), low=1.0, high=RESTART_BACKOFF_MAX, unit=""
        ),
        "restart_max_tokens": default.restart_max_tokens if tokens is None else _tokens(tokens),
    }


def _number(value: float | str) -> Any:
    """A number that may have come as a text; what is none is left for `bounded` to refuse."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _tokens(value: int | str) -> int:
    if isinstance(value, str):
        plain = value.isascii() and value.isdigit() and len(value) <= len(str(TOKENS_MAX))
        value = int(value) if plain else 0
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= TOKENS_MAX:
        raise InvalidInput(f"restart_max_tokens must be a whole number from 1 to {TOKENS_MAX}")
    return value


def bounded(name: str, value: float, *, low: float, high: float, unit: str = "seconds") -> float:
    """`value`, if it is a number within the bounds. Raises InvalidInput."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or value != value:  # noqa: PLR0124 - an integer may be too large for isnan
        raise InvalidInput(f"{name} must be a number{unit and ' of ' + unit}, not {value!r}")
    if not low <= value <= high:
        # An integer may be too large to be shown.
        shown = f", not {value:g}" if -1e300 < value < 1e300 else ""
        limits = f"between {low:g} and {high:g}{unit and ' ' + unit}"
        raise InvalidInput(f"{name} must lie {limits}{shown}")
    return float(value)


UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def parse_duration(text: float | str) -> float:
    """Seconds from 90, "90", "90s", "1.5h", "500ms", "2d". Raises InvalidInput."""
    if not isinstance(text, str):
        return text
    stripped = text.strip()
    unit = next((unit for unit in UNITS if stripped.endswith(unit)), "")
    number = stripped.removesuffix(unit)
    try:
        seconds = float(number) * UNITS.get(unit, 1.0)
    except ValueError:
        raise InvalidInput(f"{text!r} is not a duration; write 90s, 15m, 2h or 1d") from None
    if not math.isfinite(seconds):
        raise InvalidInput(f"{text!r} is not a duration; write 90s, 15m, 2h or 1d")
    return seconds


def parse_effects(text: str) -> Effects:
    """One of hold, reuse, rerun. Raises InvalidInput."""
    try:
        return Effects(text)
    except ValueError:
        raise InvalidInput(f"effects must be hold, reuse or rerun, not {text!r}") from None


def parse_on_unknown(text: str) -> int:
    """How many re-creates `fail` or `recreate=N` allows. Raises InvalidInput."""
    if not isinstance(text, str):
        raise InvalidInput(f"on_unknown must be fail or recreate=N, not {text!r}")
    if text == "fail":
        return 0
    name, _, count = text.partition("=")
    if name != "recreate":
        raise InvalidInput(f"on_unknown must be fail or recreate=N, not {text!r}")
    return _count("on_unknown", count or "1", RECREATES_MAX)


def parse_restart(text: str) -> tuple[RestartRule, ...]:
    """Rules from `expired=3,failed:server_error=2`; `none` means no rule. Raises InvalidInput."""
    if not isinstance(text, str):
        raise InvalidInput(f"restart must be a text such as expired=2, not {text!r}")
    if text.strip() in ("", "none"):
        return ()
    rules = tuple(_rule(part.strip()) for part in text.split(","))
    named = [(rule.outcome, rule.code) for rule in rules]
    if twice := [rule for n, rule in enumerate(rules) if named[n] in named[:n]]:
        raise InvalidInput(f"restart rule {str(twice[0])!r}: another rule is for the same end")
    return rules


def _rule(part: str) -> RestartRule:
    name, _, count = part.rpartition("=")
    outcome, _, code = name.partition(":")
    if outcome not in {str(state) for state in RESTARTABLE}:
        raise InvalidInput(
            f"restart rule {part!r}: write expired=N, failed:CODE=N or incomplete=N",
        )
    if outcome == State.failed and not code:
        raise InvalidInput(f"restart rule {part!r}: name the error code, as failed:server_error=2")
    return RestartRule(State(outcome), code or None, _count("restart", count, RESTARTS_MAX))


def _count(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and int(text) <= most):
        raise InvalidInput(f"{name}: {text!r} is not a count from 0 to {most}")
    return int(text)
