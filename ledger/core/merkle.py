"""Seals: the head of every changed run under one root, and the roots in one chain.

A leaf and a node are told apart by their first byte, or a node could be passed off as a leaf (RFC
6962, section 2.1). No local id is hashed: what a leaf binds is the run where it began.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from ledger.core.hashing import encode, microseconds

SEAL_VERSION: Final = b"\x01"
LEAF: Final = b"\x00"
NODE: Final = b"\x01"


def leaf_hash(ledger: str, run: int, seq: int, head: bytes) -> bytes:
    """The leaf of one run: its origin, and the number and hash of the newest event it covers."""
    return hashlib.sha256(LEAF + encode([ledger, run, seq, head])).digest()


class MerkleTree:
    """The root over leaves that are added one by one; keeps one hash for each bit of the count."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.count = 0
        self._peaks: list[bytes] = []
        for leaf in leaves:
            self.add(leaf)

    def add(self, leaf: bytes) -> None:
        """Add the next leaf."""
        size = self.count
        self.count += 1
        while size & 1:
            leaf = _node(self._peaks.pop(), leaf)
            size >>= 1
        self._peaks.append(leaf)

    def root(self) -> bytes:
        """The root over what was added so far; of nothing, the hash of nothing."""
        if not self._peaks:
            return hashlib.sha256().digest()
        *left, root = self._peaks
        for peak in reversed(left):
            root = _node(peak, root)
        return root


def audit_path(leaves: Sequence[bytes], index: int) -> list[tuple[str, bytes]]:
    """The hashes that lead from one leaf to the root, from the bottom up, each with its side."""
    if len(leaves) <= 1:
        return []
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    left, right = leaves[:half], leaves[half:]
    if index < half:
        return [*audit_path(left, index), ("right", MerkleTree(right).root())]
    return [*audit_path(right, index - half), ("left", MerkleTree(left).root())]


def seal_genesis(ledger: str) -> bytes:
    """What a ledger's first seal is chained to."""
    return hashlib.sha256(encode([b"runward seal", ledger])).digest()


def seal_hash(
    *, ledger: str, number: int, sealed_at: datetime, leaves: int, root: bytes, previous: bytes
) -> bytes:
    """The hash of one seal: of what it holds, and of the seal before it."""
    fields = [ledger, number, microseconds(sealed_at), leaves, root, previous]
    return hashlib.sha256(SEAL_VERSION + encode(fields)).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(NODE + left + right).digest()
