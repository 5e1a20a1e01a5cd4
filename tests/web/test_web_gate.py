"""Who may do what, for every route there is: a new one that nobody has placed fails here."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter
from web_rig import REQUEST, Web, error_of

from ledger.core.addresses import is_loopback
from ledger.core.alphabet import Role
from ledger.service.tokens import revoke
from ledger.web.app import create_app
from ledger.web.gate import OPEN, ROLES
from ledger.web.service import Service

ROUTES = sorted(ROLES)
CHANGING = [place for place in ROUTES if ROLES[place] != Role.viewer]
BODIES: dict[str, Any] = {
    "/api/v1/runs": {**REQUEST, "key": "by a stranger"},
    "/api/v1/runs/{run}/tools/{call}/output": {"output": "forged"},
    "/api/v1/runs/{run}/tools/{call}/deny": {"reason": "forged"},
}
SHOWN = ("none", "wrong", "revoked", "expired", "basic", "empty", "hash")


@pytest.fixture
def dialect() -> str:
    """Who may do what does not depend on the database."""
    return "sqlite"


def places(app: Any) -> set[tuple[str, str]]:
    """Every route that an OpenAPI document tells of."""
    paths = app.openapi()["paths"]
    return {(method.upper(), path) for path, item in paths.items() for method in item}


def send(web: Web, place: tuple[str, str], **options: Any) -> Any:
    """A request to a route that would succeed, or fail for lack of a call alone."""
    method, path = place
    body = BODIES.get(path, {}) if method == "POST" else None
    target = path.replace("{run}", "mine").replace("{call}", "1")
    return web.ask(method, target, json=body, **options)


def authorization(web: Web, how: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A header that proves nothing."""
    token = web.token("admin", name="ended", expires="1s" if how == "expired" else None)
    if how == "revoked":
        revoke(web.ledger, "ended", actor="cli:test")
    if how == "expired":
        from datetime import timedelta

        from ledger.clock import utcnow
        from ledger.service import tokens

        monkeypatch.setattr(tokens, "utcnow", lambda: utcnow() + timedelta(seconds=1))
    shown = {
        "wrong": f"Bearer rw_{'A' * 43}",
        "revoked": f"Bearer {token}",
        "expired": f"Bearer {token}",
        "basic": f"Basic {token}",
        "empty": "Bearer ",
        "hash": f"Bearer {web.rows('SELECT hash FROM token')[0][0].hex()}",
    }
    return {"Authorization": shown[how]} if how in shown else {}


def test_every_route_has_its_place(web: Web) -> None:
    """All that the document tells of stands in one table, and nothing else does."""
    assert places(web.app) | {("GET", "/api/v1/openapi.json")} == OPEN | set(ROLES)
    assert set() == OPEN & set(ROLES)
    assert {("GET", "/healthz"), ("GET", "/readyz")} == OPEN


def test_a_route_without_a_place_does_not_start(web: Web) -> None:
    """Nobody can forget it: the service is not even made."""
    router = APIRouter()

    @router.get("/api/v1/secrets")
    def secrets() -> dict[str, str]:
        return {}

    with pytest.raises(AssertionError, match="/api/v1/secrets"):
        create_app(Service(web.ledger, loopback=True), routers=[router])


