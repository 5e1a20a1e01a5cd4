"""How a run stood at some time, from its events recorded up to then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from ledger.core.alphabet import ErrorOrigin, State, Trigger
from ledger.core.lifecycle import FINAL
from ledger.core.model import Attempt, Run
from ledger.core.query import WORDS, Term
from ledger.core.record import evolve, record
from ledger.core.words import said
from ledger.errors import InvalidInput


class Moved(Protocol):
    """An event, as far as it moves a run from one state to another."""

    @property
    def recorded_at(self) -> datetime: ...
    @property
    def trigger(self) -> Trigger | None: ...
    @property
    def to_state(self) -> State | None: ...
    @property
    def attempt(self) -> int: ...


@record
class Past:
    """What is known of a run as it stood. Its calls, its flag and its usage are not."""

    state: State = State.queued
    attempts: int = 1
    started_at: datetime | None = None
    finished_at: datetime | None = None
    took_seconds: float | None = None
    error_code: str | None = None
    error_origin: ErrorOrigin | None = None
    error_message: str | None = None
    fingerprint: str | None = None


def fold(
    created_at: datetime, moves: Iterable[Moved], attempts: Sequence[Attempt], at: datetime
) -> Past:
    """A run as it stood at `at`, from its events in order and its attempts as they are.

    An attempt that has ended never changes, so how it ended is taken from its row.
    """
    state, number = State.queued, 1
    started = finished = None
    for move in moves:
        if move.to_state is None or move.recorded_at > at:
            continue
        state = move.to_state
        if move.trigger == Trigger.restart:
            number = move.attempt
        if state == State.in_progress:
            started = started or move.recorded_at
        finished = move.recorded_at if state in FINAL else None
    took = None if finished is None else max(0.0, (finished - created_at).total_seconds())
    past = Past(
        state=state,
        attempts=number,
        started_at=started,
        finished_at=finished,
        took_seconds=took,
    )
    ended = next((a for a in attempts if a.number == number), None)
    if finished is None or ended is None:
        return past
    return evolve(
        past,
        error_code=ended.error_code,
        error_origin=ended.error_origin,
        error_message=ended.error_message,
        fingerprint=ended.fingerprint,
    )


UNKNOWN: Final = ("calls", "attention", "pinned")
"""What the events do not say."""
CHANGING: Final = (
    "status", "attempts", "dur", "error_code", "error_origin", "fingerprint", WORDS,
    "finished_since", "finished_until",
)  # fmt: skip
"""What of a run changes with time; all else is as it is now."""


def judge_past(terms: Sequence[Term]) -> None:
    """Raises InvalidInput for what cannot be asked about the past."""
    for term in terms:
        if term.name in UNKNOWN:
            raise InvalidInput(
                f"{term.name} is not known of the past: no event says it",
                hint="leave it out, or ask without --as-of",
            )


def was(past: Past, term: Term, words: Mapping[str, frozenset[str]]) -> bool:
    """Whether a term of CHANGING held. `words` has the fingerprints that a word stands for."""
    return _was(past, term, words) != term.negated


def _was(past: Past, term: Term, words: Mapping[str, frozenset[str]]) -> bool:
    match term.name:
        case "attempts":
            return all(_holds(past.attempts, bound) for bound in term.bounds)
        case "dur":
            took = past.took_seconds
            return took is not None and all(_holds(took, bound) for bound in term.bounds)
        case "finished_since" | "finished_until":
            if past.finished_at is None or term.moment is None:
                return False
            before = past.finished_at < term.moment
            return before if term.name == "finished_until" else not before
        case "words":
            word = term.values[0]
            found = said(word, past.error_message or "")
            return found or past.fingerprint in words.get(word, frozenset())
    text = {
        "status": past.state,
        "error_code": past.error_code,
        "error_origin": past.error_origin,
        "fingerprint": past.fingerprint,
    }[term.name]
    if text is None:
        return False
    return str(text) in term.values or any(str(text).startswith(one) for one in term.prefixes)


def _holds(number: float, bound: tuple[str, float]) -> bool:
    sign, other = bound
    return {
        ">": number > other,
        ">=": number >= other,
        "<": number < other,
        "<=": number <= other,
        "=": number == other,
    }[sign]


def as_it_stood(run: Run, past: Past) -> Run:
    """The run's record with what it was then; what is not known of then is as it is now."""
    return evolve(
        run,
        state=past.state,
        attempts=past.attempts,
        started_at=past.started_at,
        finished_at=past.finished_at,
        took_seconds=past.took_seconds,
        error_code=past.error_code,
        error_origin=past.error_origin,
        error_message=past.error_message,
        fingerprint=past.fingerprint,
    )
