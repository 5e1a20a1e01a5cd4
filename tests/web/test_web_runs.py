"""Submit, list, show, events, cancel, restart, recheck, answers to calls: over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from service_rig import MakeRig, Rig
from support import SQLITE
from web_rig import REQUEST, MakeWeb, Web, error_of

from ledger import tool
from ledger.web import shapes


def test_a_run_is_written_down_once(web: Web) -> None:
    """201 with its address; the same again is 200; another request under its key is a conflict."""
    first = web.post("/runs", {**REQUEST, "key": "sum:1", "tags": {"team": "risk"}})
    again = web.post("/runs", {**REQUEST, "key": "sum:1", "tags": {"team": "risk"}})
    other = web.post("/runs", {**REQUEST, "key": "sum:1", "input": "What is 2+3?"})

    assert (201, 200) == (first.status_code, again.status_code)
    assert first.json() == again.json()
    assert ("queued", {"team": "risk"}) == (first.json()["status"], first.json()["tags"])
    assert f"/api/v1/runs/{first.json()['id']}" == first.headers["location"]
    assert (409, "conflict") == error_of(other)
    assert [(1,)] == web.rows("SELECT COUNT(*) FROM run")


def test_a_key_is_made_up_where_none_is_given(web: Web) -> None:
    """Two requests are two runs then."""
    assert web.submit() != web.submit()


@SQLITE
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (None, 422),
        ([], 422),
        ({}, 422),
        ({"model": "m"}, 422),
        ({**REQUEST, "provider": "nobody"}, 422),
        ({**REQUEST, "profile": "nobody"}, 422),
        ({**REQUEST, "key": ""}, 422),
        ({**REQUEST, "key": "k" * 257}, 422),
        ({**REQUEST, "key": "a\x00b"}, 422),
        ({**REQUEST, "key": 5}, 422),
        ({**REQUEST, "tags": {"a b": "c"}}, 422),
        ({**REQUEST, "tags": {str(n): "v" for n in range(33)}}, 422),
        ({**REQUEST, "deadline": "soon"}, 422),
        ({**REQUEST, "deadline": -1}, 422),
        ({**REQUEST, "deadline": 10**400}, 422),
        ({**REQUEST, "restart": "expired=9999999"}, 422),
        ({**REQUEST, "restart_max_tokens": 10**13}, 422),
        ({**REQUEST, "poll_seconds": 0}, 422),
        ({**REQUEST, "stream": True}, 422),
        ({**REQUEST, "store": False}, 422),
        ({**REQUEST, "api_key": "sk-0123456789abcdefghij"}, 422),
        ({**REQUEST, "metadata": {"runward": "x"}, "tools": 7}, 422),
    ],
    ids=lambda value: json.dumps(value)[:60] if not isinstance(value, int) else "",
)
def test_what_cannot_be_used_is_refused_in_words(web: Web, body: Any, status: int) -> None:
    """Never a 5xx, never a trace of it in the ledger, never the secret in the answer."""
    said = web.post("/runs", body)

    assert status == error_of(said)[0]
    assert said.json()["error"]["code"] in ("invalid_input", "secret_in_request") or (
        "configuration_error" == said.json()["error"]["code"]
    )
    assert "sk-0123456789" not in said.text
    assert [(0,)] == web.rows("SELECT COUNT(*) FROM run")


@SQLITE
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"\xff\xfe",
        b'{"model": "m", "input": NaN}',
        b'{"model": "m", "input": "a\\ud800b"}',
        b'{"model": "m", "input": "x", "\\ud800": 1}',
        b'{"model": "m", "input": "x", "n": ' + b"9" * 5_000 + b"}",
        b'{"model": "m", "input": "x", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model": "m", "input": "x", "n": ' + b"[" * 500 + b"]" * 500 + b"}",
    ],
    ids=range(9),
)
def test_bytes_that_are_no_request_are_refused(web: Web, body: bytes) -> None:
    """4xx, whatever they are."""
    headers = {"Content-Type": "application/json"}
    said = web.ask("POST", "/api/v1/runs", content=body, headers=headers)

    assert error_of(said)[0] in (400, 422)
    assert [(0,)] == web.rows("SELECT COUNT(*) FROM run")


@SQLITE
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_has_its_limit(web: Web, announced: bool) -> None:
    """A size that is announced is refused unread; one that is not, when it is reached."""
    pieces = [b"x" * 1_000_000] * 13
    content: Any = b"".join(pieces) if announced else iter(pieces)
    headers = {"Content-Type": "application/json"}
    said = web.ask("POST", "/api/v1/runs", content=content, headers=headers)

    assert (413, "too_large") == error_of(said)


def test_runs_come_in_pages(web: Web) -> None:
    """The newest first; the query is that of the command line, and its errors are too."""
    made = [web.submit(tags={"n": str(n % 2)}) for n in range(5)]
    first = web.get("/runs", params={"limit": 3}).json()
    second = web.get("/runs", params={"limit": 3, "before": first["next_before"]}).json()
    odd = web.get("/runs", params={"q": "tag.n:1 status:queued"}).json()
    wrong = web.get("/runs", params={"q": "colour:red"})

    assert made[::-1] == [run["id"] for page in (first, second) for run in page["runs"]]
    assert (made[2], None) == (first["next_before"], second["next_before"])
    assert [made[3], made[1]] == [run["id"] for run in odd["runs"]]
    assert (422, "invalid_input") == error_of(wrong)
    assert "tag.NAME" in wrong.json()["error"]["message"]


@SQLITE
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "before=-1", "before=9223372036854775808", "q=%00"],
)
def test_numbers_in_a_query_are_bounded(web: Web, query: str) -> None:
    """422 says which."""
    assert (422, "invalid_input") == error_of(web.get(f"/runs?{query}"))


def test_a_run_has_three_names(rig: Rig, make_web: MakeWeb) -> None:
    """Number, key and upstream id, with all that `runward show -o json` has."""
    web = make_web(rig.ledger)
    run = rig.run(key="memo/1:ä", tags={"a": "b"})
    upstream = rig.remotes(run)[0]["remote_id"]
    shown = web.get(f"/runs/{run.id}").json()

    assert rig.ledger.show(run.id) == shown
    assert ("completed", "4") == (shown["status"], shown["output_text"])
    assert shown == web.get(f"/runs/{upstream}").json()
    assert shown == web.get(f"/runs/%23{run.id}").json()
    assert [run.id] == [one["id"] for one in web.get('/runs?q=key:"memo/1:ä"').json()["runs"]]
    shapes.WholeRun.model_validate(shown)


@SQLITE
@pytest.mark.parametrize("name", ["7", "nothing", "%00", "%ED%A0%80", "9" * 30, "key:", "%23", " "])
def test_a_run_that_is_not_there(web: Web, name: str) -> None:
    """404, on every route that names one."""
    for path in ("", "/events"):
        assert (404, "not_found") == error_of(web.get(f"/runs/{name}{path}"))
    for path, body in (
        ("cancel", None),
        ("restart", {}),
        ("recheck", None),
        ("tools/1/approve", {}),
        ("tools/1/deny", {"reason": "no"}),
        ("tools/1/output", {"output": ""}),
    ):
        assert (404, "not_found") == error_of(web.post(f"/runs/{name}/{path}", body))


def test_events_come_in_pages(web: Web) -> None:
    """In order, each once; the last page says that it is the last."""
    run = web.submit()
    for n in range(4):
        web.ledger.note(run, f"note {n}")
    first = web.get(f"/runs/{run}/events", params={"limit": 3}).json()
    second = web.get(f"/runs/{run}/events", params={"after": first["next_after"]}).json()

    assert [1, 2, 3] == [event["seq"] for event in first["events"]]
    assert list(web.ledger.events(run)) == first["events"] + second["events"]
    assert (3, None) == (first["next_after"], second["next_after"])


def test_a_run_is_cancelled_and_restarted(web: Web) -> None:
    """What the state does not permit is a 409 that says why."""
    run = web.submit()
    cancelled = web.post(f"/runs/{run}/cancel", {"reason": "a mistake"})
    again = web.post(f"/runs/{run}/cancel")
    restarted = web.post(f"/runs/{run}/restart", {"reason": "no mistake", "effects": "reuse"})
    twice = web.post(f"/runs/{run}/restart")
    wrong = web.post(f"/runs/{run}/restart", {"effects": "maybe"})

    assert ("cancelled", 1) == (cancelled.json()["status"], cancelled.json()["attempts"])
    assert ("queued", 2) == (restarted.json()["status"], restarted.json()["attempts"])
    assert [(409, "not_allowed")] * 2 == [error_of(again), error_of(twice)]
    assert (422, "invalid_input") == error_of(wrong)
    details = [event["detail"] or {} for event in web.ledger.events(run)]
    assert ["a mistake", "no mistake"] == [d["reason"] for d in details if "reason" in d]


def test_a_recheck_is_noted(web: Web) -> None:
    """The owner of the run then looks at once."""
    run = web.submit()

    assert 200 == web.post(f"/runs/{run}/recheck").status_code
    assert {"text": "recheck"} == list(web.ledger.events(run))[-1]["detail"]


@SQLITE
@pytest.mark.parametrize("reason", ["", "x" * 2_001, 7])
def test_a_reason_is_bounded(web: Web, reason: Any) -> None:
    """Nothing is done for one that cannot be kept."""
    run = web.submit()

    assert (422, "invalid_input") == error_of(web.post(f"/runs/{run}/cancel", {"reason": reason}))
    assert (422, "invalid_input") == error_of(web.post(f"/runs/{run}/cancel", {"resaon": "typo"}))
    assert "queued" == web.ledger.get(run).state


def test_a_call_is_answered_by_hand(rig: Rig, make_web: MakeWeb) -> None:
    """The output goes to the model, and the history says whose it is."""
    web = make_web(rig.ledger)
    web.bearer = web.token("operator", name="desk")
    run = rig.submit("sim-tool")
    rig.until(run, lambda facts: facts.run.needs_attention == "tool_unhandled")
    call = rig.calls(run)[0]["call_id"]
    large = web.post(f"/runs/{run.id}/tools/{call}/output", {"output": "ä" * 600_000})
    said = web.post(f"/runs/{run.id}/tools/{call}/output", {"output": '{"t": "1\\u0000"}'})
    done = rig.finish(run)[0]

    assert (422, "invalid_input") == error_of(large)
    assert (200, "completed") == (said.status_code, done.state)
    assert [(call, '{"t": "1\\u0000"}')] == rig.received(run)
    assert "token:desk" == rig.event(run, "tool_finished")["actor"]


@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_a_call_waits_for_a_word_over_http(
    make_rig: MakeRig, make_web: MakeWeb, verdict: str
) -> None:
    """Approved it runs; denied it never does, and another word comes too late."""
    ran: list[str] = []

    @tool(requires_approval=True, name="lookup")
    def lookup(query: str) -> str:
        ran.append(query)
        return "found"

    rig = make_rig(tools=[lookup])
    web = make_web(rig.ledger)
    run = rig.submit("sim-tool")
    rig.until(run, lambda facts: facts.run.needs_attention == "approval_needed")
    other = {"approve": "deny", "deny": "approve"}[verdict]
    said = web.post(f"/runs/{run.id}/tools/1/{verdict}", {"reason": "looked at it"})
    refused = web.post(f"/runs/{run.id}/tools/1/{other}", {"reason": "no"})
    done = rig.finish(run)[0]

    assert (200, "completed", verdict == "approve") == (said.status_code, done.state, bool(ran))
    assert (409, "not_allowed") == error_of(refused)
    call = web.get(f"/runs/{run.id}").json()["tool_calls"][0]
    assert ("http:local", "looked at it") == (call["approval_actor"], call["approval_reason"])


@SQLITE
def test_a_denial_needs_a_reason(web: Web) -> None:
    """The model is told."""
    run = web.submit()

    for body in (None, {}, {"reason": ""}):
        assert (422, "invalid_input") == error_of(web.post(f"/runs/{run}/tools/1/deny", body))


def test_a_database_that_is_away_is_a_503(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """With when to try again; an error of ours is a 500 that tells nothing."""
    from ledger.errors import DatabaseError

    def away(*_: Any) -> None:
        raise DatabaseError("the server at postgresql://u:hunter2@db/x closed the connection")

    monkeypatch.setattr(web.ledger.store, "read", away)
    said = web.get("/runs")
    assert (503, "database_error") == error_of(said)
    assert "2" == said.headers["retry-after"]
    assert "hunter2" not in said.text

    monkeypatch.setattr(web.ledger.store, "read", lambda _: 1 / 0)
    said = web.get("/runs")
    assert (500, "internal") == error_of(said)
    assert "division" not in said.text


@SQLITE
def test_what_upstream_wrote_is_always_json(web: Web) -> None:
    """NaN has no JSON, half a surrogate no UTF-8: neither breaks an answer."""
    from ledger.web.problems import Answer

    body = Answer({"a": [float("nan"), {"b": "\ud800"}], "c": float("inf")}).body

    assert {"a": [None, {"b": "\ud800"}], "c": None} == json.loads(body)
