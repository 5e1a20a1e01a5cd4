"""Fair turns: every flow that waits is served as often as any other, whatever its demand."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Ring(Generic[T]):
    """First come, first served within a flow; flow after flow in turn. All items cost the same.

    A flow that begins to wait has its first turn after at most one of each other flow.
    """

    def __init__(self) -> None:
        self._flows: dict[str, deque[T]] = {}
        self._turns: deque[str] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, flow: str, item: T) -> None:
        """Let an item wait."""
        waiting = self._flows.get(flow)
        if waiting is None:
            self._flows[flow] = deque((item,))
            self._turns.append(flow)
        else:
            waiting.append(item)
        self._size += 1

    def pop(self) -> T:
        """The item whose turn it is. Raises IndexError when none waits."""
        flow = self._turns.popleft()
        waiting = self._flows[flow]
        item = waiting.popleft()
        self._size -= 1
        if waiting:
            self._turns.append(flow)
        else:
            del self._flows[flow]
        return item

    def put_back(self, flow: str) -> None:
        """What was popped did not count: the flow has the next turn again, if it still waits."""
        if flow in self._flows:
            self._turns.remove(flow)
            self._turns.appendleft(flow)
