"""What happened when: the short list, each entry with what it rests on, and the full one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ledger.core.alphabet import EventKind, LifeEventKind
from ledger.core.postmortem.cases import Case
from ledger.core.postmortem.failures import Failure
from ledger.core.postmortem.material import Material
from ledger.core.postmortem.story import bad_tools

FULL_MAX: Final = 1_000
KEY_EVENTS: Final = frozenset(
    {EventKind.contradiction, EventKind.set_aside, EventKind.released, EventKind.noted}
)
KEY_LIVES: Final = frozenset(LifeEventKind) - {LifeEventKind.reborn}
NEW_MAX: Final = 10
"""So many first failures of a fingerprint stand in the short list."""
NOTES_MAX: Final = 20
Entry = dict[str, Any]


def timeline(
    material: Material,
    cases: Sequence[Case],
    failures: Sequence[Failure],
    numbers: Mapping[str, Any],
) -> dict[str, Any]:
    """The short list and the full one, in order of time."""
    short = [*_ends(numbers), *_times(numbers), *_tools(numbers), *_lives(numbers)]
    short += _kinds(numbers)
    notes = _ordered(_notes(material, cases))
    short += _first_note(notes, numbers)
    short += [entry for entry in notes if entry["kind"] in KEY_EVENTS][:NOTES_MAX]
    full = [*short, *(entry for entry in notes if entry["kind"] not in KEY_EVENTS)]
    full += [_failure(failure) for failure in failures]
    ordered = _ordered(full)
    return {"short": _ordered(short), "full": ordered[:FULL_MAX], "full_entries": len(ordered)}


def _ordered(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda one: (one["at"], one["kind"], one["run"] or 0, one["text"]))


def entry(
    at: str, kind: str, text: str, *, run: int | None = None, see: str | None = None
) -> Entry:
    """One line; `see` is the command that shows what it rests on."""
    shown = f"runward show {run}" if run is not None and see is None else see
    return {"at": at, "kind": kind, "text": text, "run": run, "see": shown}


def _ends(numbers: Mapping[str, Any]) -> Iterable[Entry]:
    ends = numbers["first_and_last"]
    for name, words in (("first", "first failure"), ("last", "last failure")):
        if ends[name]:
            of = ends[name]
            text = f"{words}: run {of['run']}, {of['code'] or 'without a code'}"
            yield entry(of["at"], f"{name}_failure", text, run=of["run"])
    after = ends["success_after_last"]
    if after:
        text = f"first run to complete after the last failure: {after['run']}"
        yield entry(after["at"], "first_success_after", text, run=after["run"])
    for one in numbers["over_time"]["excess"]:
        text = (
            f"more runs with a failed attempt than expected until {second(one['last'])}: "
            f"{one['runs']}, expected {one['expected']}"
        )
        yield entry(one["first"], "excess", text)


def _times(numbers: Mapping[str, Any]) -> Iterable[Entry]:
    for storm in numbers["headroom"]["storms"]:
        text = (
            f"429 storm on profile {storm['profile']} ({storm['provider']}) until "
            f"{second(storm['end'])}: {storm['refused']} of {storm['calls']} calls refused"
        )
        yield entry(storm["start"], "storm", text, see="runward limits")
    for gap in numbers["environment"]["webhook_gaps"]:
        until = f"until {second(gap['closed_at'])}" if gap["closed_at"] else "and not over"
        text = (
            f"no webhooks for profile {gap['profile']} {until}; "
            f"noticed at {second(gap['noticed_at'])} by {gap['missed_when_noticed']} ends untold"
        )
        yield entry(gap["start"], "webhook_gap", text, see="runward webhook list")


def _tools(numbers: Mapping[str, Any]) -> Iterable[Entry]:
    for one in bad_tools(numbers):
        text = (
            f"tool {one['tool']} gave errors until {second(one['last_error'])}: "
            f"{one['errors']['part']} of {one['meanwhile']} calls"
        )
        yield entry(one["first_error"], "tool_errors", text, see=one["query"])


def _lives(numbers: Mapping[str, Any]) -> Iterable[Entry]:
    environment = numbers["environment"]
    for event in environment["events"]:
        if event["kind"] in KEY_LIVES:
            who = f"life {event['life'][:8]} on {event['host']}" if event["life"] else event["host"]
            yield entry(
                event["at"],
                f"life_{event['kind']}",
                f"{event['kind']}: {who}",
                see="runward workers list",
            )
    for loop in environment["crash_loops"]:
        yield entry(
            loop["start"], "crash_loop", f"lives died again and again until {second(loop['end'])}"
        )
    for down in environment["unobserved"]:
        text = f"no daemon at work until {second(down['end'])}"
        yield entry(down["start"], "unobserved", text, see="runward workers list")


def _kinds(numbers: Mapping[str, Any]) -> Iterable[Entry]:
    for group in numbers["fingerprints"]["listed"][:NEW_MAX]:
        text = f"first {group['code'] or 'failure'} of the window, "
        if group["new"] is not None:
            text += "new, " if group["new"] else "known before, "
        text += group["fingerprint"]
        first = group["first"]
        yield entry(first["at"], "first_of_fingerprint", text, run=first["run"], see=group["query"])


def _notes(material: Material, cases: Sequence[Case]) -> Iterable[Entry]:
    for case in cases:
        for event in case.events:
            if event.to_state is None and material.span.holds(event.recorded_at):
                detail = event.detail if isinstance(event.detail, Mapping) else {}
                said = detail.get("text") or detail.get("why") or detail.get("reason") or ""
                text = (
                    f"run {case.run.id}: {event.kind}{f', {said}' if said else ''}, {event.actor}"
                )
                at = event.recorded_at.isoformat()
                yield entry(at, str(event.kind), text, run=case.run.id)


def _first_note(notes: Sequence[Entry], numbers: Mapping[str, Any]) -> Iterable[Entry]:
    """When a person first wrote something down: by then somebody knew."""
    first = next((one for one in notes if one["kind"] == EventKind.noted), None)
    if first is None:
        return
    text, failure = (
        f"first note of a person: run {first['run']}",
        numbers["first_and_last"]["first"],
    )
    if failure:
        passed = datetime.fromisoformat(first["at"]) - datetime.fromisoformat(failure["at"])
        minutes = passed.total_seconds() / 60
        text += (
            f", {abs(minutes):.0f} min {'after' if minutes >= 0 else 'before'} the first failure"
        )
    yield entry(first["at"], "first_note", text, run=first["run"])


def _failure(failure: Failure) -> Entry:
    attempt = failure.attempt
    text = f"run {failure.case.run.id}, attempt {attempt.number}: {attempt.outcome}"
    if attempt.error_code:
        text += f", {attempt.error_code}"
    return entry(failure.at.isoformat(), "failed_attempt", text, run=failure.case.run.id)


def second(at: str) -> str:
    """A time within a sentence, to the second."""
    return f"{at[:10]} {at[11:19]}Z"
