"""The shapes of what is asked about many runs at once. Additions only."""

from __future__ import annotations

from pydantic import BaseModel


class FacetValue(BaseModel):
    """How many runs have a value; None is that they have none."""

    value: str | None
    runs: int


class Facet(BaseModel):
    """The most frequent values of one field, and how many runs have another one."""

    values: list[FacetValue]
    others: int


class Facets(BaseModel):
    """Counts by field. With `capped`, more runs may match, and each count is "at least"."""

    runs: int
    capped: bool
    facets: dict[str, Facet]


class Percentiles(BaseModel):
    """Seconds by nearest rank, over the runs of which they are known."""

    runs: int
    p50: float | None
    p95: float | None
    p99: float | None


class Measures(BaseModel):
    """Runs counted and timed together."""

    runs: int
    outcomes: dict[str, int]
    queue: Percentiles
    run: Percentiles
    tool: Percentiles
    detection: Percentiles


class MeasuredGroup(Measures):
    """The runs of one group, created in one bucket of time."""

    group: str | None
    bucket: str | None


class Stats(BaseModel):
    """Statistics; `fleet` is there where a time was asked for."""

    query: str
    since: str
    until: str | None
    as_of: str | None
    by: str | None
    bucket_seconds: float | None
    groups: list[MeasuredGroup]
    total: Measures
    fleet: dict[str, int] | None = None
