"""A document as one HTML file: no script, no request, one style, charts as inline SVG."""

from __future__ import annotations

import re
from typing import Any, Final

from ledger.service.rendering.blocks import Block, Document
from ledger.service.rendering.charts import svg_of

TEMPLATE: Final = "report.html.j2"
_CODE: Final = re.compile(r"`([^`\n]+)`")
_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]+")


def to_html(document: Document) -> str:
    """The whole document. Everything that comes from a run is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ledger.service.rendering", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"words": _words, "clean": _clean}
    template = environment.get_template(TEMPLATE)
    return template.render(document=document, kind=_kind, svg=_svg)


def _kind(block: Block) -> str:
    return type(block).__name__


def _svg(spec: Any) -> Any:
    """A chart; nothing where charts cannot be drawn."""
    from markupsafe import Markup

    drawn = svg_of(spec)
    # Ours, and drawn from numbers: the texts in it were escaped by who drew it.
    return None if drawn is None else Markup(drawn)  # noqa: S704


def _words(text: str) -> Any:
    """A sentence, escaped, with what stands in back-quotes as code."""
    from markupsafe import Markup, escape

    made, at = Markup(""), 0
    for code in _CODE.finditer(text):
        made += escape(_clean(text[at : code.start()]))
        made += Markup("<code>{}</code>").format(_clean(code[1]))
        at = code.end()
    return made + escape(_clean(text[at:]))


def _clean(text: str) -> str:
    return _CONTROLS.sub(" ", text)
