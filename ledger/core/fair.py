"""Fair turns: every flow that waits is served as often as any other, whatever its demand."""

from __future__ import annotations

import heapq
from collections import deque
from typing import Any, Generic, TypeVar

T = TypeVar("T", bound=tuple[Any, ...])


class Ring(Generic[T]):
    """The least item first within a flow; flow after flow in turn. All items cost the same.

    A flow that begins to wait has its first turn after at most one of each other flow.
    """

    def __init__(self) -> None:
        self._flows: dict[str, list[T]] = {}
        self._turns: deque[str] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, flow: str, item: T) -> None:
        """Let an item wait."""
        waiting = self._flows.get(flow)
        if waiting is None:
            self._flows[flow] = [item]
            self._turns.append(flow)
        else:
            heapq.heappush(waiting, item)
        self._size += 1

    def pop(self) -> tuple[str, T]:
        """The item whose turn it is, and its flow. Raises IndexError when none waits."""
        flow = self._turns.popleft()
        waiting = self._flows[flow]
        item = heapq.heappop(waiting)
        self._size -= 1
        if waiting:
            self._turns.append(flow)
        else:
            del self._flows[flow]
        return flow, item

    def again(self, flow: str) -> None:
        """What was popped did not count: its flow has the next turn, if it still waits."""
        if self._turns and self._turns[-1] == flow:
            self._turns.rotate(1)
