"""Lists of upstream objects made elsewhere: adopted where they still move, written down as history
where they are over. Each line is judged by itself."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from ledger.clock import utcnow
from ledger.core.accept import NewRun
from ledger.core.alphabet import RemoteKind
from ledger.core.model import Run
from ledger.core.reading import BODY_BYTES_MAX, OBJECT_OF, read_object
from ledger.errors import Conflict, InvalidInput, MalformedReply, RunwardError
from ledger.store.queries import remote_holder
from ledger.store.records import Rejected, Submission, Written
from ledger.store.store import ensure_account

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ledger.service.judging import Judge
    from ledger.store.records import Result
    from ledger.store.store import Store
    from ledger.store.writer import ThreadWriter

TOGETHER: Final = 200
KINDS: Final = {OBJECT_OF[kind]: kind for kind in (RemoteKind.response, RemoteKind.thread_run)}
ADOPT_SHAPE: Final = 'a line is {"response": ID} or {"thread": ID, "run": ID}, and key if you like'
ADOPT_FIELDS: Final = frozenset({"response", "thread", "run", "key"})
Adopt = Callable[..., Run]
Holder = Callable[[str, str], int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of one line. `outcome` is `taken`, `skipped` (here already) or `refused`."""

    line: int
    outcome: str
    id: str | None = None
    run: int | None = None
    why: str | None = None


def adopt_lines(path: Path, adopt: Adopt, holder: Holder) -> Iterator[Taken]:
    """Adopt what each line names. Raises InvalidInput where the file cannot be read."""
    for number, text in _lines(path):
        try:
            remote_id, thread, key = _ids(text)
            known = holder(remote_id, thread or "")
            if known is not None:
                yield Taken(line=number, outcome="skipped", id=remote_id, run=known)
                continue
            provider = "assistants" if thread else "responses"
            run = adopt(remote_id, provider=provider, thread=thread, key=key)
            yield Taken(line=number, outcome="taken", id=remote_id, run=run.id)
        except RunwardError as error:
            yield _refused(number, error)


def _ids(text: bytes) -> tuple[str, str | None, str | None]:
    """Id, thread and key of one line."""
    value = _object(text)
    if unknown := sorted(set(value) - ADOPT_FIELDS):
        raise InvalidInput(f"there is no field {unknown[0]!r:.60}", hint=ADOPT_SHAPE)
    if not all(item is None or isinstance(item, str) for item in value.values()):
        raise InvalidInput("ids and keys are texts")
    response, thread, run = (value.get(name) for name in ("response", "thread", "run"))
    if bool(response) == bool(thread and run) or (response and (thread or run)):
        raise InvalidInput("it is not said which object is meant", hint=ADOPT_SHAPE)
    return response or run or "", thread, value.get("key")


class History:
    """Objects that are over, as upstream printed them, written down as runs."""

    def __init__(self, store: Store, writer: ThreadWriter, judge: Judge) -> None:
        self._store, self._writer, self._judge = store, writer, judge
        self._accounts: dict[str, int] = {}

    def read(self, path: Path, *, dry_run: bool) -> Iterator[Taken]:
        """Write down each line's object. Raises InvalidInput where the file cannot be read."""
        waiting: list[Callable[[], Taken]] = []
        for number, text in _lines(path):
            waiting.append(self._begin(number, text, dry_run))
            if len(waiting) >= TOGETHER:
                yield from (finish() for finish in waiting)
                waiting = []
        yield from (finish() for finish in waiting)

    def _begin(self, number: int, text: bytes, dry_run: bool) -> Callable[[], Taken]:
        """Judge one line, and have it written; what is returned waits for the outcome."""
        try:
            new = self._new(text)
            held = self._held(new)
        except RunwardError as error:
            return functools.partial(_refused, number, error)
        name = new.past.remote_id if new.past else None
        if held is not None or dry_run:
            outcome = "taken" if held is None else "skipped"
            return functools.partial(Taken, line=number, outcome=outcome, id=name, run=held)
        return functools.partial(_outcome, number, name or "", self._put(new))

    def _new(self, text: bytes) -> NewRun:
        kind = KINDS.get(str(_object(text).get("object")))
        if kind is None:
            raise InvalidInput(f"the line is no object of type {' or '.join(KINDS)}")
        try:
            return self._judge.history(read_object(kind, text))
        except MalformedReply as error:
            raise InvalidInput(error.message) from None

    def _held(self, new: NewRun) -> int | None:
        seen = new.past
        assert seen is not None
        remote_id, parent_id = seen.remote_id or "", seen.parent_id or ""
        return self._store.read(lambda c: remote_holder(c, remote_id, parent_id))

    def _put(self, new: NewRun) -> Future[Result]:
        if new.provider not in self._accounts:
            profile, fingerprint = self._judge.account(new.provider)
            self._accounts[new.provider] = self._writer.run(
                lambda c: ensure_account(c, self._judge.profile, profile, fingerprint, utcnow())
            ).result()
        account = self._accounts[new.provider]
        return self._writer.put(Submission(new=replace(new, account_id=account)))


def _outcome(number: int, name: str, future: Future[Result]) -> Taken:
    result = future.result()
    if isinstance(result, Written):
        outcome = "taken" if result.created else "skipped"
        return Taken(line=number, outcome=outcome, id=name, run=result.facts.run.id)
    error = result.error if isinstance(result, Rejected) else Conflict()
    return _refused(number, error, name)


def _refused(number: int, error: RunwardError, name: str | None = None) -> Taken:
    why = error.message if error.hint is None else f"{error.message}; {error.hint}"
    return Taken(line=number, outcome="refused", id=name, why=why)


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise InvalidInput("the line is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidInput("the line is no JSON object")
    return value


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that hold anything, with their numbers."""
    try:
        with path.open("rb") as handle:
            yield from _numbered(handle)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"{path} cannot be read: {why}") from None


def _numbered(handle: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    while text := handle.readline(BODY_BYTES_MAX + 2):
        number += 1
        if len(text) > BODY_BYTES_MAX + 1:
            raise InvalidInput(f"line {number} is larger than {BODY_BYTES_MAX} bytes")
        if text.strip():
            yield number, text.strip()