@pytest.mark.parametrize("how", SHOWN)
def test_without_a_token_that_counts_nothing_is_read_or_changed(
    web: Web, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """401 with a challenge at every route, and every table is as it was."""
    web.submit(key="mine")
    web.token("viewer")
    headers = authorization(web, how, monkeypatch)
    before = web.state()
    for place in ROUTES:
        said = send(web, place, headers=headers)

        assert (401, "unauthorized") == error_of(said), place
        assert said.headers["www-authenticate"].startswith("Bearer "), place
        assert "mine" not in said.text, place
        assert before == web.state(), place


def test_a_viewer_changes_nothing(web: Web) -> None:
    """403 wherever something could be changed, and every table is as it was."""
    web.submit(key="mine")
    web.bearer = web.token("viewer")
    before = web.state()
    for place in CHANGING:
        assert (403, "forbidden") == error_of(send(web, place)), place
        assert before == web.state(), place


@pytest.mark.parametrize("place", ROUTES, ids=" ".join)
def test_the_role_that_a_route_needs_is_enough(web: Web, place: tuple[str, str]) -> None:
    """Whoever has it comes in; whether it can be done is another matter."""
    web.submit(key="mine")
    web.bearer = web.token(str(ROLES[place]))

    assert send(web, place).status_code in (200, 201, 409)


def test_a_service_that_only_reads_changes_nothing(web: Web) -> None:
    """Not even for an admin."""
    web.submit(key="mine")
    web.service.read_only = True
    web.bearer = web.token("admin")
    before = web.state()
    for place in CHANGING:
        assert (403, "read_only") == error_of(send(web, place)), place
        assert before == web.state(), place
    assert 200 == web.get("/runs/mine").status_code


@pytest.mark.parametrize("place", sorted(OPEN), ids=" ".join)
def test_what_is_open_says_nothing_to_strangers(web: Web, place: tuple[str, str]) -> None:
    """No token, any host; and no name, version or path of ours in the answer."""
    web.service.loopback = False
    web.token("viewer")
    said = web.ask(*place, headers={"Host": "runward.example"})

    assert 200 == said.status_code
    words = set(said.json()) | set(said.json().get("checks", {}))
    assert {"alive", "ready", "checks", "database", "schema", "not_draining"} >= words
    assert "server" not in said.headers


@pytest.mark.parametrize("path", ["/", "/docs", "/api/v1/nothing", "/healthz/", "//healthz"])
def test_what_is_not_there_needs_a_token_too(web: Web, path: str) -> None:
    """A stranger does not learn which addresses exist; a viewer does."""
    viewer = web.token("viewer")

    assert (401, "unauthorized") == error_of(web.ask("GET", f"http://localhost{path}"))
    web.bearer = viewer
    assert (404, "not_found") == error_of(web.ask("GET", f"http://localhost{path}"))


def test_without_tokens_strangers_have_no_way_in(web: Web) -> None:
    """Not on loopback and all tokens revoked: nobody is let in by that."""
    web.service.loopback = False

    assert (401, "unauthorized") == error_of(web.get("/runs"))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:8787", True),
        ("127.0.0.1:8787", True),
        ("[::1]:8787", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("evil.example@localhost", False),
        ("[::1", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_tokens_the_host_has_to_be_this_machine(
    web: Web, host: str, allowed: bool, method: str
) -> None:
    """A name of somebody else's that resolves to 127.0.0.1 does not open the door."""
    body = {"json": REQUEST} if method == "POST" else {}
    said = web.ask(method, "/api/v1/runs", headers={"Host": host}, **body)

    assert allowed == said.is_success
    if not allowed:
        assert (403, "foreign_host") == error_of(said)
        assert [] == web.rows("SELECT id FROM run")


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://localhost:3000"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://[::1"}, False),
    ],
)
def test_without_tokens_pages_of_others_change_nothing(
    web: Web, headers: dict[str, str], allowed: bool
) -> None:
    """A browser on this machine runs them too; it says so in its headers."""
    run = web.submit()
    said = web.post(f"/runs/{run}/cancel", headers=headers)

    assert allowed == said.is_success
    if not allowed:
        assert (403, "cross_site") == error_of(said)
        assert "queued" == web.get(f"/runs/{run}").json()["status"]


def test_the_first_token_closes_the_door(web: Web) -> None:
    """Also on loopback, at once, and also one that has expired; until the last one is revoked."""
    assert 200 == web.get("/runs").status_code
    web.token("viewer", expires="1s")
    assert (401, "unauthorized") == error_of(web.get("/runs"))
    revoke(web.ledger, "viewer", actor="cli:test")
    assert 200 == web.get("/runs").status_code


def test_the_history_names_the_bearer(web: Web) -> None:
    """`token:NAME`, else `http:local`; when a token was last used is written down."""
    web.submit(key="mine")
    web.bearer = web.token("operator", name="ci")
    web.post("/runs/mine/cancel", {"reason": "no longer wanted"})
    actors = [(e["kind"], e["actor"]) for e in web.get("/runs/mine/events").json()["events"]]

    assert ("accepted", "http:local") == actors[0]
    assert ("cancel_requested", "token:ci") in actors
    assert web.ledger.writer.run(lambda c: None).result() is None
    assert web.rows("SELECT used_at FROM token")[0][0] is not None


def test_every_answer_tells_browsers_to_keep_out(web: Web) -> None:
    """No sniffing, no caching, no framing: on successes and on refusals."""
    for said in (web.get("/runs"), web.get("/runs", headers={"Host": "evil.example"})):
        assert "nosniff" == said.headers["x-content-type-options"]
        assert "no-store" == said.headers["cache-control"]
        assert "default-src 'none'" in said.headers["content-security-policy"]
        assert "access-control-allow-origin" not in said.headers


def test_only_this_machine_is_loopback() -> None:
    """Names are not looked up: only one is known to mean this machine."""
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.", "host", "")))
