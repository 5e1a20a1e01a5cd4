"""`/api/v1/facets` and `/api/v1/stats`: counts and times of many runs."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from ledger.core.query import LENGTH_MAX
from ledger.service.history import FACETS, FACETS_MAX, SINCE
from ledger.web import shapes_history as shapes
from ledger.web.problems import Answer
from ledger.web.runs import BEARER, Acting, problems

router = APIRouter(prefix="/api/v1", tags=["history"], dependencies=[BEARER])
TIME_MAX: Final = 50
Q = Annotated[
    str, Query(max_length=LENGTH_MAX, description="As: status:failed tag.team:search since:2h")
]
Field = Annotated[str, Query(max_length=80)]


@router.get("/facets", response_model=shapes.Facets, responses=problems())
def facets(
    ledger: Acting,
    q: Q = "",
    by: Annotated[
        list[Field] | None,
        Query(max_length=FACETS_MAX, description="Fields to count by; a tag is tag:NAME."),
    ] = None,
) -> Response:
    """How many of the runs that match have which value. With `capped`, counts are "at least"."""
    return Answer(ledger.facets(q, by=by or FACETS))


@router.get("/stats", response_model=shapes.Stats, responses=problems())
def stats(
    ledger: Acting,
    q: Q = "",
    since: Annotated[str, Query(max_length=TIME_MAX)] = SINCE,
    until: Annotated[str | None, Query(max_length=TIME_MAX)] = None,
    by: Annotated[Field | None, Query(description="As of facets.")] = None,
    bucket: Annotated[str | None, Query(max_length=20, description="As: 5m, 1h, 1d.")] = None,
    as_of: Annotated[str | None, Query(max_length=TIME_MAX)] = None,
) -> Response:
    """Counts, outcomes, and percentiles in seconds, of the runs created in a window."""
    return Answer(ledger.stats(q, since=since, until=until, by=by, bucket=bucket, as_of=as_of))
