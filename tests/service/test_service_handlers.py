"""`@ledger.on("run.failed")`: functions of users that are told what happened."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from service_rig import MakeRig, Rig, StartDaemon, request

from ledger import AsyncLedger, Ledger, Notice, on
from ledger.errors import ConfigurationError
from ledger.service.handlers import Handler
from ledger.service.tools import Toolbox
from ledger.store.following import Place, page_after


def test_a_handler_is_told_of_its_events_alone(rig: Rig) -> None:
    """By the wait that drives the run, after the commit: what it reads is there."""
    seen: list[tuple[str, str, str | None]] = []

    @rig.ledger.on("run.failed", "run.restarted")
    def failed(notice: Notice) -> None:
        run = rig.ledger.get(notice.run)
        seen.append((str(notice.type), str(run.state), notice.error_code))

    rig.run("sim-ok")
    rig.run("sim-fail-server_error", restart="none")

    assert [("run.failed", "failed", "server_error")] == seen


def test_what_happened_before_it_was_registered_is_not_told(rig: Rig) -> None:
    """A new handler starts at the present end of the log."""
    seen: list[int] = []
    rig.run()
    rig.expect(lambda: not rig.ledger.store.read(lambda c: page_after(c, Place(0, 0))).blocked)
    rig.ledger.on("run.submitted", "run.completed")(lambda notice: seen.append(notice.run))
    later = rig.run()

    assert [later.id, later.id] == seen


def test_an_async_handler_runs_on_the_loop(rig: Rig) -> None:
    """And a sync one in a thread of its own."""
    threads: dict[str, str] = {}

    @rig.ledger.on("run.completed")
    async def on_the_loop(notice: Notice) -> None:
        await asyncio.sleep(0)
        threads["async"] = threading.current_thread().name

    @rig.ledger.on("run.completed")
    def in_a_thread(notice: Notice) -> None:
        threads["sync"] = threading.current_thread().name

    rig.run()

    assert {"async", "sync"} == set(threads)
    assert "runward-tool" == threads["sync"]
    assert "runward-tool" != threads["async"]


def test_a_notice_cannot_be_changed(rig: Rig) -> None:
    """Several handlers may get the same one."""
    problems: list[type[Exception]] = []

    @rig.ledger.on("run.completed")
    def spoil(notice: Notice) -> None:
        for change in (
            lambda: setattr(notice, "run", 7),
            lambda: notice.tags.update(team="other"),  # type: ignore[attr-defined]
        ):
            try:
                change()
            except Exception as error:
                problems.append(type(error))

    rig.run(tags={"team": "risk"})

    assert [FrozenInstanceError, AttributeError] == problems


@pytest.mark.parametrize("kind", ["raises", "exits", "exits on the loop", "hangs"])
def test_a_bad_handler_is_tried_again_and_holds_up_nothing(
    rig: Rig, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it does; another handler is told meanwhile, and the credential in it is not kept."""
    good: list[int] = []
    never = threading.Event()

    def bad(notice: Notice) -> None:
        if kind == "raises":
            raise ValueError("no: sk-proj-0123456789abcdefghijklmnop")
        if kind == "exits":
            sys.exit(3)
        never.wait()

    async def leave(notice: Notice) -> None:
        sys.exit(3)

    rig.ledger.on("run.completed", timeout_seconds=0.2)(leave if "loop" in kind else bad)
    rig.ledger.on("run.completed")(lambda notice: good.append(notice.run))
    with caplog.at_level(logging.WARNING), rig.daemon():
        run = rig.submit()
        rig.expect(lambda: good == [run.id])
        rig.expect(lambda: rig.scalar("SELECT max(tries) FROM follower") >= 1)
    never.set()

    said = rig.scalar("SELECT last_error FROM follower WHERE tries > 0")
    assert {
        "raises": "ValueError: no:",
        "exits": "sys.exit(3)",
        "exits on the loop": "SystemExit: 3",
        "hangs": "it did not end within 0.2 s",
    }[kind] in said
    assert "0123456789abcdef" not in said + caplog.text


