"""Databases of a test's own: SQLite files, and databases on a PostgreSQL server that is there."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url


@contextmanager
def administrator(url: str) -> Iterator[psycopg.Connection]:
    """A connection on which databases can be made and dropped."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        yield connection


@contextmanager
def postgres_database(server: str, *, template: str | None = None) -> Iterator[str]:
    """A database of its own, empty or a copy of `template`; dropped at the end."""
    name = f"runward_{uuid.uuid4().hex[:16]}"
    copied = f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""
    with administrator(server) as connection:
        connection.execute(f"CREATE DATABASE {name}{copied}")
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def migrated(dialect: str, request: pytest.FixtureRequest, path: Path) -> Iterator[str]:
    """A fresh, migrated database: a copy of the template, on SQLite at `path`."""
    if dialect == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    template = request.getfixturevalue("postgres_template")
    with postgres_database(request.getfixturevalue("postgres_server"), template=template) as url:
        yield url
