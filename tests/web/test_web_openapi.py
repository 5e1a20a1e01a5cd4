"""What the OpenAPI document promises is what comes, for whatever may be sent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as promises
from service_rig import KEY
from web_rig import NOWHERE, REQUEST, Web

from ledger import Ledger
from ledger.web.gate import OPEN, ROLES

EXAMPLES = int(os.environ.get("RUNWARD_TEST_API_EXAMPLES", "20"))
DOCUMENTED = sorted((OPEN | set(ROLES)) - {("GET", "/api/v1/openapi.json")})
CHECKS = (
    not_a_server_error,
    promises.status_code_conformance,
    promises.content_type_conformance,
    promises.response_headers_conformance,
    promises.response_schema_conformance,
    promises.unsupported_method,
)


@pytest.fixture(scope="module")
def served(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Web, str]]:
    """A service with some runs in it, whose streams end at once; and an admin's token."""
    path = tmp_path_factory.mktemp("openapi") / "runs.db"
    shutil.copy(sqlite_template, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", NOWHERE)
        patch.setenv("OPENAI_API_KEY", KEY)
        with Ledger.open(f"sqlite:///{path}") as ledger, Web(ledger, follow_seconds=0.001) as web:
            for key in ("mine", "ended"):
                ledger.submit(key=key, **REQUEST)
            ledger.cancel("ended")
            yield web, web.token("admin")


@pytest.fixture(scope="module")
def schema(served: tuple[Web, str]) -> Any:
    """Everything that the document tells of."""
    web, token = served
    headers = {"Authorization": f"Bearer {token}"}
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", web.app, headers=headers)


@pytest.mark.parametrize("place", DOCUMENTED, ids=" ".join)
def test_what_is_promised_is_kept(
    place: tuple[str, str], schema: Any, served: tuple[Web, str]
) -> None:
    """No 5xx; status, type and shape as the document says, for good requests and for bad ones."""
    method, path = place
    operation = schema[path][method]
    headers = {"Authorization": f"Bearer {served[1]}"}
    requests = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @given(case=strategies.one_of(requests), run=strategies.sampled_from([None, "mine", "ended"]))
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    def check(case: Any, run: str | None) -> None:
        if run is not None and "run" in (case.path_parameters or {}):
            case.path_parameters["run"] = run
        case.call_and_validate(headers=headers, checks=CHECKS)

    check()
