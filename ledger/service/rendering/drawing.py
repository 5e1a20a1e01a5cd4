"""A timeline drawn in characters: a bar for each attempt, and a line for each sort of mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

SHADES: Final = {
    "queued": "░",
    "in_progress": "█",
    "requires_action": "▒",
    "cancelling": "x",
    "backoff": "·",
}
SIGNS: Final = {"looks": "·", "webhook": "w", "takeover": "T", "restart": "r", "cancel": "c"}
OTHER: Final = "!"
TOOL: Final = "▬"
NAMES: Final = 12
BAR_LEAST, BAR_MOST = 20, 160


def draw(run: Mapping[str, Any], now: datetime, width: int) -> list[str]:
    """The lines for one run as `show` gives it, at most `width` characters wide. `now` ends what
    still lasts."""
    told = run["timeline"]
    phases, marks = told["phases"], told["marks"]
    if not phases:
        return []
    axis = _Axis(phases, marks, now, max(BAR_LEAST, min(width - NAMES - 24, BAR_MOST)))
    lines = [" " * NAMES + axis.scale()]
    for attempt in run["attempts_detail"]:
        of = [phase for phase in phases if phase["attempt"] == attempt["number"]]
        lines.append(_attempt(attempt, of, axis))
    kinds = list(dict.fromkeys(mark["kind"] for mark in marks))
    lines += [_marks(kind, [m for m in marks if m["kind"] == kind], axis) for kind in kinds]
    used = {phase["name"] for phase in phases}
    legend = [f"{shade} {name}" for name, shade in SHADES.items() if name in used]
    return [line.rstrip() for line in (*lines, " " * NAMES + "  ".join(legend))]


class _Axis:
    """Where an instant stands on a bar."""

    def __init__(
        self,
        phases: Sequence[Mapping[str, Any]],
        marks: Sequence[Mapping[str, Any]],
        now: datetime,
        cells: int,
    ) -> None:
        times = [_time(one[name]) for one in (*phases, *marks) for name in ("since", "until", "at")
                 if one.get(name)]  # fmt: skip
        lasting = any(phase["until"] is None for phase in phases)
        self.begin = min(times)
        self.end = max([*times, now] if lasting else times)
        self.cells = cells

    def cell(self, at: datetime) -> int:
        """The cell of an instant; the end is in the last one."""
        seconds = (self.end - self.begin).total_seconds()
        share = (at - self.begin).total_seconds() / seconds if seconds > 0 else 0.0
        return max(0, min(int(share * self.cells), self.cells - 1))

    def scale(self) -> str:
        """Begin and end, at their ends of the bar."""
        first = self.begin.strftime("%Y-%m-%d %H:%M:%S%z")
        last = "+" + lasting(_seconds(self.begin, self.end))
        return first + last.rjust(max(self.cells - len(first), len(last) + 1))


def _attempt(attempt: Mapping[str, Any], phases: Sequence[Mapping[str, Any]], axis: _Axis) -> str:
    bar = [" "] * axis.cells
    for phase in phases:
        until = _time(phase["until"]) if phase["until"] else axis.end
        for cell in range(axis.cell(_time(phase["since"])), axis.cell(until) + 1):
            bar[cell] = SHADES.get(phase["name"], "?")
    code = attempt["error_code"]
    end = attempt["outcome"] or phases[-1]["name"] if phases else attempt["outcome"] or ""
    return (
        f"attempt {attempt['number']}".ljust(NAMES)
        + "".join(bar)
        + f" {end}"
        + (f": {code}" if code else "")
    )


def _marks(kind: str, marks: Sequence[Mapping[str, Any]], axis: _Axis) -> str:
    bar = [" "] * axis.cells
    for mark in marks:
        first = axis.cell(_time(mark["at"]))
        last = axis.cell(_time(mark["until"])) if mark["until"] else first
        sign = TOOL if kind == "tool" else SIGNS.get(kind, OTHER)
        for cell in range(first, last + 1):
            bar[cell] = sign
    count = sum(mark["count"] for mark in marks)
    texts = list(dict.fromkeys(mark["text"] for mark in marks if mark["text"]))
    more = f"{count} {', '.join(texts)}" if texts else str(count)
    return kind.ljust(NAMES) + "".join(bar) + " " + more[:60]


def lasting(seconds: float) -> str:
    """A length of time for people: 4.2 s, 5 min 12 s, 3 h 5 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _seconds(since: datetime, until: datetime) -> float:
    return (until - since).total_seconds()
