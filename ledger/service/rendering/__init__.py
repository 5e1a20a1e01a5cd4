"""The forms of a report. All are made from its numbers, and Markdown and HTML from one document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ledger.errors import InvalidInput

FORMS: Final = ("md", "html", "json")


def render(numbers: Mapping[str, Any], form: str = "md") -> str:
    """A report's numbers as a text. The same numbers give the same text, to the byte.

    `form` is md, html or json. Raises InvalidInput for another.
    """
    from ledger.service.rendering.charts import specs
    from ledger.service.rendering.document import document
    from ledger.service.rendering.html import to_html
    from ledger.service.rendering.markdown import to_markdown

    match form:
        case "md":
            return to_markdown(document(numbers))
        case "html":
            return to_html(document(numbers))
        case "json":
            whole = {**numbers, "charts": specs(numbers)}
            return json.dumps(whole, indent=2, ensure_ascii=True, allow_nan=False) + "\n"
    raise InvalidInput(f"a report has no form {form!r}", hint=f"known: {', '.join(FORMS)}")
