"""Alembic's entry. The runner in ledger/store/migrate.py hands over its connection."""

from __future__ import annotations

import os
from typing import Any

from alembic import context

from ledger.store.engine import open_engine
from ledger.store.tables import Table

OPTIONS: dict[str, Any] = {
    "target_metadata": Table.metadata,
    "render_as_batch": True,
    "compare_type": True,
    "compare_server_default": True,
}


def run() -> None:
    """Migrate over the given connection, or over one of our own for developers' commands."""
    if context.is_offline_mode():
        context.configure(
            dialect_name=context.config.attributes.get("dialect", "postgresql"),
            literal_binds=True,
            **OPTIONS,
        )
        with context.begin_transaction():
            context.run_migrations()
        return
    given = context.config.attributes.get("connection")
    if given is not None:
        _with(given)
        return
    engine = open_engine(os.environ["DATABASE_URL"], migrating=True)
    with engine.execution_options(write=True).begin() as connection:
        _with(connection)


def _with(connection: Any) -> None:
    context.configure(connection=connection, **OPTIONS)
    context.run_migrations()


run()
