"""Texts of other people, as a terminal may have them."""

from __future__ import annotations

import re
from typing import Final

_COMMANDS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys: control characters but tab and newline, and turns of the direction."""


def harmless(text: str) -> str:
    """A text whose characters are all shown and none obeyed: upstream, a model or a tool wrote
    it, and could else move the cursor, hide lines or name a link of its own."""
    return _COMMANDS.sub(lambda found: ascii(found.group())[1:-1], text)
