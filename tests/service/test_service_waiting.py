"""Submitting and waiting, from any process, thread or loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from service_rig import KEY, ROOT, MakeRig, Rig, request, verdict
from support import SQLITE

from ledger import (
    AsyncLedger,
    Conflict,
    InvalidInput,
    Ledger,
    NotFound,
    StillPending,
    WaitTimeout,
    tool,
)
from ledger.errors import DatabaseError

DONE = ("completed", 1, None, None, None)


def test_a_timeout_ends_the_wait_and_not_the_run(rig: Rig) -> None:
    """WaitTimeout says that the run goes on, and it does."""
    run = rig.submit("sim-slow")

    with pytest.raises(WaitTimeout, match="the run goes on"):
        rig.ledger.wait(run, timeout="200ms")

    assert not rig.ledger.get(run).final
    with pytest.raises(StillPending):
        rig.ledger.result(run)
    assert DONE == verdict(rig.finish(run)[0])


@SQLITE
def test_drive_never_only_reads(rig: Rig) -> None:
    """Without a daemon and without driving, nothing is sent."""
    run = rig.submit("sim-ok")

    with pytest.raises(WaitTimeout):
        rig.ledger.wait(run, timeout=0.2, drive="never")

    assert ([], 0) == (rig.sim.log(), rig.count("worker"))


@SQLITE
def test_drive_auto_is_an_ordinary_life(rig: Rig) -> None:
    """A wait without a daemon begins a life, drives the run, and ends the life."""
    rig.run("sim-ok")

    assert [("wait", "drained")] == [tuple(r) for r in rig.rows('SELECT role, "end" FROM worker')]


@SQLITE
@pytest.mark.parametrize("bad", [{"drive": "maybe"}, {"timeout": -1}, {"timeout": "soon"}])
def test_a_wait_is_judged_before_it_begins(rig: Rig, bad: dict[str, object]) -> None:
    """A timeout or a way to drive that means nothing is refused."""
    run = rig.submit("sim-ok")

    with pytest.raises(InvalidInput):
        rig.ledger.wait(run, **bad)  # type: ignore[arg-type]


def test_threads_share_a_ledger(rig: Rig) -> None:
    """Several threads submit and wait on one ledger at the same time."""
    found: list[object] = []

    def work(number: int) -> None:
        run = rig.submit("sim-ok", input=f"What is {number}+{number}?")
        rig.ledger.wait(run, timeout=20)
        found.append((number, rig.ledger.result(run)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert [(1, "2"), (2, "4"), (3, "6"), (4, "8")] == sorted(found)  # type: ignore[type-var]


def test_the_async_ledger_does_the_same(make_rig: MakeRig) -> None:
    """Every call of the Ledger can be awaited."""
    rig = make_rig()

    async def work() -> tuple[object, ...]:
        async with await AsyncLedger.open(rig.url, poll_seconds=0.05) as ledger:
            run = await ledger.submit(**request(), key="async:1")
            many = await ledger.submit_many([request(), request("sim-tool")])
            await ledger.wait(run, timeout=20)
            cancelled = await ledger.cancel(many[0])
            kinds = [event["kind"] async for event in ledger.events("async:1", follow=True)]
            listed = await ledger.runs("status:completed")
            shown = await ledger.show(run)
            checked = await ledger.verify()
            return (
                await ledger.result(run),
                (await ledger.get("async:1")).state,
                cancelled.state,
                kinds[-1],
                [item.key for item in listed],
                shown["status"],
                checked.broken,
            )

    assert ("4", "completed", "cancelled", "observed", ["async:1"], "completed", ()) == asyncio.run(
        work()
    )


@SQLITE
def test_the_async_ledger_answers_restarts_and_adopts(make_rig: MakeRig) -> None:
    """Operators' calls can be awaited too."""
    rig = make_rig()

    async def work() -> tuple[object, ...]:
        async with await AsyncLedger.open(rig.url, poll_seconds=0.05) as ledger:
            failed = await ledger.submit(**request("sim-fail-server_error-once"))
            await ledger.wait(failed, timeout=20)
            await ledger.restart(failed)
            again = await ledger.wait(failed, timeout=20)
            waiting = await ledger.submit(**request("sim-tool"))
            with pytest.raises(WaitTimeout):
                await ledger.wait(waiting, timeout=0.8)
            call = (await ledger.show(waiting))["tool_calls"][0]["call_id"]
            await ledger.answer(waiting, call, "by hand")
            done = await ledger.wait(waiting, timeout=20)
            adopted = await ledger.adopt("resp_from_elsewhere")
            return again.state, again.attempts, done.state, adopted.key

    assert (
        "completed", 2, "completed", "adopted-responses-resp_from_elsewhere"
    ) == asyncio.run(work())  # fmt: skip


