"""The tools of the simulated lives, and the truth about their effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ledger.clock import pause
from ledger.fuzzing.seams import Mortal
from ledger.service.tools import Tool, Toolbox, ToolCall, tool
from ledger.service.transactional import TransactionalCall

BOOKS: Final = "CREATE TABLE booking (key TEXT NOT NULL, run_id INTEGER NOT NULL)"
BOOK: Final = "INSERT INTO booking (key, run_id) VALUES (:key, :run)"
BOOKED: Final = "SELECT key, COUNT(*) FROM booking GROUP BY key"


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
        made = (self._charge, self._look_up, self._book, self._pay)
        return Toolbox([make(mortal) for make in made])

    def _happen(self, mortal: Mortal, name: str, call: ToolCall) -> None:
        """The effect itself, with a point on either side."""
        mortal.point("tool")
        effect = Effect(name, call.key, call.run_id, mortal.name)
        self.seen.append(effect)
        self.on_effect(effect, call)
        mortal.point("tool")

    async def _work(self, mortal: Mortal, name: str, call: ToolCall, seconds: float) -> None:
        """An effect and the time until its result is there."""
        self._happen(mortal, name, call)
        await pause(seconds)
        mortal.point("tool")

    def _charge(self, mortal: Mortal) -> Tool:
        @tool
        async def charge(amount: int, call: ToolCall) -> str:
            """Charge an amount: must not happen twice."""
            await self._work(mortal, "charge", call, 0.5)
            return f"charged {amount}"

        return charge

    def _pay(self, mortal: Mortal) -> Tool:
        @tool(requires_approval=True)
        async def pay(amount: int, call: ToolCall) -> str:
            """Pay an amount, once a person has said yes."""
            await self._work(mortal, "pay", call, 0.3)
            return f"paid {amount}"

        return pay

    def _book(self, mortal: Mortal) -> Tool:
        @tool(transactional=True)
        def book(amount: int, call: TransactionalCall) -> str:
            """Book an amount in the ledger's own database: with the record, or not at all."""
            self._happen(mortal, "book", call)
            values: dict[str, str | int] = {"key": call.key, "run": call.run_id}
            call.write(BOOK, values, expect_rows=1)
            return f"booked {amount}"

        return book

    def _look_up(self, mortal: Mortal) -> Tool:
        @tool(idempotent=True)
        async def look_up(query: str, call: ToolCall) -> str:
            """Look something up: may happen any number of times."""
            await self._work(mortal, "look_up", call, 0.2)
            return f"found {query}"

        return look_up
