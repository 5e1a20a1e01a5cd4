"""The tools of the simulated lives, and the truth about their effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ledger.clock import pause
from ledger.fuzzing.seams import Mortal
from ledger.service.tools import Tool, Toolbox, ToolCall, tool


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect on the world, seen from there."""

    tool: str
    key: str
    run_id: int
    life: str


@dataclass(slots=True)
class Effects:
    """Every effect in order. `on_effect` looks at the ledger in the very moment of one."""

    on_effect: Callable[[Effect, ToolCall], None]
    seen: list[Effect] = field(default_factory=list)

    def toolbox(self, mortal: Mortal) -> Toolbox:
        """The tools of one life."""
        return Toolbox([self._charge(mortal), self._look_up(mortal)])

    async def _work(self, mortal: Mortal, name: str, call: ToolCall, seconds: float) -> None:
        """Before, the effect itself, and after: a life can die or be stopped anywhere here."""
        mortal.point("tool")
        effect = Effect(name, call.key, call.run_id, mortal.name)
        self.seen.append(effect)
        self.on_effect(effect, call)
        mortal.point("tool")
        await pause(seconds)
        mortal.point("tool")

    def _charge(self, mortal: Mortal) -> Tool:
        @tool
        async def charge(amount: int, call: ToolCall) -> str:
            """Charge an amount: must not happen twice."""
            await self._work(mortal, "charge", call, 0.5)
            return f"charged {amount}"

        return charge

    def _look_up(self, mortal: Mortal) -> Tool:
        @tool(idempotent=True)
        async def look_up(query: str, call: ToolCall) -> str:
            """Look something up: may happen any number of times."""
            await self._work(mortal, "look_up", call, 0.2)
            return f"found {query}"

        return look_up
