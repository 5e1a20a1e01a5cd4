"""Words looked for in texts, in any case of letters: the same in SQL and without.

A database folds the letters that it was built or set up for. A word with letters beyond ASCII
becomes a pattern that names every case of each letter, which all read alike.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

CASES: Final = (str.lower, str.upper, str.title)


def said(word: str, text: str) -> bool:
    """Whether a text has a word in it, in any case of letters."""
    return _pattern(word).search(text) is not None


@lru_cache(maxsize=64)
def _pattern(word: str) -> re.Pattern[str]:
    return re.compile(regex_of(word))


def regex_of(word: str) -> str:
    """What `~` of PostgreSQL finds a word by, and Python."""
    return "".join(_cases(one) or (one if _plain(one) else f"\\{one}") for one in word)


def glob_of(word: str) -> str:
    """What `GLOB` of SQLite finds it by."""
    inner = (_cases(one) or (f"[{one}]" if one in "*?[" else one) for one in word)
    return f"*{''.join(inner)}*"


def _plain(sign: str) -> bool:
    return sign.isalnum() or not sign.isascii()


def _cases(letter: str) -> str:
    """A class of all cases of a letter; nothing where there is one."""
    cases = cases_of(letter)
    return f"[{''.join(sorted(cases))}]" if len(cases) > 1 else ""


def cases_of(letter: str) -> set[str]:
    """All cases of a letter that are one character, with itself; of ASCII letters ASCII ones."""
    found, fresh = {letter}, {letter}
    while fresh:
        made = {case(one) for one in fresh for case in CASES}
        fresh = {one for one in made if len(one) == 1 and one.isascii() == letter.isascii()}
        fresh -= found
        found |= fresh
    return found