def test_a_handler_stacks(rig: Rig) -> None:
    """Two decorators are one handler of both events."""
    seen: list[str] = []

    @rig.ledger.on("run.completed")
    @on("run.submitted")
    def both(notice: Notice) -> None:
        seen.append(str(notice.type))

    rig.run()

    assert ["run.submitted", "run.completed"] == seen


def test_the_async_ledger_has_it_too(database_url: str, rig: Rig) -> None:
    """The same call."""
    seen: list[int] = []

    async def work() -> int:
        async with await AsyncLedger.open(database_url, poll_seconds=0.05) as ledger:
            ledger.on("run.completed")(lambda notice: seen.append(notice.run))
            run = await ledger.submit(**request())
            await ledger.wait(run, timeout=20)
            return run.id

    assert [asyncio.run(work())] == seen


# Mistakes.


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: on("run.faild"), "there is no event 'run.faild'"),
        (on, "no event is named"),
        (lambda: on("run.failed", timeout_seconds=0), "timeout_seconds"),
        (lambda: on("run.failed", timeout_seconds=10**9), "timeout_seconds"),
        (lambda: on("run.failed")("text"), "is no function"),  # type: ignore[arg-type]
    ],
)
def test_a_mistake_is_named_at_once(make: Callable[[], object], said: str) -> None:
    """Not when the first run has failed."""
    with pytest.raises(ConfigurationError, match=said):
        make()


def test_a_slip_of_the_pen_gets_a_suggestion() -> None:
    """The nearest name."""
    with pytest.raises(ConfigurationError) as caught:
        on("run.faild")

    assert "did you mean 'run.failed'?" == caught.value.hint


def test_two_functions_of_one_name_are_refused() -> None:
    """Their places in the log would be one."""

    def made(value: int) -> Handler:
        @on("run.failed")
        def handler(notice: Notice) -> int:
            return value

        return handler

    with pytest.raises(ConfigurationError, match="two handlers are named"):
        Toolbox([made(1), made(2)])


# Modules of a daemon.


def test_a_module_gives_tools_and_handlers() -> None:
    """As `--tools MODULE` reads it."""
    found = Toolbox.load("following_handlers")

    assert ["nothing"] == [tool.name for tool in found]
    assert ["following_handlers:written_down"] == list(found.handlers)


def test_a_kill_in_the_middle_repeats_and_skips_nothing(
    make_rig: MakeRig, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """The daemon dies after the handler did its work and before that was recorded."""
    told, die = tmp_path / "told", tmp_path / "told.die"
    rig: Rig = make_rig()
    first = start_daemon("--tools", "following_handlers", RUNWARD_TEST_TOLD=str(told))
    rig.expect(lambda: rig.count("follower") == 1)
    die.touch()
    run = rig.submit()
    first.expect("it died", lambda: first.process.poll() is not None)
    die.unlink()
    lines = [f"run.completed {run.id} 1"]
    assert lines == told.read_text().splitlines()

    second = start_daemon("--tools", "following_handlers", RUNWARD_TEST_TOLD=str(told))
    second.expect("told again", lambda: told.read_text().splitlines() == lines * 2)
    other = rig.submit()
    lines = [*lines * 2, f"run.completed {other.id} 1"]
    second.expect("told of the next", lambda: told.read_text().splitlines() == lines)
    assert 0 == second.drain()


def test_a_ledger_takes_handlers_with_its_tools(database_url: str, rig: Rig) -> None:
    """`Ledger.open(tools=[…])`, for handlers that are written down once."""
    seen: list[int] = []
    handler = on("run.completed")(lambda notice: seen.append(notice.run))
    with Ledger.open(database_url, tools=[handler], poll_seconds=0.05) as ledger:
        run = ledger.submit(**request())
        ledger.wait(run, timeout=20)

    assert [run.id] == seen
