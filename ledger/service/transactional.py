"""What a transactional tool gets: a view of the database, and a list of what it wants written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ledger.core.model import Scalar, Write
from ledger.errors import NotAllowed
from ledger.service.tools import ToolCall
from ledger.store.snapshot import Snapshot
from ledger.store.statements import judge_write


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionalCall(ToolCall):
    """A call whose effect is what it writes here: executed once, in the transaction that records
    the function's output, or not at all."""

    db: Snapshot
    _writes: list[Write] = field(default_factory=list, init=False, repr=False)
    _ended: list[bool] = field(default_factory=list, init=False, repr=False)

    def write(
        self,
        sql: str,
        params: Mapping[str, Scalar] | None = None,
        *,
        expect_rows: int | None = None,
    ) -> None:
        """Have one INSERT, UPDATE or DELETE with `:name` parameters executed with the output.

        With `expect_rows` another row count undoes all writes of the call, and the model is told.
        Raises InvalidInput for a statement that cannot be allowed, NotAllowed after the call.
        """
        if self._ended:
            raise NotAllowed("the call has ended: what it writes now would never be executed")
        self._writes.append(judge_write(sql, params, expect_rows, tuple(self._writes)))

    @property
    def writes(self) -> tuple[Write, ...]:
        """What was collected so far."""
        return tuple(self._writes)

    def end(self) -> None:
        """Take no more writes, and let the view of the database go."""
        self._ended.append(True)
        self.db.close()
