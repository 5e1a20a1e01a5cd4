"""Seals and anchors as a Ledger has them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ledger.core.anchor import Anchor, judge_anchor
from ledger.errors import InvalidInput, NotFound
from ledger.store.seals import SEAL_RUNS_MAX, covered, newest_seal, seal

if TYPE_CHECKING:
    from ledger.store.store import Store
    from ledger.store.writer import ThreadWriter, Writer

ANCHORS_MAX: Final = 1_000
SEALS_MAX: Final = 100_000
"""So many seals are made at once at most; more only if runs never stop changing meanwhile."""


async def seal_some(store: Store, writer: Writer, now: datetime, *, seals: int) -> bool:
    """Make at most so many seals; says whether there is nothing left to seal."""
    make = functools.partial(seal, ledger=store.ledger_id, now=now)
    for _ in range(seals):
        made = await writer.transact(make)
        if made is None or made.leaves < SEAL_RUNS_MAX:
            return True
    return False


def make_anchor(store: Store, writer: ThreadWriter, now: datetime) -> Anchor:
    """Seal all there is, and the anchor of the newest seal. Raises NotFound without a run."""
    make = functools.partial(seal, ledger=store.ledger_id, now=now)
    for _ in range(SEALS_MAX):
        made = writer.run(make).result()
        if made is None or made.leaves < SEAL_RUNS_MAX:
            break
    newest = store.read(newest_seal)
    if newest is None:
        raise NotFound("there is nothing to seal yet: this ledger has no run")
    runs, events = store.read(lambda c: covered(c, newest.number))
    return Anchor(
        ledger=store.ledger_id,
        seal=newest.number,
        hash=newest.hash.hex(),
        sealed_at=newest.sealed_at.isoformat(),
        runs=runs,
        events=events,
    )


def judge_anchors(
    anchors: Sequence[Anchor | Mapping[str, Any]], ledger: str, *, whole: bool
) -> list[Anchor]:
    """The anchors as records. Raises InvalidInput for one that is none, or of another ledger."""
    if not isinstance(anchors, list | tuple) or len(anchors) > ANCHORS_MAX:
        raise InvalidInput(f"anchors are given as a list of at most {ANCHORS_MAX}")
    if anchors and not whole:
        raise InvalidInput("an anchor is about the whole ledger: name no runs beside it")
    judged = [judge_anchor(anchor) for anchor in anchors]
    for anchor in judged:
        if anchor.ledger != ledger:
            raise InvalidInput(
                f"the anchor of seal {anchor.seal} is of ledger {anchor.ledger}, and this is "
                f"ledger {ledger}",
                hint="name the database that it was made from: -d URL",
            )
    return judged
