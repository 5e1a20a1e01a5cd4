"""Run the function behind a recorded call."""

from __future__ import annotations

from collections.abc import Callable

from ledger.core.alphabet import Source
from ledger.core.decide import decide
from ledger.core.model import Change, Facts
from ledger.core.outcome import Outcome, ToolDone, ToolNotStarted, performed
from ledger.core.steps import Context
from ledger.errors import DatabaseError
from ledger.service.perform import ReadPayloads
from ledger.service.tools import Toolbox, ToolCall
from ledger.service.transactional import TransactionalCall
from ledger.store.records import Performed
from ledger.store.snapshot import Snapshot


class ToolRunner:
    """The tools of one life."""

    def __init__(
        self, toolbox: Toolbox, read: ReadPayloads, snapshot: Callable[[], Snapshot]
    ) -> None:
        self._toolbox, self._read, self._snapshot = toolbox, read, snapshot

    async def run(self, facts: Facts, n: int, life: str) -> ToolDone | ToolNotStarted:
        """Run call `n`; whatever happens becomes its output. Not started without its arguments."""
        call = facts.calls[n - 1]
        try:
            arguments = self._read(facts.run.id, [call.arguments])[call.arguments]
        except DatabaseError:
            return ToolNotStarted(n=n, life=life)
        tool = self._toolbox[call.tool]
        names = {"key": call.key, "call_id": call.call_id, "tool": call.tool}
        run_id, run_key = facts.run.id, facts.run.key
        if not tool.spec.transactional:
            described = ToolCall(run_id=run_id, run_key=run_key, attempt=call.attempt, **names)
            result = await tool.run(arguments, described)
            return ToolDone(n=n, output=result.output, is_error=result.is_error)
        view = TransactionalCall(
            run_id=run_id, run_key=run_key, attempt=call.attempt, db=self._snapshot(), **names
        )
        result = await tool.run(arguments, view, after=view.end)
        writes = () if result.is_error else view.writes
        return ToolDone(n=n, output=result.output, is_error=result.is_error, writes=writes)


def after_writes(outcome: Outcome, context: Context, source: Source) -> Performed:
    """What to write once the outcome's own writes were executed, or undone."""

    def after(facts: Facts, result: tuple[int, ...] | str) -> Change:
        assert isinstance(outcome, ToolDone)
        return decide(facts, performed(outcome, result), context, source=source)

    return after
