"""The Ledger that users import: submit, read, wait, cancel, restart, adopt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ledger.clock import rest, utcnow
from ledger.core.anchor import Anchor
from ledger.core.decide.missing import LOST
from ledger.core.explain import explain
from ledger.core.model import Facts, Run
from ledger.core.passing_on import Notice
from ledger.core.query import parse_query
from ledger.core.request import judge_number
from ledger.core.results import output_text
from ledger.errors import (
    InvalidInput,
    NotFound,
    RunFailed,
    RunLost,
    StillPending,
)
from ledger.service.accounts import Credential
from ledger.service.anchoring import judge_anchors, make_anchor
from ledger.service.dates import read_words
from ledger.service.handle import Handle
from ledger.service.handlers import PREFIX, TIMEOUT_SECONDS, Handler, on
from ledger.service.history import History
from ledger.service.judging import Judge
from ledger.service.moving import Moving
from ledger.service.operations import Operations
from ledger.service.part import RunName
from ledger.service.redacting import Redaction
from ledger.service.reporting import Reporting
from ledger.service.retention import Retention
from ledger.service.submitting import Submitting
from ledger.service.timelines import Bodies, timeline_view
from ledger.service.tools import Tool, Toolbox
from ledger.service.views import event_view, next_view, run_whole
from ledger.service.waiting import Waiter, judge_wait
from ledger.settings import Settings, load_settings
from ledger.store.finding import list_runs
from ledger.store.following import begin as begin_following
from ledger.store.queries import events_of, find_run, one, payloads_of
from ledger.store.store import Store
from ledger.store.surroundings import surroundings
from ledger.store.verify import Verified, verify
from ledger.store.writer import ThreadWriter

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")


class Ledger(Submitting, Operations, Retention, Moving, Reporting, History):
    """One ledger, open for use in one process. Safe for threads; not for forked children."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        toolbox: Toolbox,
        *,
        actor: str,
        judge: Judge,
        redaction: Redaction,
    ) -> None:
        self.settings, self.toolbox, self.redaction = settings, toolbox, redaction
        self._handle = Handle(store)
        self._judge, self._actor = judge, actor
        self._accounts: dict[tuple[str, str], int] = {}

    @classmethod
    def open(
        cls,
        url: str | None = None,
        *,
        tools: Iterable[Tool | Handler] | Toolbox = (),
        profile: str = "default",
        actor: str = "python",
        migrate: bool = False,
        **settings: Any,
    ) -> Self:
        """Open a ledger; an empty database is set up.

        `url` is `sqlite:///file` or `postgresql://…`; by default the configured one. Credentials
        are read from the environment now. Raises SchemaMismatch for an older or newer database
        (`migrate=True` upgrades an older one), ConfigurationError, UnsupportedDatabase.
        """
        loaded = load_settings(database_url=url, **settings)
        loaded.profile(profile)
        redaction = Redaction.load(loaded.redact)
        toolbox = tools if isinstance(tools, Toolbox) else Toolbox(tools)
        # Whatever may be wrong with the settings is found before the database is opened.
        judge = Judge(loaded, actor=actor, profile=profile)
        store = Store.open(loaded.database_url, migrate=migrate, direct_url=loaded.direct_url)
        return cls(store, loaded, toolbox, actor=actor, judge=judge, redaction=redaction)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the waits of other threads, write what is waiting and close the database."""
        self._handle.close()

    @property
    def store(self) -> Store:
        """The database. Raises ForkedLedger in a forked child, DatabaseError once closed."""
        return self._handle.store

    @property
    def credentials(self) -> dict[tuple[str, str, str], Credential]:
        """What was in the environment when the ledger was opened, by (provider, URL, project)."""
        return self._judge.credentials

    @property
    def writer(self) -> ThreadWriter:
        """The writer of this process, started on first use. Raises as `store` does."""
        return self._handle.writer

    def acting_as(self, actor: str) -> Self:
        """The same open ledger with another name in the history; it is closed with this one."""
        other = copy(self)
        other._actor, other._judge = actor, self._judge.acting_as(actor)
        return other

    @property
    def actor(self) -> str:
        """Whose name stands in the history of what is done through this."""
        return self._actor

    def on(
        self, *events: str, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Callable[[Callable[[Notice], Any] | Handler], Handler]:
        """Have a function told of events from now on, as the decorator `on` says, by the waits of
        this process that drive runs and begin after this. What happens while none does is told
        by the next one. Raises ConfigurationError, DatabaseError.
        """
        mark = on(*events, timeout_seconds=timeout_seconds)

        def make(function: Callable[[Notice], Any] | Handler) -> Handler:
            handler = mark(function)
            self.toolbox.handle(handler)
            self.writer.run(lambda c: begin_following(c, PREFIX + handler.name)).result()
            return handler

        return make

    # -- reading ---------------------------------------------------------------------------

    def run_id(self, run: RunName) -> int:
        """The number of a run given as record, number, key or upstream id. Raises NotFound."""
        if isinstance(run, Run):
            return run.id
        if isinstance(run, int) and not isinstance(run, bool):
            return self.store.read(lambda c: one(c, run)).run.id
        if not isinstance(run, str):
            raise InvalidInput(f"a run is named by number, key or id, not {type(run).__name__}")
        return self.store.read(lambda c: find_run(c, run))

    def get(self, run: RunName) -> Run:
        """One run. Raises NotFound."""
        return self.facts(run).run

    def facts(self, run: RunName) -> Facts:
        """One run with its attempts, remotes and tool calls. Raises NotFound."""
        run_id = self.run_id(run)
        return self.store.read(lambda c: one(c, run_id))

    def show(self, run: RunName) -> dict[str, Any]:
        """Everything about one run, as plain values."""
        run_id, lives, now = self.run_id(run), self.store.lives, utcnow()

        def read(connection: Connection) -> dict[str, Any]:
            facts = one(connection, run_id)
            numbers = list(range(1, facts.run.payload_seq + 1))
            around = surroundings(connection, lives, facts, now)
            return {
                **run_whole(facts, payloads_of(connection, run_id, numbers)),
                "next": next_view(explain(facts, around), around),
                "timeline": timeline_view(connection, run_id),
            }

        return self.store.read(read)

    def runs(self, query: str = "", *, limit: int = 100, before: int | None = None) -> list[Run]:
        """Runs that match a query, the newest first; `before` continues after that run."""
        before = None if before is None else judge_number("before", before)
        limit = judge_number("limit", limit)
        terms = parse_query(query, now=utcnow(), otherwise=read_words)
        return self.store.read(lambda c: list_runs(c, terms, limit=limit, before=before))

    def events(
        self, run: RunName, *, follow: bool = False, after: int = 0, diff: bool = False
    ) -> Iterator[dict[str, Any]]:
        """A run's events in order; with `follow` until it has a verdict. With `diff` each says, as
        a JSON Patch, how upstream's object differs from what it was before."""
        after, run_id = judge_number("after", after), self.run_id(run)
        bodies = Bodies(self.store, run_id) if diff else None
        while True:
            final = self.get(run_id).final
            seen = after
            rows = self.store.read(lambda c, seen=seen: events_of(c, run_id, after=seen))  # type: ignore[misc]
            for view in bodies.views(rows) if bodies else map(event_view, rows):
                after = view["seq"]
                yield view
            if after != seen:
                continue
            if not follow or final:
                return
            rest(0.1)

    def result(self, run: RunName) -> str:
        """The final text. Raises StillPending without a verdict, RunFailed or RunLost without one
        that is `completed`, and NotFound for one that was erased."""
        facts = self.facts(run)
        state = facts.run
        if not state.final:
            raise StillPending(f"run {state.id} is {state.state}", hint=f"runward wait {state.id}")
        if state.state != "completed":
            kind = RunLost if state.error_code in LOST else RunFailed
            what = ": ".join(x for x in (state.error_code, state.error_message) if x)
            raise kind(f"run {state.id} {state.state}{': ' + what if what else ''}")
        number = state.result
        if number is None:
            return ""
        found = self.store.read(lambda c: payloads_of(c, state.id, [number]))
        body = found[number].body
        if body is None:
            # An empty text would pass for a result.
            when = f" {state.erased_at:%Y-%m-%d %H:%M} UTC" if state.erased_at else ""
            raise NotFound(
                f"the result of run {state.id} was erased{when}",
                hint=f"runward events {state.id} shows by whom",
            )
        return output_text(state.provider, body)

    def wait(self, run: RunName, *, timeout: float | str | None = None, drive: str = "auto") -> Run:
        """Wait for a verdict, from any process; drives the run where no daemon is alive.

        Raises WaitTimeout after `timeout` (seconds or "50m"): the run goes on.
        """
        run_id = self.run_id(run)
        self.wait_for([run_id], timeout=timeout, drive=drive)
        return self.get(run_id)

    def wait_for(
        self,
        run_ids: Sequence[int],
        *,
        timeout: float | str | None = None,
        drive: str = "auto",
        done: Callable[[Mapping[int, Run]], bool] | None = None,
        stopped: Callable[[], bool] = bool,
    ) -> None:
        """Wait until `done` holds for these runs; by default, until all have a verdict.

        `stopped` is asked several times a second; once it holds the wait ends without an error.
        Raises WaitTimeout, NotFound, and DatabaseError when the ledger is closed meanwhile.
        """
        seconds = judge_wait(timeout, drive)
        ids = [self.run_id(run_id) for run_id in run_ids]

        def over() -> bool:
            return self._handle.closed or stopped()

        with self._handle.waiting():
            Waiter(self, ids, seconds=seconds, drive=drive, done=done, stopped=over).wait()
        if not stopped():
            # Raises when it was the closing that ended the wait.
            _ = self.store

    def anchor(self) -> Anchor:
        """Seal all there is now, and say so in a few words to be kept elsewhere.

        Raises NotFound in a ledger without a run.
        """
        return make_anchor(self.store, self.writer, utcnow())

    def verify(
        self,
        runs: Sequence[RunName] | None = None,
        *,
        anchors: Sequence[Anchor | Mapping[str, Any]] = (),
    ) -> Verified:
        """Recompute the hash chains of all runs and of the seals over them, or of some runs alone.

        `anchors` are seals that were noted elsewhere, and must still be there. Raises InvalidInput
        for one that cannot be read, or that is of another ledger.
        """
        ids = None if runs is None else [self.run_id(run) for run in runs]
        judged = judge_anchors(anchors, self.store.ledger_id, whole=ids is None)
        return self.store.read(lambda c: verify(c, ids, anchors=judged))
