"""The page of errors is made from the tree."""

from __future__ import annotations

from ledger.core.error_table import document
from ledger.errors import leaves


def test_every_upstream_error_has_a_full_row() -> None:
    lines = document().splitlines()
    for error in leaves():
        row = next(line for line in lines if line.startswith(f"| `{error.__name__}` |"))
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 6
        assert all(cells), row


def test_the_exit_codes_are_those_of_the_classes() -> None:
    page = document()
    assert (
        "| `MissingCredential` | `ConfigurationError` | No credential is configured. | 4 |" in page
    )
    assert "| `UpstreamError` |" not in page
    assert "| `IllegalTransition` |" not in page


def test_the_page_is_the_same_every_time() -> None:
    assert document() == document()
