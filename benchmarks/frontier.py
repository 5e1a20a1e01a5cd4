"""The picture of calls against delay: one small chart a class, drawn by hand, without a library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from benchmarks.fleet import Frontier, drawn
from ledger.core.pacing.policies import Pace
from ledger.core.pacing.rehearsal import rehearse

WIDTH, HEIGHT, GAP, ACROSS = 300, 220, 48, 3
INK, SOFT, BEST = "#1f2328", "#d0d7de", "#0969da"
MARKS = ("#cf222e", "#9a6700", "#8250df", "#bf3989")


def draw(frontiers: Mapping[str, Frontier], paces: Mapping[str, Pace]) -> str:
    """An SVG: the least calls for each mean delay, the learned policy on it, the others above."""
    rows = math.ceil(len(frontiers) / ACROSS)
    wide, high = ACROSS * (WIDTH + GAP) + GAP, rows * (HEIGHT + 2 * GAP) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" role="img" '
        'font-family="system-ui, sans-serif" font-size="11">',
        "<title>Calls a run against mean delay, for each class of runs</title>",
        f'<rect width="{wide}" height="{high}" fill="#ffffff"/>',
    ]
    for n, (name, frontier) in enumerate(frontiers.items()):
        x = GAP + n % ACROSS * (WIDTH + GAP)
        y = GAP + n // ACROSS * (HEIGHT + 2 * GAP)
        parts.append(f'<g transform="translate({x} {y})">{_panel(name, frontier, paces)}</g>')
    return "\n".join([*parts, _legend(paces, high - 18), "</svg>", ""])


def _panel(name: str, frontier: Frontier, paces: Mapping[str, Pace]) -> str:
    """One class: both axes are logarithms."""
    runs = drawn(name, 1_000, seed=2)
    found = [rehearse(runs, pace) for pace in paces.values()]
    xs = [mean for mean, _ in frontier.points] + [one.mean for one in found]
    ys = [calls for _, calls in frontier.points] + [one.calls for one in found]
    low, left = min(ys), min(xs)
    tall, broad = math.log(max(ys) / low), math.log(max(xs) / left)

    def at(mean: float, calls: float) -> tuple[float, float]:
        return WIDTH * math.log(mean / left) / broad, HEIGHT * (1 - math.log(calls / low) / tall)

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in frontier.points))
    dots = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>'
        for (x, y), color in zip((at(one.mean, one.calls) for one in found), MARKS, strict=True)
    ]
    return "".join(
        [
            f'<text x="0" y="-10" fill="{INK}" font-weight="600">{escape(name)}</text>',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="{SOFT}"/>',
            f'<polyline points="{line}" fill="none" stroke="{BEST}" stroke-width="2"/>',
            *dots,
            *_scale(left, max(xs), low, max(ys)),
        ]
    )


def _scale(left: float, right: float, low: float, top: float) -> list[str]:
    """The ends of both axes."""
    return [
        f'<text x="0" y="{HEIGHT + 14}" fill="{INK}">{left:.2g} s</text>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT + 14}" fill="{INK}" text-anchor="middle">'
        "mean delay</text>",
        f'<text x="{WIDTH}" y="{HEIGHT + 14}" fill="{INK}" text-anchor="end">{right:.2g} s</text>',
        f'<text x="-4" y="{HEIGHT}" fill="{INK}" text-anchor="end">{low:.2g}</text>',
        f'<text x="-4" y="10" fill="{INK}" text-anchor="end">{top:.3g}</text>',
        f'<text x="-4" y="{HEIGHT / 2}" fill="{INK}" text-anchor="end">calls</text>',
    ]


def _legend(paces: Mapping[str, Pace], y: float) -> str:
    """What the line and the marks are."""
    parts = [f'<text x="{GAP}" y="{y}" fill="{BEST}">offline optimum</text>']
    for n, (name, color) in enumerate(zip(paces, MARKS, strict=True)):
        x = GAP + 140 + 210 * n
        parts.append(f'<text x="{x}" y="{y}" fill="{color}">{escape(name)}</text>')
    return "".join(parts)
