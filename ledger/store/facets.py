"""How many of the runs that match a query have which value, counted up to a cap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.query import Term
from ledger.store.facts import RUN
from ledger.store.finding import few_runs, plan
from ledger.store.leads import Condition, among_ids, hidden
from ledger.store.queries import ACCOUNT
from ledger.store.search import TAGS

RUNS_MAX: Final = 5_000
EXAMINED_MAX: Final = 20_000
"""So many are looked at, where several conditions have to be met and none is rare."""
VALUES_MAX: Final = 20
COLUMNS: Final[dict[str, sa.Column[Any]]] = {
    "status": RUN.c.state,
    "provider": RUN.c.provider,
    "model": RUN.c.model,
    "error_code": RUN.c.error_code,
    "profile": RUN.c.account_id,
    "kind": RUN.c.kind,
}
TAG: Final = "tag:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """Counts of values by field, the most frequent first.

    `runs` were counted; if `capped`, more may match, and every count is "at least".
    `others` is how many of the counted runs have a value that is not listed.
    """

    runs: int
    capped: bool
    counts: dict[str, list[tuple[str | None, int]]]
    others: dict[str, int]


def count_facets(connection: sa.Connection, terms: Sequence[Term], by: Sequence[str]) -> Facets:
    """The counts of these fields: names of COLUMNS, and `tag:NAME`."""
    search = plan(connection, terms)
    examined = 0
    if search.ids is None:
        few = few_runs(search, EXAMINED_MAX).subquery()
        counted = sa.select(sa.func.count()).select_from(few)
        examined = int(connection.execute(counted).scalar_one())
        some: Condition = RUN.c.id.in_(sa.select(few.c[0]))
    else:
        some = among_ids(connection.dialect.name, RUN.c.id, search.ids)
    plain = [name for name in by if name in COLUMNS]
    columns = (RUN.c.id, *(COLUMNS[name] for name in plain))
    statement = sa.select(*columns).where(some, hidden(search.rest)).limit(RUNS_MAX)
    runs = list(connection.execute(statement))
    counts: dict[str, Counter[Any]] = {
        name: Counter(row[index] for row in runs) for index, name in enumerate(plain, start=1)
    }
    if "profile" in counts:
        counts["profile"] = _profiles(connection, counts["profile"])
    ids = [row.id for row in runs]
    for name in by:
        if name not in COLUMNS:
            counts[name] = _tags(connection, ids, name.removeprefix(TAG))
    capped = len(runs) >= RUNS_MAX or examined >= EXAMINED_MAX
    return _cut(counts, by, runs=len(runs), capped=capped)


def _tags(connection: sa.Connection, ids: Sequence[int], name: str) -> Counter[Any]:
    """The values of one tag; a run without it has the value None."""
    some = among_ids(connection.dialect.name, TAGS.c.run_id, ids)
    statement = sa.select(TAGS.c.value).where(some, TAGS.c.name == name)
    found = Counter(row.value for row in connection.execute(statement))
    found[None] = len(ids) - found.total()
    return +found


def _profiles(connection: sa.Connection, accounts: Counter[Any]) -> Counter[Any]:
    names = {
        row[0]: row[1] for row in connection.execute(sa.select(ACCOUNT.c.id, ACCOUNT.c.profile))
    }
    found: Counter[Any] = Counter()
    for account, count in accounts.items():
        found[names[account]] += count
    return found


def _cut(counts: dict[str, Counter[Any]], by: Sequence[str], *, runs: int, capped: bool) -> Facets:
    shown, others = {}, {}
    for name in by:
        ranked = sorted(counts[name].items(), key=lambda item: (-item[1], str(item[0])))
        shown[name] = [
            (None if value is None else str(value), count) for value, count in ranked[:VALUES_MAX]
        ]
        others[name] = sum(count for _, count in ranked[VALUES_MAX:])
    return Facets(runs=runs, capped=capped, counts=shown, others=others)
