"""`python -m MODULE` as a process of its own, forked from one that has imported everything: it can
be signalled, killed and waited for like any other, and starts in a twentieth of the time."""

from __future__ import annotations

import functools
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from subprocess import TimeoutExpired

import pytest

HERE = Path(__file__).parent
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["warmed"])


@functools.cache
def _serve() -> None:
    """Start what forks, where it finds what to import: Python 3.11 tells it no path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(HERE), str(HERE.parent))))
        ensure_running()


class Forked:
    """A running process, as `subprocess.Popen` has it; what it says goes to a file."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        folder: Path,
    ) -> None:
        _serve()
        log.touch(0o600)
        given = (module, list(arguments), str(log), dict(environment), str(folder))
        self.process = FORKSERVER.Process(target=_become, args=given)
        self.process.start()
        assert self.process.pid is not None
        self.pid: int = self.process.pid

    def poll(self) -> int | None:
        """The exit code; None as long as it runs."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises TimeoutExpired."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise TimeoutExpired(self.process.name, timeout or 0)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Signal it, if it is there."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _become(
    module: str, arguments: list[str], log: str, environment: dict[str, str], folder: str
) -> None:
    """In the child: be what was asked for."""
    said = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(said, stream)
    os.close(said)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
