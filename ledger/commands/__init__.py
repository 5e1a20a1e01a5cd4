"""The command line: one typer app; every error becomes one line, its remedy and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType

from ledger.errors import RunwardError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a disk answers that takes no more."""


def main() -> None:
    """The entry of `runward`, `python -m ledger` and `python cli.py`."""
    from ledger.commands.app import app

    ended: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: _terminated(ended, number, frame))
    try:
        # What an interrupt ended is returned, not raised.
        code = app(prog_name="runward", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(128 + ended[0] if ended else code if isinstance(code, int) else 0)
    except RunwardError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(128 + ended[0] if ended else 130)
    except BrokenPipeError:
        # The reader went away, as `| head` does; say nothing.
        _let_go_of_output()
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno not in FULL:
            raise
        _let_go_of_output()
        print(f"runward: the output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        _click_or_raise(error)
    finally:
        signal.signal(signal.SIGTERM, before)


def _let_go_of_output() -> None:
    """What is still to be written goes nowhere: no flush at the end says again that it failed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminated(ended: list[int], number: int, frame: FrameType | None) -> None:
    """End as an interrupt does: runs are given back, transactions rolled back. An event loop turns
    an interrupt into a cancel; an exit raised in the middle of one of its tasks would be lost."""
    ended.append(number)
    interrupt = signal.getsignal(signal.SIGINT)
    if not callable(interrupt):
        sys.exit(128 + number)
    interrupt(signal.SIGINT, frame)


def fail(error: RunwardError) -> None:
    """Print what, why and what to do on stderr, and exit with the error's code."""
    from ledger.commands.plain_text import harmless

    print(harmless(f"runward: {error.message}"), file=sys.stderr)
    if error.hint:
        print(harmless(f"  try: {error.hint}"), file=sys.stderr)
    sys.exit(error.exit_code)


def _click_or_raise(error: Exception) -> None:
    import typer
    from typer._click.exceptions import ClickException

    if isinstance(error, typer.Exit):
        sys.exit(error.exit_code)
    if isinstance(error, typer.Abort):
        print("runward: called off", file=sys.stderr)
        sys.exit(1)
    if isinstance(error, ClickException):
        error.show()
        sys.exit(error.exit_code)
    raise error
