"""Writes the pages that are drawn from the program: `make docs`."""

from pathlib import Path

import reliability

from ledger.core import diagram, error_table
from ledger.store import schema_page

PAGES = {
    "lifecycle.md": diagram.document,
    "errors.md": error_table.document,
    "reliability.md": reliability.document,
    "schema.md": schema_page.document,
}

if __name__ == "__main__":
    for name, document in PAGES.items():
        Path(__file__).with_name(name).write_text(document(), encoding="utf-8")
