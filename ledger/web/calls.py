"""`/api/v1/runs/{run}/tools/{call}`: answers of people to tool calls."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from ledger.errors import InvalidInput
from ledger.service.tools import OUTPUT_BYTES_MAX
from ledger.service.views import run_summary
from ledger.web import shapes
from ledger.web.problems import Answer
from ledger.web.runs import BEARER, Acting, problems
from ledger.web.shapes import CallPath, RunPath

router = APIRouter(prefix="/api/v1/runs/{run}/tools/{call}", tags=["tools"], dependencies=[BEARER])
REFUSALS = problems(400, 404, 409)


@router.post("/output", response_model=shapes.Run, responses=REFUSALS)
def output(ledger: Acting, run: RunPath, call: CallPath, given: shapes.Output) -> Response:
    """Answer a call by hand; it is sent with the others of its round."""
    if len(given.output.encode("utf-8", "replace")) > OUTPUT_BYTES_MAX:
        raise InvalidInput(f"the output is larger than {OUTPUT_BYTES_MAX} bytes")
    return Answer(run_summary(ledger.answer(run, call, given.output, is_error=given.is_error)))


@router.post("/approve", response_model=shapes.Run, responses=REFUSALS)
def approve(
    ledger: Acting, run: RunPath, call: CallPath, why: shapes.Why | None = None
) -> Response:
    """Let a call run that waits for an approval."""
    return Answer(run_summary(ledger.approve(run, call, reason=why.reason if why else None)))


@router.post("/deny", response_model=shapes.Run, responses=REFUSALS)
def deny(ledger: Acting, run: RunPath, call: CallPath, why: shapes.Denial) -> Response:
    """Answer a call that waits for an approval with a no."""
    return Answer(run_summary(ledger.deny(run, call, reason=why.reason)))
