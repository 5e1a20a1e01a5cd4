"""What the log says of runs: a line for each change of state, and one for each look at debug."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ledger.core.model import Attempt, Facts
    from ledger.core.steps import Step

log = logging.getLogger("runward")
LIFE_LETTERS: Final = 8


def tell_change(before: Facts, after: Facts, life: str) -> None:
    """Say what one commit changed, at info: an attempt that ended, and the state of the run."""
    if not log.isEnabledFor(logging.INFO):
        return
    old, new = before.run, after.run
    for attempt in after.attempts[old.attempts - 1 : new.attempts - 1]:
        log.info("attempt ended in %s", attempt.outcome, extra=_of_attempt(after, attempt, life))
    if (old.state, old.attempts) == (new.state, new.attempts):
        return
    seconds = _seconds(new.created_at, new.finished_at)
    said = {"from": str(old.state), "error_code": new.error_code, "dur_s": seconds}
    log.info("run %s", new.state, extra={**_of_run(after, life), **said})


def tell_call(facts: Facts, step: Step, result: str, seconds: float, life: str) -> None:
    """Say that upstream was asked, at debug."""
    if log.isEnabledFor(logging.DEBUG):
        said = {"result": result, "dur_s": round(seconds, 3)}
        log.debug("call: %s", type(step).__name__.lower(), extra={**_of_run(facts, life), **said})


def _of_run(facts: Facts, life: str) -> dict[str, object]:
    newest = facts.remotes[-1] if facts.remotes else None
    return {
        "run_id": facts.run.id,
        "attempt": facts.run.attempts,
        "remote_id": newest.remote_id if newest else None,
        "worker": life[:LIFE_LETTERS],
    }


def _of_attempt(facts: Facts, attempt: Attempt, life: str) -> dict[str, object]:
    remotes = [remote for remote in facts.remotes if remote.attempt == attempt.number]
    return {
        "run_id": facts.run.id,
        "attempt": attempt.number,
        "remote_id": remotes[-1].remote_id if remotes else None,
        "worker": life[:LIFE_LETTERS],
        "error_code": attempt.error_code,
        "dur_s": _seconds(attempt.opened_at, attempt.ended_at),
    }


def _seconds(begun: datetime, ended: datetime | None) -> float | None:
    return None if ended is None else round((ended - begun).total_seconds(), 3)
