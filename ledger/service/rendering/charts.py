"""Charts as declarative Vega-Lite specifications, drawn to SVG where `vl-convert-python` is there.

The specifications hold their own data and ask for nothing from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ledger.errors import ConfigurationError

SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v5.json"
WIDTH: Final = 720
COLOURS: Final = {
    "completed": "#4c9f70",
    "incomplete": "#d9a441",
    "failed": "#c0392b",
    "expired": "#8e44ad",
    "cancelled": "#7f8c8d",
}
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]+")
MARKS_MAX: Final = 8


def specs(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """All charts of a report, by name."""
    if "run" in numbers:
        return {"states": gantt(numbers)}
    return {
        "ends": ends(numbers["over_time"]),
        "fingerprints": fingerprints(numbers["over_time"]),
        "recovery": recovery(numbers["recovery"]),
        "headroom": headroom(numbers["headroom"]),
    }


def ends(over_time: Mapping[str, Any]) -> dict[str, Any]:
    """Verdicts over time, by state."""
    data = [
        {"start": bucket["start"], "state": state, "runs": runs}
        for bucket in over_time["buckets"]
        for state, runs in bucket["ends"].items()
        if runs
    ]
    colour = {
        "field": "state",
        "type": "nominal",
        "scale": {"domain": list(COLOURS), "range": list(COLOURS.values())},
    }
    return _bars(data, "Verdicts over time", "runs", colour, _times(over_time))


def fingerprints(over_time: Mapping[str, Any]) -> dict[str, Any]:
    """Failed attempts over time, by fingerprint; the rarer ones together."""
    totals: dict[str, int] = {}
    for bucket in over_time["buckets"]:
        for mark, count in bucket["fingerprints"].items():
            totals[mark] = totals.get(mark, 0) + count
    shown = sorted(totals, key=lambda mark: (-totals[mark], mark))[:MARKS_MAX]
    data = [
        {
            "start": bucket["start"],
            "fingerprint": mark if mark in shown else "others",
            "attempts": n,
        }
        for bucket in over_time["buckets"]
        for mark, n in bucket["fingerprints"].items()
    ]
    colour = {"field": "fingerprint", "type": "nominal", "scale": {"scheme": "tableau10"}}
    return _bars(data, "Failed attempts over time", "attempts", colour, _times(over_time))


def recovery(found: Mapping[str, Any]) -> dict[str, Any]:
    """What became of failed attempts."""
    data = [
        {"became": name.replace("_", " "), "attempts": of["attempts"]}
        for name, of in found["buckets"].items()
    ]
    return _spec(
        data,
        "What became of failed attempts",
        mark={"type": "bar", "color": "#34688f"},
        encoding={
            "y": {"field": "became", "type": "nominal", "sort": None, "title": None},
            "x": {"field": "attempts", "type": "quantitative", "title": "attempts"},
        },
    )


def stretches(numbers: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str | None, float]]:
    """The phases of one run, each with its end, None while it lasts, and its seconds so far."""
    as_of = numbers["header"]["as_of"]
    return [
        (one, one["until"], round(_seconds(one["since"], one["until"] or as_of), 6))
        for one in numbers["timeline"]["phases"]
    ]


def _seconds(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()


def gantt(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The phases of one run over time, by attempt, and what happened meanwhile."""
    phases = [
        {
            "attempt": one["attempt"],
            "state": one["name"],
            "start": one["since"],
            "end": until or numbers["header"]["as_of"],
            "said": f"attempt {one['attempt']}, {one['name']}: {seconds:g} s from {one['since']}",
        }
        for one, until, seconds in stretches(numbers)
    ]
    meanwhile = [
        {"kind": one["kind"], "at": one["at"], "said": f"{one['kind']} at {one['at']}"}
        for one in numbers["timeline"]["marks"]
    ]
    times = _axis([one[end] for one in phases for end in ("start", "end")], "UTC")
    # Said by us: of a time without an axis the library tells the day of the machine's own zone.
    said = {"description": {"field": "said", "type": "nominal"}}
    bars = {
        "data": {"values": phases},
        "mark": "bar",
        "encoding": {
            "y": {"field": "attempt", "type": "ordinal", "title": "attempt"},
            "x": {"field": "start", **times},
            "x2": {"field": "end"},
            "color": {"field": "state", "type": "nominal"},
            **said,
        },
    }
    marks = {
        "data": {"values": meanwhile},
        "mark": {"type": "tick", "thickness": 2},
        "encoding": {
            "x": {"field": "at", **times},
            "y": {"field": "kind", "type": "nominal", "title": None},
            **said,
        },
    }
    parts = [{"width": WIDTH, **bars}, *([{"width": WIDTH, **marks}] if meanwhile else [])]
    return {**_base("States over time"), "vconcat": parts, "resolve": {"scale": {"x": "shared"}}}


