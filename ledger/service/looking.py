"""What a life takes from each call besides its outcome: that it was made, when to look next, what
webhooks should have told, and how long such runs take."""

from __future__ import annotations

import random
from datetime import datetime

from ledger.core.counting import name_of, outcome_of, spend
from ledger.core.model import Facts
from ledger.core.outcome import Observed, Outcome
from ledger.core.pacing.next_look import DEFAULT
from ledger.service.coverage import Coverage
from ledger.service.entry import Entry, look_after
from ledger.service.learning import Learning
from ledger.service.usage import Call, Usage


class Looking:
    """The looks of one life."""

    def __init__(self, coverage: Coverage, learning: Learning, rng: random.Random) -> None:
        self.coverage, self.learning = coverage, learning
        self.usage = Usage()
        self._rng = rng

    def count(self, entry: Entry, call: Call | None, now: datetime, *, news: bool) -> None:
        """The call behind an outcome, for its run and for the hour."""
        if call is None:
            return
        result = outcome_of(call.operation, call.result, news=news)
        entry.spent = spend(entry.spent, name_of(call.operation, result))
        self.usage.count(now, entry.facts.run.account_id, call.operation, result, call.seconds)

    def made(
        self, entry: Entry, outcome: Outcome, before: Facts, now: datetime, *, news: bool
    ) -> None:
        """A call was made on a run that was as `before`: the next look follows from it."""
        look = isinstance(outcome, Observed)
        entry.look = look_after(
            entry.look,
            outcome,
            entry.facts,
            news=news,
            now=now,
            spread=self._rng.random(),
            choice=self.learning.choice(entry.facts, now) if look else DEFAULT,
        )
        self.coverage.saw(before, entry.facts, outcome, now)
        if news:
            self.learning.saw(entry.facts, outcome)