@SQLITE
def test_a_cancelled_wait_ends_and_gives_its_run_back(rig: Rig) -> None:
    """The task's cancellation reaches the life that drove the run, before the caller goes on."""

    async def work() -> None:
        async with await AsyncLedger.open(rig.url) as ledger:
            run = await ledger.submit(**request("sim-stuck-in_progress"))
            waiting = asyncio.create_task(ledger.wait(run, timeout=20))
            while (await ledger.get(run)).state != "in_progress":
                assert not waiting.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert [("wait", "drained")] == [
                tuple(r) for r in rig.rows('SELECT role, "end" FROM worker')
            ]
            assert 1 == rig.scalar("SELECT count(*) FROM watch WHERE owner IS NULL")

    asyncio.run(work())


@SQLITE
def test_waits_leave_the_other_calls_their_threads(rig: Rig) -> None:
    """More waits than the loop has threads, and a call still gets through."""

    async def work() -> None:
        async with await AsyncLedger.open(rig.url) as ledger:
            runs = [await ledger.submit(**request("sim-ok")) for _ in range(40)]
            waits = [asyncio.create_task(ledger.wait(run, drive="never")) for run in runs]
            await asyncio.sleep(0)
            assert "queued" == (await asyncio.wait_for(ledger.get(runs[0]), 10)).state
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    asyncio.run(work())


@SQLITE
def test_closing_the_ledger_ends_its_waits(rig: Rig) -> None:
    """A wait in another thread raises, and nothing goes on behind the program's back."""
    run = rig.submit("sim-stuck-in_progress")
    caught: list[BaseException] = []
    ledger = Ledger.open(rig.url)

    def work() -> None:
        try:
            ledger.wait(run)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    rig.expect(lambda: rig.ledger.get(run).state == "in_progress")
    ledger.close()
    thread.join(20)

    assert ["DatabaseError"] == [type(error).__name__ for error in caught]
    assert ["drained"] == [row[0] for row in rig.rows('SELECT "end" FROM worker')]
    for call in (ledger.get, ledger.cancel, ledger.wait):
        with pytest.raises(DatabaseError, match="closed"):
            call(run)


@SQLITE
def test_a_wait_for_a_run_that_is_not_there_is_an_error(rig: Rig) -> None:
    """Not a wait that ends at once."""
    with pytest.raises(NotFound):
        rig.ledger.wait_for([999])


FORK = """
import os, sys
from ledger import ForkedLedger, Ledger
with Ledger.open(sys.argv[1]) as ledger:
    ledger.submit(model="sim-ok", input="hello")
    child = os.fork()
    if child == 0:
        try:
            ledger.get(1)
            os._exit(1)
        except ForkedLedger:
            pass
        try:
            ledger.submit(model="sim-ok", input="hello")
        except ForkedLedger as error:
            print(error.message, "|", error.hint, flush=True)
            ledger.close()
            os._exit(17)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ledger.submit(model="sim-ok", input="hello")
sys.exit(status)
"""


def test_a_forked_ledger_says_so(rig: Rig) -> None:
    """A child that inherits a ledger is told to open its own; the parent goes on."""
    done = subprocess.run(
        [sys.executable, "-c", FORK, rig.url],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=30,
        check=False,
    )

    assert 17 == done.returncode, done.stderr
    assert "opened before a fork" in done.stdout
    assert "call Ledger.open again in the child" in done.stdout
    assert 2 == rig.count("run")