def headroom(found: Mapping[str, Any]) -> dict[str, Any]:
    """What share of the limit was left, and 429s, minute by minute."""
    data = [
        {"minute": row["minute"], "account": f"{row['profile']} ({row['provider']})", **_both(row)}
        for row in found["minutes"]
    ]
    times = [row["minute"] for row in data]
    time = {"field": "minute", **_axis(times, "UTC")}
    colour = {"field": "account", "type": "nominal"}
    return {
        **_base("Headroom and 429s by the minute"),
        "data": {"values": data},
        "vconcat": [
            {
                "width": WIDTH,
                "height": 120,
                "mark": {"type": mark, "clip": True},
                "encoding": {
                    "x": time,
                    "y": {"field": name, "type": "quantitative", "title": name, "scale": scale},
                    "color": colour,
                },
            }
            for mark, name, scale in (
                ("line", "headroom", {"domain": [0, 1]}),
                ("bar", "refused", {}),
            )
        ],
        "resolve": {"scale": {"x": "shared"}},
    }


def counts(report: Mapping[str, Any]) -> dict[str, Any]:
    """What became of the runs of `stats`: over time where it has buckets, else by group."""
    data = [
        {"start": row["bucket"], "group": row["group"] or "-", "state": state, "runs": runs}
        for row in report["groups"] or [{**report["total"], "bucket": None, "group": "all"}]
        for state, runs in sorted(row["outcomes"].items())
    ]
    seconds = report["bucket_seconds"]
    if seconds:
        times = [row["start"] for row in data]
        where = {"field": "start", **_axis(times, f"UTC, each {seconds / 60:g} minutes")}
    else:
        where = {"field": "group", "type": "nominal", "title": report["by"]}
    colour = {"field": "state", "type": "nominal"}
    return _bars(data, "Runs by outcome", "runs", colour, where)


def _both(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"headroom": row["headroom"], "refused": row["refused"]}


def _times(over_time: Mapping[str, Any]) -> dict[str, Any]:
    title = f"UTC, each {over_time['bucket_seconds'] / 60:g} minutes"
    return {"field": "start", **_axis([one["start"] for one in over_time["buckets"]], title)}


def _axis(times: Sequence[str], title: str) -> dict[str, Any]:
    """A time axis; its labels name the day where the times are of several."""
    ends = [datetime.fromisoformat(at) for at in (min(times), max(times))] if times else []
    length = ends[1] - ends[0] if ends else timedelta(0)
    short = "%H:%M" if length > timedelta(minutes=5) else "%H:%M:%S"
    form = short if length <= timedelta(hours=30) else "%m-%d %H:%M"
    axis = {"format": form, "labelOverlap": True}
    return {"type": "temporal", "scale": {"type": "utc"}, "title": title, "axis": axis}


def _bars(
    data: Sequence[Mapping[str, Any]],
    title: str,
    count: str,
    colour: Mapping[str, Any],
    time: Mapping[str, Any],
) -> dict[str, Any]:
    width = max(WIDTH / 96 - 2, 2)
    return _spec(
        data,
        title,
        mark={"type": "bar", "width": width},
        encoding={
            "x": time,
            "y": {"field": count, "type": "quantitative", "stack": "zero", "title": count},
            "color": colour,
        },
    )


def _spec(
    data: Sequence[Mapping[str, Any]],
    title: str,
    *,
    mark: Mapping[str, Any],
    encoding: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        **_base(title),
        "width": WIDTH,
        "height": 200,
        "data": {"values": list(data)},
        "mark": mark,
        "encoding": encoding,
    }


def _base(title: str) -> dict[str, Any]:
    return {
        "$schema": SCHEMA,
        "title": title,
        "background": "white",
        "config": {"font": "sans-serif"},
    }


def drawn(spec: Mapping[str, Any]) -> str:
    """A chart as SVG. Raises ConfigurationError without the extra."""
    svg = svg_of(spec)
    if svg is None:
        raise ConfigurationError(
            "charts need vl-convert-python, which is not installed",
            hint='pip install "runward[charts]"',
        )
    return svg


def svg_of(spec: Mapping[str, Any]) -> str | None:
    """A chart as SVG without script or style; None where the extra `charts` is not installed."""
    try:
        import vl_convert
    except ImportError:
        return None
    return str(vl_convert.vegalite_to_svg(_cleaned(spec), allowed_base_urls=[]))


def _cleaned(value: Any) -> Any:
    """Without what no XML may hold."""
    if isinstance(value, str):
        return _CONTROLS.sub(" ", value)
    if isinstance(value, Mapping):
        return {name: _cleaned(part) for name, part in value.items()}
    return [_cleaned(part) for part in value] if isinstance(value, list) else value
