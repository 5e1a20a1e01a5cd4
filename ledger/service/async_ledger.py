"""The Ledger for asyncio programs: the same calls, awaited; the database works in threads."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ledger.clock import pause
from ledger.core.anchor import Anchor
from ledger.core.model import Run
from ledger.core.passing_on import Notice
from ledger.core.restart_plan import RestartPlan
from ledger.service.bundle import Bundled
from ledger.service.cost import SINCE
from ledger.service.dates import Moment
from ledger.service.exporting import Exported
from ledger.service.handlers import TIMEOUT_SECONDS, Handler
from ledger.service.history import FACETS
from ledger.service.importing import Imported
from ledger.service.ledger import Ledger
from ledger.service.part import RunName
from ledger.service.retention import Erased, Pruned
from ledger.store.verify import Verified


class AsyncLedger:
    """One ledger, open for use in one process and any number of tasks."""

    def __init__(self, ledger: Ledger) -> None:
        self.sync = ledger

    @classmethod
    async def open(cls, url: str | None = None, **options: Any) -> Self:
        """See Ledger.open."""
        return cls(await asyncio.to_thread(Ledger.open, url, **options))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """See Ledger.close."""
        await asyncio.to_thread(self.sync.close)

    def on(
        self, *events: str, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Callable[[Callable[[Notice], Any] | Handler], Handler]:
        """See Ledger.on. One short write, so it belongs where the program begins."""
        return self.sync.on(*events, timeout_seconds=timeout_seconds)

    async def submit(self, *, key: str | None = None, **request: Any) -> Run:
        """See Ledger.submit."""
        return await asyncio.to_thread(self.sync.submit, key=key, **request)

    async def submit_many(self, requests: Sequence[Mapping[str, Any]]) -> list[Run]:
        """See Ledger.submit_many."""
        return await asyncio.to_thread(self.sync.submit_many, requests)

    async def get(self, run: RunName) -> Run:
        """See Ledger.get."""
        return await asyncio.to_thread(self.sync.get, run)

    async def show(self, run: RunName) -> dict[str, Any]:
        """See Ledger.show."""
        return await asyncio.to_thread(self.sync.show, run)

    async def next_looks(self, run: RunName) -> dict[str, Any]:
        """See Ledger.next_looks."""
        return await asyncio.to_thread(self.sync.next_looks, run)

    async def simulate_policy(self, **given: Any) -> dict[str, Any]:
        """See Ledger.simulate_policy."""
        return await asyncio.to_thread(functools.partial(self.sync.simulate_policy, **given))

    async def runs(
        self, query: str = "", *, limit: int = 100, before: int | None = None
    ) -> list[Run]:
        """See Ledger.runs."""
        return await asyncio.to_thread(self.sync.runs, query, limit=limit, before=before)

    async def events(
        self, run: RunName, *, follow: bool = False, after: int = 0
    ) -> AsyncIterator[dict[str, Any]]:
        """See Ledger.events."""
        while True:
            final = (await self.get(run)).final
            page = await asyncio.to_thread(self._events, run, after)
            for event in page:
                after = event["seq"]
                yield event
            if not page and (not follow or final):
                return
            if not page:
                await pause(0.1)

    def _events(self, run: RunName, after: int) -> list[dict[str, Any]]:
        return list(self.sync.events(run, after=after))

    async def wait(
        self, run: RunName, *, timeout: float | str | None = None, drive: str = "auto"
    ) -> Run:
        """See Ledger.wait. Cancelling the task ends the wait; the run goes on."""
        run_id = await asyncio.to_thread(self.sync.run_id, run)
        await self.wait_for([run_id], timeout=timeout, drive=drive)
        return await self.get(run_id)

    async def wait_for(
        self,
        run_ids: Sequence[int],
        *,
        timeout: float | str | None = None,
        drive: str = "auto",
    ) -> None:
        """See Ledger.wait_for. Each wait has a thread of its own: it may last for days, and the
        loop's few threads are for short calls."""
        stop = threading.Event()
        call = functools.partial(
            self.sync.wait_for, run_ids, timeout=timeout, drive=drive, stopped=stop.is_set
        )
        ended = asyncio.wrap_future(_in_own_thread(call))
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            stop.set()
            # Its life gives the run back before the caller goes on, or closes the ledger.
            await asyncio.wait([ended])
            raise

    async def note(self, run: RunName, text: str) -> Run:
        """See Ledger.note."""
        return await asyncio.to_thread(self.sync.note, run, text)

    async def tag(
        self,
        run: RunName,
        tags: Mapping[str, str] | None = None,
        *,
        remove: Collection[str] = (),
    ) -> Run:
        """See Ledger.tag."""
        return await asyncio.to_thread(self.sync.tag, run, tags, remove=remove)

    async def facets(self, query: str = "", *, by: Sequence[str] = FACETS) -> dict[str, Any]:
        """See Ledger.facets."""
        return await asyncio.to_thread(self.sync.facets, query, by=by)

    async def runs_at(
        self, as_of: Moment, query: str = "", *, limit: int = 100, before: int | None = None
    ) -> list[dict[str, Any]]:
        """See Ledger.runs_at."""
        return await asyncio.to_thread(self.sync.runs_at, as_of, query, limit=limit, before=before)

    async def show_at(self, run: RunName, as_of: Moment) -> dict[str, Any]:
        """See Ledger.show_at."""
        return await asyncio.to_thread(self.sync.show_at, run, as_of)

    async def stats(self, query: str = "", **options: Any) -> dict[str, Any]:
        """See Ledger.stats."""
        return await asyncio.to_thread(functools.partial(self.sync.stats, query, **options))

    async def result(self, run: RunName) -> str:
        """See Ledger.result."""
        return await asyncio.to_thread(self.sync.result, run)

    async def cancel(self, run: RunName, *, reason: str | None = None) -> Run:
        """See Ledger.cancel."""
        return await asyncio.to_thread(self.sync.cancel, run, reason=reason)

    async def recheck(self, run: RunName) -> Run:
        """See Ledger.recheck."""
        return await asyncio.to_thread(self.sync.recheck, run)

    async def restart(
        self, run: RunName, *, effects: str | None = None, reason: str | None = None
    ) -> Run:
        """See Ledger.restart."""
        return await asyncio.to_thread(self.sync.restart, run, effects=effects, reason=reason)

    async def accept(self, run: RunName, *, reason: str) -> Run:
        """See Ledger.accept."""
        return await asyncio.to_thread(self.sync.accept, run, reason=reason)

    async def resolve(self, run: RunName, *, reason: str) -> Run:
        """See Ledger.resolve."""
        return await asyncio.to_thread(self.sync.resolve, run, reason=reason)

    async def release(self, run: RunName, *, reason: str | None = None) -> Run:
        """See Ledger.release."""
        return await asyncio.to_thread(self.sync.release, run, reason=reason)

    async def plan_restart(self, run: RunName, *, effects: str | None = None) -> RestartPlan:
        """See Ledger.plan_restart."""
        return await asyncio.to_thread(self.sync.plan_restart, run, effects=effects)

    async def answer(
        self, run: RunName, call_id: str, output: str, *, is_error: bool = False
    ) -> Run:
        """See Ledger.answer."""
        return await asyncio.to_thread(self.sync.answer, run, call_id, output, is_error=is_error)

    async def approve(self, run: RunName, call_id: str, *, reason: str | None = None) -> Run:
        """See Ledger.approve."""
        return await asyncio.to_thread(self.sync.approve, run, call_id, reason=reason)

    async def deny(self, run: RunName, call_id: str, *, reason: str) -> Run:
        """See Ledger.deny."""
        return await asyncio.to_thread(self.sync.deny, run, call_id, reason=reason)

    async def rerun(self, run: RunName, call_id: str, *, reason: str | None = None) -> Run:
        """See Ledger.rerun."""
        return await asyncio.to_thread(self.sync.rerun, run, call_id, reason=reason)

    async def adopt(self, remote_id: str, **options: Any) -> Run:
        """See Ledger.adopt."""
        return await asyncio.to_thread(self.sync.adopt, remote_id, **options)

    async def pin(self, run: RunName, *, reason: str | None = None) -> Run:
        """See Ledger.pin."""
        return await asyncio.to_thread(self.sync.pin, run, reason=reason)

    async def unpin(self, run: RunName, *, reason: str | None = None) -> Run:
        """See Ledger.unpin."""
        return await asyncio.to_thread(self.sync.unpin, run, reason=reason)

    async def prune(self, older_than: float | str, **options: Any) -> Pruned:
        """See Ledger.prune."""
        return await asyncio.to_thread(self.sync.prune, older_than, **options)

    async def erase(self, runs: Sequence[RunName] = (), **options: Any) -> Erased:
        """See Ledger.erase."""
        return await asyncio.to_thread(self.sync.erase, runs, **options)

    async def export_to(self, path: str | Path, query: str = "", **options: Any) -> Exported:
        """See Ledger.export_to."""
        return await asyncio.to_thread(self.sync.export_to, path, query, **options)

    async def import_from(self, path: str | Path, **options: Any) -> Imported:
        """See Ledger.import_from."""
        return await asyncio.to_thread(self.sync.import_from, path, **options)

    async def bundle(self, run: RunName, path: str | Path) -> Bundled:
        """See Ledger.bundle."""
        return await asyncio.to_thread(self.sync.bundle, run, path)

    async def anchor(self) -> Anchor:
        """See Ledger.anchor."""
        return await asyncio.to_thread(self.sync.anchor)

    async def verify(
        self,
        runs: Sequence[RunName] | None = None,
        *,
        anchors: Sequence[Anchor | Mapping[str, Any]] = (),
    ) -> Verified:
        """See Ledger.verify."""
        return await asyncio.to_thread(self.sync.verify, runs, anchors=anchors)

    async def cost(
        self, *, by: str | None = None, since: Moment = SINCE, until: Moment | None = None
    ) -> dict[str, Any]:
        """See Ledger.cost."""
        return await asyncio.to_thread(self.sync.cost, by=by, since=since, until=until)

    async def policies(
        self,
        *,
        since: Moment = SINCE,
        until: Moment | None = None,
        endpoint_monthly_usd: Decimal | None = None,
    ) -> dict[str, Any]:
        """See Ledger.policies."""
        return await asyncio.to_thread(
            self.sync.policies,
            since=since,
            until=until,
            endpoint_monthly_usd=endpoint_monthly_usd,
        )

    async def postmortem(self, *, since: Moment, **window: Any) -> dict[str, Any]:
        """See Ledger.postmortem."""
        return await asyncio.to_thread(self.sync.postmortem, since=since, **window)

    async def postmortem_run(self, run: RunName, **options: Any) -> dict[str, Any]:
        """See Ledger.postmortem_run."""
        return await asyncio.to_thread(self.sync.postmortem_run, run, **options)

    async def incidents(self, **window: Any) -> list[dict[str, Any]]:
        """See Ledger.incidents."""
        return await asyncio.to_thread(self.sync.incidents, **window)


def _in_own_thread(call: Callable[[], None]) -> Future[None]:
    """Run a call in a thread of its own; a process that exits does not wait for it."""
    future: Future[None] = Future()

    def work() -> None:
        try:
            call()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=work, name="runward-wait", daemon=True).start()
    return future
