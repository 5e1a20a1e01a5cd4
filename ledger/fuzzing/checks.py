"""What must hold, in the moment of each effect and when all is over, by the world's own account."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from ledger.core.alphabet import Approval, CallState, EventKind, RemoteState, State
from ledger.core.lifecycle import FINAL
from ledger.core.model import Facts, Remote
from ledger.core.reading import MARKER_KEY
from ledger.core.results import output_text
from ledger.fuzzing import evidence
from ledger.fuzzing.tooling import BOOKED, Effect
from ledger.providers.inprocess import Asked
from ledger.service.tools import ToolCall
from ledger.store.facts import REMOTE, RUN, WATCH, load_facts
from ledger.store.invariants import INVARIANTS, broken
from ledger.store.queries import EVENT, payloads_of

if TYPE_CHECKING:
    from ledger.fuzzing.console import Console
    from ledger.fuzzing.play import Stage
    from ledger.fuzzing.seams import Mortal

CREATES: Final = ("responses.create", "runs.create")


def quiet(console: Console) -> bool:
    """Whether no run is watched any more."""
    return console.read(lambda c: c.execute(sa.select(WATCH.c.run_id).limit(1)).first()) is None


def unsettled(console: Console) -> str:
    """What is still watched, and why."""
    rows = console.read(lambda c: list(c.execute(sa.select(WATCH.c.run_id, WATCH.c.why))))
    return ", ".join(f"run {row.run_id} ({row.why})" for row in rows) or "nothing is watched"


def hashes(connection: sa.Connection) -> list[bytes]:
    """All event hashes, run by run."""
    statement = sa.select(EVENT.c.hash).order_by(EVENT.c.run_id, EVENT.c.seq)
    return [bytes(row.hash) for row in connection.execute(statement)]


def unclaimed(stage: Stage, key: str) -> str | None:
    """An upstream object that a run caused and does not know, as an operator could find it."""
    run_id = stage.console.runs.get(key)
    if run_id is None:
        return None
    for remote in stage.console.facts(run_id).remotes:
        if remote.state == RemoteState.unknown:
            for job in stage.world.jobs():
                if job["metadata"].get(MARKER_KEY) == remote.marker:
                    return str(job["id"])
    return None


# In the moment.


def on_send(stage: Stage, mortal: Mortal, asked: Asked) -> None:
    """A create leaves: it must stand in the journal, and its life must own the run."""
    body = json.loads(asked.body) if asked.body else {}
    marker = (body.get("metadata") or {}).get(MARKER_KEY)
    if asked.method != "POST" or marker is None:
        return

    def ask(connection: sa.Connection) -> Any:
        joined = REMOTE.join(WATCH, WATCH.c.run_id == REMOTE.c.run_id, isouter=True)
        columns = (REMOTE.c.state, WATCH.c.owner)
        statement = sa.select(*columns).select_from(joined).where(REMOTE.c.marker == marker)
        return connection.execute(statement).first()

    row = stage.console.read(ask)
    if row is None or row.state != RemoteState.sending:
        stage.problems.append(f"a create left that the journal has as {row and row.state}")
    elif row.owner != mortal.life_id():
        stage.problems.append(f"a create of {marker} left a life that does not own the run")


def on_commit(stage: Stage) -> None:
    """A batch is durable: every event in it is that of the life which owns the run (invariant 3).

    A run that is not watched any more has no owner, and nobody can have lost it meanwhile.
    """

    def ask(connection: sa.Connection) -> Any:
        joined = EVENT.join(WATCH, WATCH.c.run_id == EVENT.c.run_id, isouter=True)
        columns = (EVENT.c.id, EVENT.c.run_id, EVENT.c.kind, EVENT.c.actor, WATCH.c.owner)
        statement = sa.select(*columns).select_from(joined).where(EVENT.c.id > stage.seen_events)
        return list(connection.execute(statement))

    for row in stage.console.read(ask):
        stage.seen_events = max(stage.seen_events, row.id)
        if row.owner and row.actor.startswith("life:") and row.actor != f"life:{row.owner}":
            stage.problems.append(
                f"{row.actor} wrote {row.kind} to run {row.run_id} of {row.owner}"
            )


def on_effect(stage: Stage, effect: Effect, call: ToolCall) -> None:
    """A tool has its effect: its start must be on record."""
    facts = stage.console.facts(effect.run_id)
    known = [c for c in facts.calls if c.call_id == call.call_id and c.key == call.key]
    if not any(c.state == CallState.started for c in known):
        stage.problems.append(f"{effect.tool} of run {effect.run_id} ran without a recorded start")


# Afterwards.


def after(stage: Stage) -> Iterator[str]:
    """Everything that is wrong, in words."""
    console = stage.console
    for invariant in INVARIANTS:
        offenders = console.read(lambda c, i=invariant: broken(c, i))  # type: ignore[misc]
        if offenders:
            yield f"invariant {invariant.number} broken by {offenders}: {invariant.text}"
    yield from evidence.after(console)
    yield from (f"run {key} is lost" for key in console.runs if not console.known(key))
    ids = console.read(lambda c: [row[0] for row in c.execute(sa.select(RUN.c.id))])
    facts = console.read(lambda c: load_facts(c, ids))
    yield from _creates(stage, facts)
    yield from _effects(stage, facts)
    yield from _outputs(stage, facts)
    for one in facts.values():
        yield from _verdict(stage, one)


def _creates(stage: Stage, facts: dict[int, Facts]) -> Iterator[str]:
    """One object a marker, each known to the ledger or listed as unresolved, none left alive."""
    remotes = {r.marker: r for one in facts.values() for r in one.remotes}
    made = Counter(
        entry["metadata"][MARKER_KEY]
        for entry in stage.world.journal()
        if entry["accepted"] and entry["operation"] in CREATES and MARKER_KEY in entry["metadata"]
    )
    yield from (f"{marker} was created {n} times" for marker, n in made.items() if n > 1)
    for job in stage.world.jobs():
        marker = job["metadata"].get(MARKER_KEY)
        remote = remotes.get(marker)
        if remote is None:
            yield f"upstream has {job['id']}, whose marker {marker} nobody knows"
        elif remote.state == RemoteState.absent and job["gone"]:
            continue  # Upstream dropped it before its thread was listed: no reading can tell.
        elif remote.state not in (RemoteState.confirmed, RemoteState.lost, RemoteState.unknown):
            yield f"upstream has {job['id']}, which the ledger calls {remote.state}"
        elif remote.remote_id not in (None, job["id"]):
            yield f"{marker} is {job['id']} upstream and {remote.remote_id} here"
        elif _forgotten(job, remote, facts):
            yield f"{job['id']} is still {job['status']} upstream, and nobody looks"


def _forgotten(job: dict[str, Any], remote: Remote, facts: dict[int, Facts]) -> bool:
    """Whether an object lives on and no run says that it was given up, or obeyed no cancel."""
    over = job["status"] in FINAL or job["gone"] or remote.state != RemoteState.confirmed
    (one,) = [f for f in facts.values() if any(r.marker == remote.marker for r in f.remotes)]
    return not over and one.run.needs_attention is None


def _effects(stage: Stage, facts: dict[int, Facts]) -> Iterator[str]:
    """At most once for each key, but for what the history names: who allowed it once more."""
    times = Counter(e.key for e in stage.effects.seen if e.tool in ("charge", "pay"))
    for effect in {e.key: e for e in stage.effects.seen}.values():
        if times[effect.key] > 1 + _allowed(stage, effect):
            yield f"{effect.tool} of run {effect.run_id} ran {times[effect.key]} times"
    for effect in (e for e in stage.effects.seen if e.tool == "pay"):
        known = [c for c in facts[effect.run_id].calls if c.key == effect.key]
        if not any(c.approval == Approval.approved for c in known):
            yield f"pay of run {effect.run_id} ran without a person's word"
    yield from _bookings(stage, facts)


def _allowed(stage: Stage, effect: Effect) -> int:
    def ask(connection: sa.Connection) -> int:
        mine = sa.and_(EVENT.c.run_id == effect.run_id, EVENT.c.kind == EventKind.tool_rerun)
        rows = connection.execute(sa.select(EVENT.c.detail).where(mine))
        return sum(1 for row in rows if row.detail["key"] == effect.key)

    return stage.console.read(ask)


def _bookings(stage: Stage, facts: dict[int, Facts]) -> Iterator[str]:
    """What a transactional tool wrote is there as often as its finished calls say."""
    rows = dict(stage.console.read(lambda c: [tuple(r) for r in c.exec_driver_sql(BOOKED)]))
    done: Counter[str] = Counter()
    for one in facts.values():
        outputs = {c.n: c for c in one.calls if c.tool == "book" and c.started_at and c.output}
        done.update(c.key for c in outputs.values() if c.transactional and not c.is_error)
    answered = {key for key in {*rows, *done} if rows.get(key, 0) != done[key]}
    yield from (f"{key} is booked {rows.get(key, 0)} times, done {done[key]}" for key in answered)


def _outputs(stage: Stage, facts: dict[int, Facts]) -> Iterator[str]:
    """What upstream was given is what the ledger has recorded."""
    recorded: dict[str, set[str]] = {}
    for one in facts.values():
        numbers = [c.output for c in one.calls if c.output is not None]
        if not numbers:
            continue
        bodies = stage.console.read(lambda c, o=one, n=numbers: payloads_of(c, o.run.id, n))  # type: ignore[misc]
        for call in one.calls:
            if call.output is not None:
                body = bodies[call.output].body or b""
                recorded.setdefault(call.call_id, set()).add(body.decode())
    for job in stage.world.jobs():
        for output in job["outputs"]:
            if output["output"] not in recorded.get(output["call_id"], set()):
                yield f"upstream was given {output}, which is not on record"


def _verdict(stage: Stage, facts: Facts) -> Iterator[str]:
    """What the ledger says of a run is what upstream says, or the ledger's own, and says so."""
    run = facts.run
    if not run.final:
        yield f"run {run.id} is {run.state}, and nobody looks"
        return
    current = facts.current
    job = next((j for j in stage.world.jobs() if current and j["id"] == current.remote_id), None)
    if run.state == State.completed:
        if job is None or job["true_status"] not in (State.completed, State.cancelled):
            yield f"run {run.id} is completed, upstream says {job and job['true_status']}"
        elif run.needs_attention is None and not _resolved(stage, run.id):
            yield from _result(stage, facts, job)
    ended = [a for a in facts.attempts if a.outcome == State.failed and a.error_code]
    for attempt in ended:
        if attempt.last_error is None and attempt.error_code == "server_error":
            yield f"run {run.id}: attempt {attempt.number} failed without its last_error"


def _resolved(stage: Stage, run_id: int) -> bool:
    """Whether a person has looked at what was flagged, and let it stand."""
    said = sa.and_(EVENT.c.run_id == run_id, EVENT.c.kind == EventKind.resolved)
    statement = sa.select(EVENT.c.id).where(said).limit(1)
    return stage.console.read(lambda c: c.execute(statement).first()) is not None


def _result(stage: Stage, facts: Facts, job: dict[str, Any]) -> Iterator[str]:
    number = facts.run.result
    if number is None:
        yield f"run {facts.run.id} is completed without a result"
        return
    payload = stage.console.read(lambda c: payloads_of(c, facts.run.id, [number]))[number]
    said = output_text(facts.run.provider, payload.body)
    if job["answer"] not in said:
        yield f"run {facts.run.id} shows {said!r}, upstream said {job['answer']!r}"
