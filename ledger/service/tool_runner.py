"""Run the function behind a recorded call."""

from __future__ import annotations

from ledger.core.model import Facts
from ledger.core.outcome import ToolDone
from ledger.service.perform import ReadPayloads
from ledger.service.tools import Toolbox, ToolCall


class ToolRunner:
    """The tools of one life."""

    def __init__(self, toolbox: Toolbox, read: ReadPayloads) -> None:
        self._toolbox, self._read = toolbox, read

    async def run(self, facts: Facts, n: int) -> ToolDone:
        """Run call `n`; whatever happens becomes its output."""
        call = facts.calls[n - 1]
        arguments = self._read(facts.run.id, [call.arguments])[call.arguments]
        described = ToolCall(
            key=call.key,
            call_id=call.call_id,
            tool=call.tool,
            run_id=facts.run.id,
            run_key=facts.run.key,
            attempt=call.attempt,
        )
        result = await self._toolbox[call.tool].run(arguments, described)
        return ToolDone(n=n, output=result.output, is_error=result.is_error)
