"""What the failed runs have in common and the others of the same window have not: an association.

The unit is the run. For each value of each attribute Fisher's exact test asks, one-sided, whether
failures are more frequent with it; Benjamini and Hochberg bound the share of false findings among
all values tested. Nothing here says why: see docs/postmortem.md for the limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, TypeAlias

from ledger.core.record import evolve, record
from ledger.core.statistics import Ratio, benjamini_hochberg, fisher_greater, risk_ratio

Q_MAX: Final = 0.05
LOWER_BOUND_MIN: Final = 1.2
"""A risk ratio whose interval begins lower says too little to be named."""
FAILED_MIN: Final = 10
"""With fewer failures there is nothing to test: the counts are listed."""
SUPPORT_MIN: Final = 3
SUPPORT_SHARE: Final = 0.05
COMMON_SHARE: Final = 0.95
"""A value that so many of both sides have tells nothing apart."""
VALUES_MAX: Final = 200
LISTED_MAX: Final = 20
Value: TypeAlias = str | tuple[str, ...] | None
"""One value, several, or none: a missing value is never tested."""
Columns: TypeAlias = Mapping[str, Sequence[Value]]


@record
class Counted:
    """One value of one attribute: how many runs with it failed, of how many; and without it."""

    attribute: str
    value: str
    failed: int
    runs: int
    other_failed: int
    other_runs: int


@record
class Standing:
    """A value with which runs failed more often, and the values that say the same of them."""

    of: Counted
    p: float
    q: float
    ratio: Ratio
    covers: float
    """The share of all failures that have it."""
    also: tuple[tuple[str, str], ...] = ()
    groups: int = 0
    """How many independent groups its failed runs are of."""
    largest_group: float = 0.0
    """The share of its failed runs that one group has: above one half, the tests mean little."""


@record
class Compared:
    """What came of comparing failed runs with the others."""

    failed: int
    others: int
    tested: int
    """Values tested; 0 where there were too few failures."""
    found: tuple[Standing, ...] = ()
    counts: tuple[Counted, ...] = ()
    """Where nothing was tested: the values that most failures have."""
    left_out: tuple[tuple[str, int], ...] = ()
    """Attributes with too many values, and how many."""


class _Side:
    """Runs, failed and not, that values are counted among."""

    def __init__(self, failed: Sequence[bool], among: Iterable[int]) -> None:
        self.among = list(among)
        self.hit = [index for index in self.among if failed[index]]
        self.support = max(SUPPORT_MIN, SUPPORT_SHARE * len(self.hit))

    def counted(self, attribute: str, column: Sequence[Value]) -> list[Counted]:
        """Each value of a column with its counts."""
        runs, failed = _tally(column, self.among), _tally(column, self.hit)
        whole, hits = len(self.among), len(self.hit)
        return [
            Counted(
                attribute=attribute,
                value=value,
                failed=failed[value],
                runs=count,
                other_failed=hits - failed[value],
                other_runs=whole - count,
            )
            for value, count in sorted(runs.items())
        ]

    def worth_testing(self, one: Counted) -> bool:
        """By what does not depend on who failed, but for values that nearly all have."""
        others = len(self.among) - len(self.hit)
        common = one.failed > COMMON_SHARE * len(self.hit)
        common &= one.runs - one.failed > COMMON_SHARE * others
        return one.runs >= self.support and one.other_runs > 0 and not common

    def stands(self, one: Counted, q: float) -> bool:
        """Whether a value is to be named."""
        ratio = risk_ratio(one.failed, one.runs, one.other_failed, one.other_runs)
        strong = ratio is not None and ratio.low > LOWER_BOUND_MIN
        return strong and q < Q_MAX and one.failed >= self.support


def standing_out(
    failed: Sequence[bool], columns: Columns, groups: Sequence[str | None] | None = None
) -> Compared:
    """Compare the failed runs with the others. Every column has one value for each run.

    Attributes that follow from the outcome, or that the runs were chosen by, must not be among the
    columns. `groups` names what runs have in common that makes them depend on each other.
    """
    side = _Side(failed, range(len(failed)))
    counted = {name: side.counted(name, columns[name]) for name in sorted(columns)}
    left_out = [(name, len(values)) for name, values in counted.items() if len(values) > VALUES_MAX]
    kept = [
        one
        for values in counted.values()
        if len(values) <= VALUES_MAX
        for one in values
        if side.worth_testing(one)
    ]
    hits, others = len(side.hit), len(failed) - len(side.hit)
    if len(side.hit) < FAILED_MIN:
        most = sorted(kept, key=lambda one: (-one.failed, one.runs, one.attribute, one.value))
        listed = tuple(one for one in most if one.failed)[:LISTED_MAX]
        return Compared(
            failed=hits, others=others, tested=0, counts=listed, left_out=tuple(left_out)
        )
    heads = _collapsed(failed, columns, side, kept)
    return Compared(
        failed=hits,
        others=others,
        tested=len(kept),
        found=tuple(_grouped(one, side, columns, groups) for one in heads),
        left_out=tuple(left_out),
    )


def _named(side: _Side, kept: Sequence[Counted]) -> list[Standing]:
    """The values that stand out, the strongest first."""
    ps = [
        fisher_greater(
            one.failed, one.runs - one.failed, one.other_failed, one.other_runs - one.other_failed
        )
        for one in kept
    ]
    found = []
    for one, p, q in zip(kept, ps, benjamini_hochberg(ps), strict=True):
        ratio = risk_ratio(one.failed, one.runs, one.other_failed, one.other_runs)
        if ratio is not None and side.stands(one, q):
            covers = one.failed / len(side.hit)
            found.append(Standing(of=one, p=p, q=q, ratio=ratio, covers=covers))
    found.sort(key=lambda s: (-s.ratio.low * s.covers, s.of.attribute, s.of.value))
    return found


def _collapsed(
    failed: Sequence[bool], columns: Columns, side: _Side, kept: Sequence[Counted]
) -> list[Standing]:
    """Each that still stands out where all runs with a stronger one are left aside; what does not
    is told of with the strongest, which says the same of these runs."""
    waiting = _named(side, kept)
    heads: list[Standing] = []
    rest = side
    while waiting:
        head, *waiting = waiting
        of = (head.of.attribute, head.of.value)
        rest = _Side(failed, (i for i in rest.among if not _has(columns[of[0]][i], of[1])))
        also: list[Standing] = []
        standing: list[Standing] = []
        for one in waiting:
            (standing if _still(rest, columns, one.of) else also).append(one)
        heads.append(evolve(head, also=tuple((one.of.attribute, one.of.value) for one in also)))
        waiting = standing
    return heads


def _still(rest: _Side, columns: Columns, of: Counted) -> bool:
    again = rest.counted(of.attribute, columns[of.attribute])
    found = next((one for one in again if one.value == of.value), None)
    if found is None or not found.other_runs:
        return False
    p = fisher_greater(
        found.failed,
        found.runs - found.failed,
        found.other_failed,
        found.other_runs - found.other_failed,
    )
    return rest.stands(found, p)


def _grouped(
    one: Standing, side: _Side, columns: Columns, groups: Sequence[str | None] | None
) -> Standing:
    """How its failed runs spread over groups; a run without a group is one by itself."""
    if groups is None:
        return one
    column = columns[one.of.attribute]
    mine = [i for i in side.hit if _has(column[i], one.of.value)]
    sizes = Counter(groups[i] if groups[i] is not None else f"\0{i}" for i in mine)
    largest = max(sizes.values(), default=0) / max(len(mine), 1)
    return evolve(one, groups=len(sizes), largest_group=largest)


def _has(cell: Value, value: str) -> bool:
    return value in cell if isinstance(cell, tuple) else cell == value


def _tally(column: Sequence[Value], among: Iterable[int]) -> Counter[str]:
    cells = Counter(map(column.__getitem__, among))
    if not any(isinstance(cell, tuple) for cell in cells):
        del cells[None]
        return cells  # type: ignore[return-value]
    return Counter(
        dict(_summed(chain.from_iterable(_parts(cell, count) for cell, count in cells.items())))
    )


def _parts(cell: Value, count: int) -> list[tuple[str, int]]:
    if cell is None:
        return []
    return [(part, count) for part in (set(cell) if isinstance(cell, tuple) else (cell,))]


def _summed(parts: Iterable[tuple[str, int]]) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for value, count in parts:
        found[value] += count
    return found
