"""One run in a zip, which a stranger checks with nothing but Python."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Bench, response, seen

from ledger import InvalidInput, Ledger, NotFound
from ledger.core.merkle import MerkleTree, _node, audit_path
from ledger.store.seals import seal


@pytest.fixture
def ledger(bench: Bench) -> Iterator[Ledger]:
    """A ledger on the bench's database."""
    with Ledger.open(bench.store.url, actor="ann") as opened:
        yield opened


@pytest.fixture
def run(bench: Bench) -> int:
    """A sealed run among others, with evidence, bytes that are no text, and an error."""
    bench.completed()
    facts = bench.sending(request=b'{"input":"\xff"}')
    error = {"code": "server_error", "message": "ünsagbar"}
    facts = bench.take(facts, seen(response("failed", remote_id="resp_f", error=error)))
    bench.execute(
        "INSERT INTO evidence (source, key, run_id, received_at, digest, body) "
        "VALUES ('webhook', 'wh-1', :run, '2026-03-01 12:00:00', :body, :body)",
        run=facts.run.id,
        body=b"{}",
    )
    bench.submit_many(3)
    bench.committer.run(lambda c: seal(c, bench.store.ledger_id, bench.now))
    return facts.run.id


def unpacked(path: Path, folder: Path) -> Path:
    """The files of a bundle."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def checked(folder: Path) -> tuple[int, str]:
    """What its own program says, run by a Python that knows nothing of this project."""
    done = subprocess.run(
        [sys.executable, "-I", str(folder / "verify.py")],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def test_a_stranger_can_check_it(bench: Bench, ledger: Ledger, run: int, tmp_path: Path) -> None:
    """The same run is the same bytes; the hash to compare is the anchor's."""
    done = ledger.bundle(run, tmp_path / "one.zip")
    again = ledger.bundle(run, tmp_path / "two.zip")
    assert Path(done.path).read_bytes() == Path(again.path).read_bytes()
    assert done.events == done.sealed == ledger.get(run).event_seq
    folder = unpacked(tmp_path / "one.zip", tmp_path / "one")
    code, said = checked(folder)

    assert (0, True) == (code, "everything fits" in said), said
    assert ledger.anchor().hash in said
    names = {path.name for path in folder.iterdir()}
    assert {"README.txt", "run.json", "events.json", "proof.json", "verify.py"} <= names


def test_any_changed_byte_is_named(ledger: Ledger, run: int, tmp_path: Path) -> None:
    """In whichever file; also where the list of digests was mended, for what the chain proves."""
    ledger.bundle(run, tmp_path / "one.zip")
    folder = unpacked(tmp_path / "one.zip", tmp_path / "one")
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name == "verify.py":
            continue
        whole = path.read_bytes()
        for place in {0, len(whole) // 2, len(whole) - 1}:
            changed = bytearray(whole)
            changed[place] ^= 1
            path.write_bytes(changed)
            code, said = checked(folder)
            assert (1, True) == (code, "BROKEN" in said), (path, place, said)
        path.write_bytes(whole)
    assert 0 == checked(folder)[0]


MENDED = (
    ("events.json", '"actor": "caller"', '"actor": "nobody"'),
    ("events.json", '"seq": 2', '"seq": 9'),
    ("payloads/0001.json", "input", "inpux"),
    ("proof.json", '"right"', '"left"'),
    ("proof.json", '"leaves": 5', '"leaves": 6'),
    ("proof.json", '"number": 1', '"number": 2'),
)


@pytest.mark.parametrize(("name", "old", "new"), MENDED)
def test_the_chain_proves_more_than_the_digests(
    ledger: Ledger, run: int, tmp_path: Path, name: str, old: str, new: str
) -> None:
    """Whoever mends SHA256SUMS too is found out by the hashes."""
    import hashlib

    ledger.bundle(run, tmp_path / "one.zip")
    folder = unpacked(tmp_path / "one.zip", tmp_path / "one")
    path = folder / name
    before = path.read_bytes()
    assert old.encode() in before
    path.write_bytes(before.replace(old.encode(), new.encode(), 1))
    sums = folder / "SHA256SUMS"
    digest = hashlib.sha256(before).hexdigest()
    mended = hashlib.sha256(path.read_bytes()).hexdigest()
    sums.write_text(sums.read_text().replace(digest, mended))
    code, said = checked(folder)

    assert (1, False) == (code, "packed" in said), said


def test_what_is_not_sealed_or_erased_is_said(
    bench: Bench, ledger: Ledger, run: int, tmp_path: Path
) -> None:
    """And still checks."""
    fresh = bench.completed().run.id
    ledger.bundle(fresh, tmp_path / "fresh.zip")
    code, said = checked(unpacked(tmp_path / "fresh.zip", tmp_path / "fresh"))
    assert (0, True) == (code, "no seal covers" in said)
    ledger.erase([run])
    part = ledger.bundle(run, tmp_path / "erased.zip")
    code, said = checked(unpacked(tmp_path / "erased.zip", tmp_path / "erased"))

    assert (0, True) == (code, "of them erased" in said), said
    assert part.sealed == part.events - 1
    with pytest.raises(InvalidInput, match="there already"):
        ledger.bundle(run, tmp_path / "erased.zip")
    with pytest.raises(InvalidInput):
        ledger.bundle(run, tmp_path / "none" / "x.zip")
    with pytest.raises(NotFound):
        ledger.bundle("nobody", tmp_path / "x.zip")


@given(st.integers(1, 40), st.data())
def test_every_leaf_has_its_path(count: int, data: st.DataObject) -> None:
    """From any leaf of a tree of any size to its root."""
    leaves = [bytes([number]) * 32 for number in range(count)]
    index = data.draw(st.integers(0, count - 1))
    node = leaves[index]
    for side, other in audit_path(leaves, index):
        node = _node(node, other) if side == "right" else _node(other, node)

    assert MerkleTree(leaves).root() == node