def test_submit_many_is_all_or_none(rig: Rig) -> None:
    """One wrong request, or one key that is taken, and nothing is written."""
    rig.submit("sim-ok", key="taken")
    before = [rig.count(table) for table in ("run", "event", "payload", "watch")]

    with pytest.raises(InvalidInput, match="request 2"):
        rig.ledger.submit_many([request(), {"provider": "responses", "model": "m"}])
    with pytest.raises(Conflict):
        rig.ledger.submit_many([request(), request("sim-slow", key="taken"), request()])
    with pytest.raises(InvalidInput, match="one key"):
        rig.ledger.submit_many([request(key="twice"), request(key="twice")])

    assert before == [rig.count(table) for table in ("run", "event", "payload", "watch")]
    assert 3 == len(rig.ledger.submit_many([request(), request(key="taken"), request()]))
    assert 3 == rig.count("run")


def test_a_key_is_a_promise(rig: Rig) -> None:
    """The same key and request give the same run; another request is a Conflict."""
    first = rig.submit("sim-ok", key="memo")

    assert first.id == rig.submit("sim-ok", key="memo").id
    with pytest.raises(Conflict):
        rig.submit("sim-ok", key="memo", input="Something else")
    assert 1 == rig.count("run")


@SQLITE
def test_a_run_has_three_names(rig: Rig) -> None:
    """Number, key and upstream id lead to the same run; a record does too."""
    run = rig.run("sim-ok", key="by-key")
    remote = rig.remotes(run)[0]["remote_id"]

    assert {run.id} == {
        rig.ledger.get(name).id for name in (run.id, str(run.id), "by-key", remote, run)
    }


@SQLITE
def test_events_are_followed_to_the_verdict(rig: Rig) -> None:
    """`events(follow=True)` ends with the run."""
    run = rig.submit("sim-ok")
    with rig.daemon():
        followed = [event["seq"] for event in rig.ledger.events(run, follow=True)]

    assert list(range(1, rig.ledger.get(run).event_seq + 1)) == followed


@SQLITE
def test_lists_are_queried_and_paged(rig: Rig) -> None:
    """The query grammar chooses, and pages continue below a number."""
    done = rig.run("sim-ok", tags={"team": "search"})
    bad = rig.run("sim-fail-server_error")
    open_one = rig.submit("sim-slow", "assistants", kind="nightly")
    ledger = rig.ledger

    def ids(query: str) -> list[int]:
        return [run.id for run in ledger.runs(query)]

    assert [open_one.id, bad.id, done.id] == ids("")
    assert [bad.id] == ids("status:failed error_code:server*")
    assert [done.id] == ids("tag.team:search")
    assert [open_one.id] == ids("provider:assistants kind:nightly -status:completed,failed")
    assert [bad.id] == ids("asked")
    assert [bad.id, done.id] == [run.id for run in ledger.runs(before=open_one.id)]
    assert [open_one.id] == [run.id for run in ledger.runs(limit=1)]


@SQLITE
def test_a_tool_declares_itself(make_rig: MakeRig) -> None:
    """A decorated function given in `tools` becomes a declaration that upstream understands."""

    @tool(idempotent=True)
    def weather(city: str, days: int = 1) -> str:
        """The weather of a city."""
        return f"{city}: fine for {days}"

    rig = make_rig(tools=[weather])
    runs = rig.finish(rig.submit("sim-tool"), rig.submit("sim-tool", "assistants"))

    assert ["The tools said: Paris: fine for 1"] * 2 == [rig.ledger.result(run) for run in runs]
    assert (
        "The weather of a city." == rig.ledger.show(runs[0])["request"]["tools"][0]["description"]
    )


@SQLITE
def test_an_old_database_is_opened_by_another_key(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The runs of a ledger can be read without any credential."""
    run = rig.run("sim-ok")
    monkeypatch.delenv("OPENAI_API_KEY")

    with Ledger.open(rig.url) as ledger:
        assert "4" == ledger.result(run.id)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
