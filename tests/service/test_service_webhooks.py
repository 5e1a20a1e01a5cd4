"""Webhooks make us look sooner, and change nothing else: whatever comes, however often."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from service_rig import KEY, MakeRig, Rig, verdict
from webhook_rig import (
    OTHER,
    SECRET,
    VARIABLE,
    delivery,
    event,
    look_into_parked,
    receive,
    sign,
    states,
)

from ledger.clock import utcnow
from ledger.core.alphabet import Receipt, RemoteState
from ledger.errors import ConfigurationError, DeliveryRefused
from ledger.service.keyring import Keyring

DONE = ("completed", 1, None, None, None)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)


def remote_id(rig: Rig, run: Any) -> str:
    """The id of the run's newest object."""
    return str(rig.remotes(run)[-1]["remote_id"])


def made_elsewhere(rig: Rig) -> str:
    """The id of a response that another program asked for."""
    asked = {"model": "sim-ok", "input": "hello", "background": True}
    request = urllib.request.Request(
        f"{rig.sim.url}/responses",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        return str(json.load(reply)["id"])


@pytest.mark.problem(12)
def test_a_delivery_brings_the_next_look_forward(make_rig: MakeRig) -> None:
    """A run that would be looked at in an hour is read when a delivery comes, and the history
    says so."""
    rig = make_rig(poll_seconds=3_600)
    with rig.daemon():
        run = rig.submit("sim-slow")
        rig.expect(lambda: [o["status"] for o in rig.sim.objects()] == ["completed"])
        assert not rig.ledger.get(run).final
        headers, body = delivery(remote_id(rig, run))

        assert [Receipt.accepted] == receive(rig, (headers, body))

        rig.expect(lambda: rig.ledger.get(run).final)
    assert DONE == verdict(rig.ledger.get(run))
    told = rig.event(run, "notified")
    assert ("webhook", "wh_1") == (told["source"], told["detail"]["webhook_id"])
    (last,) = [e for e in rig.ledger.events(run) if e["to"] == "completed"]
    assert "webhook" == last["source"]


@pytest.mark.problem(12)
@pytest.mark.parametrize("together", [True, False])
def test_a_repeated_delivery_is_one_effect(rig: Rig, together: bool) -> None:
    """The same webhook-id counts once, in one batch or in two, and how often it came is known."""
    run = rig.run()
    item = delivery(remote_id(rig, run))

    if together:
        results = receive(rig, item, item, item)
    else:
        results = [receive(rig, item)[0] for _ in range(3)]

    assert [Receipt.accepted, Receipt.duplicate, Receipt.duplicate] == results
    assert [("matched", 2)] == rig.rows("SELECT state, duplicates FROM delivery")
    assert 1 == rig.count("evidence")
    tally = dict(rig.rows("SELECT result, requests FROM receipt"))
    assert {"accepted": 1, "duplicate": 2} == tally


def bad(**fields: str) -> tuple[dict[str, str], bytes]:
    """A good delivery with other headers."""
    headers, body = delivery()
    return headers | {f"webhook-{name}": value for name, value in fields.items()}, body


REFUSED: dict[str, tuple[Callable[[], tuple[dict[str, str], bytes]], str]] = {
    "another secret": (lambda: delivery(secret=OTHER), "forged"),
    "another body": (lambda: (delivery()[0], delivery()[1] + b" "), "forged"),
    "another id": (lambda: bad(id="wh_2"), "forged"),
    "no signature": (lambda: bad(signature="v1,"), "forged"),
    "an asymmetric one": (lambda: bad(signature="v1a,AAAA"), "forged"),
    "not ASCII": (lambda: bad(signature="v1,é"), "malformed"),
    "headers missing": (lambda: ({}, delivery()[1]), "malformed"),
    "a time that is none": (lambda: bad(timestamp="1e9"), "malformed"),
    "a huge time": (lambda: bad(timestamp="9" * 400), "malformed"),
    "a negative time": (lambda: bad(timestamp="-5"), "malformed"),
    "a long id": (lambda: bad(id="w" * 300), "malformed"),
    "too long ago": (lambda: delivery(at=utcnow() - timedelta(seconds=310)), "stale"),
    "too far ahead": (lambda: delivery(at=utcnow() + timedelta(seconds=10_000)), "stale"),
    "no UTF-8": (lambda: delivery(body=b"\xff\xfe{}"), "forged"),
    "no JSON": (lambda: delivery(body=b"nothing"), "malformed"),
    "nested without end": (lambda: delivery(body=b"[" * 50_000), "malformed"),
    "no object": (lambda: delivery(body=b"[1]"), "malformed"),
    "no data": (lambda: delivery(body=b'{"type": "response.completed"}'), "malformed"),
    "an id that is none": (lambda: delivery(body=event("x", data={"id": 7})), "malformed"),
    "an id with a NUL": (lambda: delivery(body=event("a\0b")), "malformed"),
    "a lone surrogate": (lambda: delivery(body=event("\ud800")), "malformed"),
    "too large": (lambda: (delivery()[0], b" " * 300_000), "too_large"),
}


@pytest.mark.problem(12)
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_believed_leaves_nothing(make_rig: MakeRig, name: str) -> None:
    """It is refused with a reason, counted, and neither evidence nor a delivery."""
    rig = make_rig()
    make, why = REFUSED[name]

    with pytest.raises(DeliveryRefused) as refused:
        receive(rig, make())

    assert why == refused.value.result
    assert SECRET not in str(refused.value)
    assert (0, 0) == (rig.count("evidence"), rig.count("delivery"))
    assert [(why, 1)] == rig.rows("SELECT result, requests FROM receipt")


@pytest.mark.problem(14)
@pytest.mark.parametrize("model", ["sim-drop-after-once", "sim-truncated-once"])
def test_a_create_in_doubt_is_resolved_by_its_delivery(make_rig: MakeRig, model: str) -> None:
    """The reply was lost; a delivery names the object, and its marker says whose it is."""
    rig = make_rig(settle_seconds=600)
    run = rig.submit(model)
    rig.until(run, lambda facts: facts.remotes[-1].state == RemoteState.unknown)
    (made,) = rig.sim.objects()

    assert [Receipt.accepted] == receive(rig, delivery(made["id"]))
    assert ["parked"] == states(rig)
    look_into_parked(rig)

    assert ["adopted"] == states(rig)
    assert DONE == verdict(rig.finish(run)[0])
    assert 1 == len(rig.made(run))


@pytest.mark.problem(14)
def test_a_delivery_before_its_row_waits_for_it(rig: Rig) -> None:
    """The object is not known yet; when it is, the delivery is found without a call."""
    made = rig.run()
    before = rig.sim.reads()
    receive(rig, delivery("resp_later"), delivery(remote_id(rig, made), webhook_id="wh_2"))
    assert ["parked", "matched"] == states(rig)
    run = rig.ledger.adopt("resp_later")

    look_into_parked(rig)

    assert ["matched", "matched"] == states(rig)
    assert [run.id] == [row[0] for row in rig.rows("SELECT run_id FROM delivery WHERE id = 1")]
    assert before == rig.sim.reads()
    rig.finish(run)
    assert "wh_1" == rig.event(run, "notified")["detail"]["webhook_id"]


def test_what_nobody_here_asked_for_is_foreign(rig: Rig) -> None:
    """Another program's object is read once and left alone; one that is not there, three times."""
    rig.run()
    foreign = made_elsewhere(rig)
    receive(
        rig,
        delivery(foreign, webhook_id="wh_1"),
        delivery("resp_nowhere", webhook_id="wh_2"),
        delivery(webhook_id="wh_3", body=event("batch_1", "batch.completed")),
    )
    assert ["parked", "parked", "foreign"] == states(rig)

    look_into_parked(rig)
    assert ["foreign", "parked", "foreign"] == states(rig)
    for seconds in (100, 200):
        look_into_parked(rig, after_seconds=seconds)
    assert ["foreign"] * 3 == states(rig)


def test_many_strangers_do_not_keep_a_run_waiting(rig: Rig) -> None:
    """All that are due are looked into in one pass: nobody's objects are no queue before ours."""
    rig.run()
    receive(rig, *[delivery(f"resp_{n}", webhook_id=f"wh_{n}") for n in range(30)])

    look_into_parked(rig)

    assert [(1, 30)] == rig.rows("SELECT tries, COUNT(*) FROM delivery GROUP BY tries")


def test_secrets_are_rotated_without_a_restart(
    make_rig: MakeRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both secrets count while both are in the file; which one matched is recorded."""
    file = tmp_path / "secrets"
    file.write_text(SECRET)
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr("ledger.service.keyring.RELOAD_SECONDS", 0.0)
    rig = make_rig(openai_webhook_secret_file=file)
    keyring = Keyring(rig.ledger.settings)
    old, new = delivery(secret=SECRET), delivery(secret=OTHER)

    profile, first = keyring.signer(*old)
    with pytest.raises(DeliveryRefused):
        keyring.signer(*new)
    file.write_text(f"{OTHER}\n{SECRET}\n")
    _, second = keyring.signer(*new)

    assert ("default", first) == (profile, keyring.signer(*old)[1])
    assert first != second
    file.write_text(OTHER)
    with pytest.raises(DeliveryRefused):
        keyring.signer(*old)


def test_a_signature_by_either_secret_of_a_rotation_counts(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream may sign with both secrets at once, and we may hold both."""
    monkeypatch.setenv(VARIABLE, f"{OTHER}, {SECRET}")
    headers, body = delivery(secret=OTHER)
    stamp = headers["webhook-timestamp"]
    both = f"{sign(SECRET, 'wh_1', stamp, body)} {headers['webhook-signature']}"

    assert [Receipt.accepted] == receive(rig, ({**headers, "webhook-signature": both}, body))


@pytest.mark.parametrize(
    "secret", ["whsec_", "whsec_c2hvcnQ=", "whsec_not base64!", "whsec_%%%%", "short"]
)
def test_a_secret_that_protects_nothing_is_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """Too short, or not what it should be: said at the start, without the secret itself."""
    monkeypatch.setenv(VARIABLE, secret)
    with pytest.raises(ConfigurationError) as refused:
        Keyring(rig.ledger.settings)
    assert VARIABLE in str(refused.value)


def test_deliveries_hold_no_contents(rig: Rig) -> None:
    """What is kept of a delivery is what was sent, without what looks like a credential."""
    run = rig.run()
    body = event(remote_id(rig, run), note="sk-abcdefghijklmnop0123")
    receive(rig, delivery(body=body))

    kept = bytes(rig.scalar("SELECT body FROM evidence"))
    assert {**json.loads(body), "note": "[redacted]"} == json.loads(kept)


SECRET_WORDS = "what-nobody-may-keep-7f3a"


def held(rig: Rig, words: str) -> list[str]:
    """The tables that hold these words."""
    tables = sa.inspect(rig.ledger.store.engine).get_table_names()
    return [table for table in tables if words in str(rig.rows(f'SELECT * FROM "{table}"'))]


def test_a_delivery_to_an_erased_run_leaves_its_digest_alone(rig: Rig) -> None:
    """That it came, and when, stays; nothing of what it said, and nobody has to look."""
    run = rig.run()
    rig.ledger.erase([run])
    sent = delivery(body=event(remote_id(rig, run), note=SECRET_WORDS))
    assert [Receipt.accepted] == receive(rig, sent)
    assert [Receipt.duplicate] == receive(rig, sent)

    assert [] == held(rig, SECRET_WORDS)
    assert (None, None, 32, run.id) == tuple(
        rig.rows("SELECT salt, body, length(digest), run_id FROM evidence")[0]
    )
    assert 0 == rig.scalar("SELECT count(*) FROM watch")
    assert () == rig.ledger.verify().broken


def test_a_delivery_before_its_row_is_erased_with_its_run(rig: Rig) -> None:
    """It was parked, and its bytes name no run."""
    run = rig.run()
    name = remote_id(rig, run)
    rig.execute("UPDATE remote SET remote_id = 'later' WHERE run_id = :run", run=run.id)
    receive(rig, delivery(body=event(name, note=SECRET_WORDS)))
    rig.execute("UPDATE remote SET remote_id = :name WHERE run_id = :run", name=name, run=run.id)
    look_into_parked(rig)
    assert ["evidence"] == held(rig, SECRET_WORDS)
    rig.settle(run)
    rig.ledger.erase([run])

    assert [] == held(rig, SECRET_WORDS)
