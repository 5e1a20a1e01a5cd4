"""What the processes that commands are forked from have done beforehand: importing costs more than
most commands, and typer makes all commands anew for each call, in 60 ms."""

from __future__ import annotations

import functools

import openai  # noqa: F401
import sqlmodel  # noqa: F401
import typer.main

import ledger.providers
import ledger.service.ledger  # noqa: F401
from ledger.commands.app import app

typer.main.get_command = functools.cache(typer.main.get_command)
typer.main.get_command(app)
