"""Terms of a query as a condition on runs."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from ledger.core.query import Term
from ledger.store.queries import _condition


def matching(terms: Sequence[Term]) -> sa.ColumnElement[bool]:
    """That a row of `run` matches all terms."""
    return sa.and_(sa.true(), *(_condition(term) for term in terms))
