"""The invariants that a database can be asked about: each query names the runs that break one.

DESIGN's numbering, and 12. Those that only a running system can show (3, 10, 11) are tests alone; 9
is `verify`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from ledger.core.lifecycle import FINAL

_FINAL: Final = ", ".join(f"'{state}'" for state in sorted(FINAL))
OFFENDERS_MAX: Final = 20
EACH: Final = "each_pair"
"""The function that makes rows `key` and `value` of a JSON object."""
_EACH: Final = {"sqlite": "json_each", "postgresql": "jsonb_each_text"}


@dataclass(frozen=True, slots=True)
class Invariant:
    """One promise. `query` selects ids of runs that break it; None where no query can tell."""

    number: int
    text: str
    query: str | None
    fix: str = "runward events RUN shows how it came about; please report it"


INVARIANTS: Final = (
    Invariant(
        1,
        "non-final, or any remote unsettled, if and only if exactly one watch row",
        f"""SELECT r.id FROM run r LEFT JOIN watch w ON w.run_id = r.id
            WHERE COALESCE(w.why, '') <> 'evidence'
                AND (w.run_id IS NOT NULL) <> (r.state NOT IN ({_FINAL}) OR EXISTS (
                SELECT 1 FROM remote m WHERE m.run_id = r.id AND NOT m.settled))""",
    ),
    Invariant(
        2,
        "every committed transition is legal, and each begins where the last one ended",
        """SELECT t.run_id FROM (
                SELECT run_id, from_state, to_state,
                    LAG(to_state, 1, 'queued') OVER (PARTITION BY run_id ORDER BY seq) AS before_it,
                    LEAD(seq) OVER (PARTITION BY run_id ORDER BY seq) AS following
                FROM event WHERE to_state IS NOT NULL) t
            JOIN run r ON r.id = t.run_id
            WHERE t.from_state <> t.before_it
                OR (t.following IS NULL AND t.to_state <> r.state)""",
    ),
    Invariant(3, "a stale owner changes no state, event or tool call", None),
    Invariant(
        4,
        "creates sent <= 1 + re-creates that the history authorises",
        """SELECT run_id FROM event
            WHERE kind IN ('create_sending', 'create_not_sent', 'create_refused')
            GROUP BY run_id, remote
            HAVING SUM(CASE kind WHEN 'create_sending' THEN 1 ELSE -1 END) > 1""",
    ),
    Invariant(
        5,
        "a tool that is not idempotent starts at most once per call.key, unless an event allows it",
        """SELECT s.run_id FROM event s
            WHERE (s.kind IN ('tool_rerun', 'tool_not_started')
                OR (CAST(s.detail ->> 'idempotent' AS TEXT) IN ('0', 'false') AND (
                    (s.kind = 'tool_started' AND s.detail ->> 'transactional' IS NULL)
                    OR (s.kind = 'tool_finished' AND s.detail ->> 'transactional' IS NOT NULL
                        AND CAST(s.detail ->> 'is_error' AS TEXT) IN ('0', 'false')))))
                AND NOT EXISTS (SELECT 1 FROM event e WHERE e.run_id = s.run_id
                    AND e.kind = 'restarted' AND e.detail ->> 'effects' = 'rerun')
            GROUP BY s.run_id, s.detail ->> 'key'
            HAVING SUM(CASE WHEN s.kind IN ('tool_started', 'tool_finished')
                THEN 1 ELSE -1 END) > 1""",
    ),
    Invariant(
        6,
        "outputs sent equal outputs recorded: nothing is submitted that was not recorded before",
        """SELECT run_id FROM tool_call
            WHERE sent_at IS NOT NULL AND (output IS NULL OR finished_at IS NULL)""",
    ),
    Invariant(
        7,
        "a verdict and an ended attempt never change: attempts end exactly once, in order",
        f"""SELECT a.run_id FROM attempt a JOIN run r ON r.id = a.run_id
            WHERE (a.outcome IS NULL) <> (a.ended_at IS NULL)
                OR (a.number < r.attempts AND a.outcome IS NULL)
                OR (a.number = r.attempts AND r.state IN ({_FINAL}) AND a.outcome <> r.state)""",
    ),
    Invariant(
        8,
        "last_error is kept verbatim for every attempt that has one",
        """SELECT a.run_id FROM attempt a
            LEFT JOIN payload p ON p.run_id = a.run_id AND p.n = a.last_error
            WHERE a.last_error IS NOT NULL AND p.n IS NULL""",
    ),
    Invariant(9, "the hash chain verifies (runward verify)", None),
    Invariant(
        10, "no life commits under a lost fence; no effect starts 2 s after its commit", None
    ),
    Invariant(11, "a sweeper sees every row, and one poisonous row never stops the others", None),
    Invariant(
        12,
        "the tags that runs are found by are those that they show",
        f"""SELECT r.id FROM run r, {EACH}(r.tags) j WHERE NOT EXISTS (
                SELECT 1 FROM tag t WHERE t.name = j.key AND t.value = j.value
                    AND t.created_at = r.created_at AND t.run_id = r.id)
            UNION ALL
            SELECT t.run_id FROM tag t LEFT JOIN run r ON r.id = t.run_id
            WHERE r.id IS NULL OR NOT EXISTS (
                SELECT 1 FROM {EACH}(r.tags) j WHERE j.key = t.name AND j.value = t.value)""",
    ),
)


def broken(connection: sa.Connection, invariant: Invariant) -> list[int]:
    """Runs that break an invariant, some of them at most."""
    if invariant.query is None:
        return []
    query = invariant.query.replace(EACH, _EACH[connection.dialect.name])
    rows = connection.execute(sa.text(query + f" LIMIT {OFFENDERS_MAX}"))
    return sorted({row[0] for row in rows})
