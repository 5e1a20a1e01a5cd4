"""`/api/v1/runs`: submit, list, show, events, cancel, restart, recheck."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Header, Query, Request
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ledger.core.query import LENGTH_MAX
from ledger.service.ledger import Ledger
from ledger.service.pages import read_page
from ledger.service.views import run_summary
from ledger.web import shapes
from ledger.web.following import follow as follow_run
from ledger.web.problems import Answer
from ledger.web.service import acting_ledger, caller_of, service_of
from ledger.web.shapes import NUMBER_MAX, RunPath

PAGE_MAX: Final = 1_000
STREAM: Final = "text/event-stream"
STREAMED: Final = {
    "type": "object",
    "description": "One server-sent event: its number, and the event (or the end) as JSON.",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}
Acting = Annotated[Ledger, Depends(acting_ledger)]


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The answers of a route that are no success, for the OpenAPI document."""
    always = (401, 403, 413, 422, 503)
    return {code: {"model": shapes.Problem} for code in sorted({*always, *codes})}


BEARER = Depends(HTTPBearer(auto_error=False, description="A token of `runward token create`."))
"""For the document only: the gate has judged it before."""
router = APIRouter(prefix="/api/v1/runs", tags=["runs"], dependencies=[BEARER])


@router.post(
    "",
    status_code=201,
    response_model=shapes.Run,
    responses={
        200: {"model": shapes.Run, "description": "This very run is there already."},
        **problems(400, 409),
    },
)
def submit(request: Request, ledger: Acting, run: shapes.NewRun) -> Response:
    """Write one run down; a daemon sends and watches it. The same key with the same request gives
    the existing run (200), with another request it is a Conflict (409)."""
    made, new = ledger.submit_one(run.model_dump(exclude_unset=True))
    answer = Answer(run_summary(made), status_code=201 if new else 200)
    if new:
        answer.headers["Location"] = f"{request.scope['root_path']}/api/v1/runs/{made.id}"
    return answer


@router.get("", response_model=shapes.Runs, responses=problems())
def list_runs(
    ledger: Acting,
    q: Annotated[
        str,
        Query(max_length=LENGTH_MAX, description="As: status:failed tag.team:search since:2h"),
    ] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    before: Annotated[
        int | None, Query(ge=0, le=NUMBER_MAX, description="Continue after this run.")
    ] = None,
) -> Response:
    """Runs that match a query, the newest first."""
    found = ledger.runs(q, limit=limit, before=before)
    following = found[-1].id if len(found) == limit else None
    return Answer({"runs": [run_summary(run) for run in found], "next_before": following})


@router.get("/{run}", response_model=shapes.WholeRun, responses=problems(404))
def show(ledger: Acting, run: RunPath) -> Response:
    """Everything about one run."""
    return Answer(ledger.show(run))


@router.get(
    "/{run}/events",
    response_model=shapes.Events,
    responses={
        200: {
            "description": "A page; or, where a stream is asked for, one event after the other.",
            "content": {STREAM: {"schema": STREAMED}},
        },
        **problems(404, 429),
    },
)
async def events(
    request: Request,
    ledger: Acting,
    run: RunPath,
    after: Annotated[int, Query(ge=0, le=NUMBER_MAX, description="Only above this number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
    follow: Annotated[
        bool, Query(description="A stream, until the run is over and settled.")
    ] = False,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=NUMBER_MAX, description="Where a stream goes on.")
    ] = None,
) -> Response:
    """A run's history. With `follow`, or for who accepts text/event-stream, as a stream: each
    event's id is its number; a comment comes where nothing else does; the event `end` is the last.
    """
    run_id = await run_in_threadpool(ledger.run_id, run)
    if follow or STREAM in request.headers.get("accept", ""):
        begin, caller = max(after, last_event_id or 0), caller_of(request.scope)
        return follow_run(service_of(request), run_id, begin, caller)
    page = await run_in_threadpool(read_page, ledger, run_id, after=after, limit=limit)
    following = page.events[-1]["seq"] if page.events and page.more else None
    return Answer({"events": page.events, "next_after": following})


@router.post("/{run}/cancel", response_model=shapes.Run, responses=problems(400, 404, 409))
def cancel(ledger: Acting, run: RunPath, why: shapes.Why | None = None) -> Response:
    """Ask for a run to be called off; any final state may still win."""
    return Answer(run_summary(ledger.cancel(run, reason=why.reason if why else None)))


@router.post("/{run}/restart", response_model=shapes.Run, responses=problems(400, 404, 409))
def restart(
    ledger: Acting, run: RunPath, how: Annotated[shapes.NewAttempt | None, Body()] = None
) -> Response:
    """Open the next attempt of a run that ended without completing."""
    chosen = how or shapes.NewAttempt()
    return Answer(run_summary(ledger.restart(run, effects=chosen.effects, reason=chosen.reason)))


@router.post("/{run}/recheck", response_model=shapes.Run, responses=problems(404, 409))
def recheck(ledger: Acting, run: RunPath) -> Response:
    """Have upstream's object read at once, also that of a run which has its verdict."""
    return Answer(run_summary(ledger.recheck(run)))
