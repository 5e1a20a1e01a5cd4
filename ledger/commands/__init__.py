"""The command line: one typer app; every error becomes one line, its remedy and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from ledger.errors import RunwardError


def main() -> None:
    """The entry of `runward`, `python -m ledger` and `python cli.py`."""
    from ledger.commands.app import app

    ended: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: _terminated(ended, number, frame))
    try:
        # What an interrupt ended is returned, not raised.
        code = app(prog_name="runward", standalone_mode=False)
        sys.exit(128 + ended[0] if ended else code if isinstance(code, int) else 0)
    except RunwardError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(128 + ended[0] if ended else 130)
    except BrokenPipeError:
        # The reader went away, as `| head` does; say nothing, and let no flush say it later.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        _click_or_raise(error)
    finally:
        signal.signal(signal.SIGTERM, before)


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
