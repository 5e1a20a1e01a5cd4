"""docs/schema.md, from the views and tables that the program makes."""

from __future__ import annotations

from typing import Any, Final

from sqlmodel import SQLModel

from ledger.store.rows import table_of
from ledger.store.tables import Table
from ledger.store.views import VIEWS

ROLE: Final = """\
CREATE ROLE runward_reader LOGIN PASSWORD 'choose one';
GRANT USAGE ON SCHEMA public TO runward_reader;
GRANT SELECT ON v_runs, v_attempts, v_failures TO runward_reader;
ALTER ROLE runward_reader SET default_transaction_read_only = on;
"""
"""A login that may read the views and nothing else."""

HEAD: Final = """\
# The schema

Drawn from the program by `make docs`. For questions that `runward list`, `stats` and `errors` have no words for, there
are views. Their names and columns stay; columns are only added. The tables below them may change with any version, and
only the program may write: the database refuses what would change history.

Times are UTC: `timestamptz` on PostgreSQL, texts as `2026-03-01 12:00:00.000000` on SQLite, which sort as times do.

```sql
SELECT model, count(*) AS failures, count(DISTINCT run_id) AS runs
FROM v_failures WHERE failed_at >= '2026-03-01' GROUP BY model ORDER BY failures DESC;
```
"""  # noqa: E501
READING: Final = f"""\
## Reading without being able to write

**PostgreSQL.** A role that may read the views and nothing else: no requests, no results, no tool arguments are in them,
but keys, tags and error messages are. The views read the tables with their owner's rights, so nothing has to be granted
on those; an upgrade replaces the views and leaves the grants.

```sql
{ROLE}```

**SQLite.** Open the file read-only; a daemon may go on writing meanwhile. Who can read the file can read all of it.

```sh
sqlite3 -readonly runs.db 'SELECT status, count(*) FROM v_runs GROUP BY status'
python -c 'import sqlite3; print(sqlite3.connect("file:runs.db?mode=ro", uri=True).execute("SELECT count(*) FROM v_runs").fetchone())'
```
"""  # noqa: E501


def document() -> str:
    """The whole page."""
    return "\n".join((HEAD, *(_view(view) for view in VIEWS), READING, _tables()))


def _view(view: Any) -> str:
    rows = [f"| `{column.name}` | {column.meaning} |" for column in view.columns]
    return (
        "\n".join(
            (
                f"## {view.name}",
                "",
                f"A row is {view.row}.",
                "",
                "| Column | |",
                "| --- | --- |",
                *rows,
            )
        )
        + "\n"
    )


def _tables() -> str:
    lines = []
    for row in sorted(_rows(), key=lambda row: str(table_of(row).name)):
        table = table_of(row)
        said = (row.__doc__ or "").strip().splitlines()[0]
        columns = ", ".join(f"`{column.name}`" for column in table.columns)
        lines.append(f"| `{table.name}` | {said} | {columns} |")
    head = "## Tables\n\nOne row is …\n\n| Table | | Columns |\n| --- | --- | --- |\n"
    return head + "\n".join(lines) + "\n"


def _rows() -> list[type[Table]]:
    found: list[type[SQLModel]] = list(Table.__subclasses__())
    return [row for row in found if issubclass(row, Table) and hasattr(row, "__table__")]
