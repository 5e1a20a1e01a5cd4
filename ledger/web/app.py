"""The application: routes, the gate before them, and errors as answers.

More routes come in as further routers; each of their routes needs a place in a table of gate.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, FastAPI

from ledger.service.workers import program_version
from ledger.web import calls, health, history, problems, runs
from ledger.web.gate import Gate, demand_listed
from ledger.web.service import Service

ROUTERS = (health.router, runs.router, calls.router, history.router)


def create_app(service: Service, *, routers: Iterable[APIRouter] = ()) -> FastAPI:
    """The application over an open ledger, with `routers` besides its own."""
    app = FastAPI(
        title="runward",
        version=program_version(),
        description="The ledger of asynchronous AI runs.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for router in (*ROUTERS, *routers):
        app.include_router(router)
    problems.register(app)
    app.add_middleware(Gate, service=service)
    demand_listed(app)
    return app
