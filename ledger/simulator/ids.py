"""Identifiers and chance, both functions of the seed alone.

Nothing here keeps a random generator: a value depends on the seed and on its name, so the
order in which concurrent requests arrive changes as little as possible.
"""

from __future__ import annotations

import hashlib
import string
from collections import Counter

_ALPHABET = string.ascii_letters + string.digits
_LONG = frozenset({"resp", "fc"})


def opaque(length: int, *name: object) -> str:
    """Letters and digits that look random and are always the same for the same name."""
    text = ""
    block = 0
    while len(text) < length:
        digest = hashlib.sha256(repr((block, *name)).encode()).digest()
        text += "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest)
        block += 1
    return text[:length]


def chance(*name: object) -> float:
    """A number from 0 up to 1, always the same for the same name."""
    digest = hashlib.sha256(repr(name).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class Ids:
    """Makes the identifiers of one world: the nth of a kind is fixed by the seed."""

    def __init__(self, seed: int, length: int | None = None) -> None:
        self._seed = seed
        self._length = length
        self._made: Counter[str] = Counter()

    def make(self, prefix: str) -> str:
        """The next identifier of a kind, such as ``run_…``."""
        self._made[prefix] += 1
        return self.named(prefix, self._made[prefix])

    def named(self, prefix: str, *name: object) -> str:
        """The identifier of something that is named already, such as the event of an object."""
        length = self._length or (48 if prefix in _LONG else 24)
        return f"{prefix}_{opaque(length, self._seed, prefix, *name)}"
