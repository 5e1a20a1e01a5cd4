"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from ledger.service.options import Options
from ledger.web import shapes
from ledger.web.exposition import registry_of
from ledger.web.problems import Answer
from ledger.web.runs import BEARER, problems
from ledger.web.service import Service, service_of

router = APIRouter(tags=["operations"])


@router.get("/healthz", response_model=shapes.Health)
async def healthz() -> Response:
    """The process is alive, and its loop comes round."""
    return Answer({"alive": True})


@router.get(
    "/readyz", response_model=shapes.Readiness, responses={503: {"model": shapes.Readiness}}
)
async def readyz(request: Request) -> Response:
    """Whether to send work here: database, schema, reconciler, and not ending."""
    service = service_of(request)
    found = await service.probe.ask()
    loop = _loop(service)
    checks = {**found, **loop, "not_draining": not service.draining}
    ready = all(checks.values())
    return Answer({"ready": ready, "checks": checks}, status_code=200 if ready else 503)


def _loop(service: Service) -> dict[str, bool]:
    """Whether the reconciler of this process, if there is one, comes round and takes runs."""
    if service.reconciler is None:
        return {}
    age = service.reconciler.age_seconds
    young = age is not None and age < Options().age_seconds_max
    return {"reconciler": young and not service.reconciler.heart.draining}


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=[BEARER],
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
)
def metrics(request: Request) -> Response:
    """Numbers about the whole ledger, for Prometheus."""
    service = service_of(request)
    text = generate_latest(registry_of(service.measure.read(), service.reconciler))
    return Response(text, media_type=CONTENT_TYPE_LATEST)
