"""The log of what runs for long: one chain for our lines and those of the libraries.

Console on a terminal, else one JSON object a line. Import this inside commands: structlog is not
needed to say `--help`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter

from ledger.commands.masking import Mask, known_secrets
from ledger.commands.output import State
from ledger.commands.plain_log import PlainFormatter
from ledger.errors import ConfigurationError, RunwardError
from ledger.settings import load_settings

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

    from ledger.settings import Settings

log = logging.getLogger("runward")
FIRST: Final = (
    "ts", "level", "event", "logger", "run_id", "attempt", "remote_id", "worker", "from",
    "error_code", "dur_s",
)  # fmt: skip
UNWANTED: Final = ("color_message", "_record", "_from_structlog")
"""uvicorn says its words twice; the others are the formatter's own."""


@contextlib.contextmanager
def logging_on(settings: Settings) -> Iterator[None]:
    """Log as the settings say until the block ends.

    What ends it once it runs is logged too, so that each line parses; before, it is told as other
    commands tell it. An error of ours is logged, masked like the rest, and is 1.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings))
    root, ours = logging.getLogger(), logging.getLogger("runward")
    plain = [one for one in root.handlers if isinstance(one.formatter, PlainFormatter)]
    level = ours.level
    for one in plain:
        root.removeHandler(one)
    root.addHandler(handler)
    logging.captureWarnings(True)
    set_level(settings)
    State.running = False
    try:
        yield
    except RunwardError as error:
        if not State.running:
            raise
        log.critical("%s", error.message, extra={"hint": error.hint})
        raise SystemExit(error.exit_code) from None
    except Exception:
        log.critical("ended by an error of ours", exc_info=True)
        raise SystemExit(1) from None
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        for one in plain:
            root.addHandler(one)
        ours.setLevel(level)


def formatter(settings: Settings) -> logging.Formatter:
    """The chain, and the form at its end."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
    ]
    mask = Mask(known_secrets(settings))
    ending: list[Processor] = [mask, _ordered, _renderer(_form(settings))]
    return ProcessorFormatter(foreign_pre_chain=shared, processors=ending)


def _form(settings: Settings) -> str:
    if settings.log_format != "auto":
        return settings.log_format
    return "console" if sys.stderr.isatty() else "json"


def _renderer(form: str) -> Processor:
    match form:
        case "json":
            return structlog.processors.JSONRenderer()
        case "logfmt":
            return structlog.processors.LogfmtRenderer(bool_as_flag=False)
        case _:
            colors = sys.stderr.isatty() and "NO_COLOR" not in os.environ
            return structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="ts", sort_keys=False)


def _ordered(logger: WrappedLogger, name: str, said: EventDict) -> EventDict:
    """The same keys in the same places."""
    del logger, name
    rest = sorted(said.keys() - {*FIRST, *UNWANTED})
    return {key: said[key] for key in (*FIRST, *rest) if said.get(key) is not None}


def set_level(settings: Settings) -> None:
    """What runs for long says more than a command."""
    logging.getLogger("runward").setLevel("DEBUG" if State.debug else settings.log_level)


def hail(text: str) -> None:
    """The line with which a process begins; in the log's own form, so that each line parses."""
    State.running = True
    if not State.quiet:
        log.info(text)


def reload_on_hangup() -> None:
    """Read the log's level again on SIGHUP; on a terminal it keeps its meaning, that it is gone."""
    if not sys.stderr.isatty():
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload)


def _reload() -> None:
    try:
        settings = load_settings(database_url=State.database)
    except ConfigurationError as error:
        log.error("the configuration was not read again: %s", error.message)
        return
    set_level(settings)
    log.warning("the log level is %s", settings.log_level)
