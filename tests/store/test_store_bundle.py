"""One run in a zip, which a stranger checks with nothing but Python."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Bench, response, seen

from ledger import InvalidInput, Ledger, NotFound
from ledger.core.hashing import payload_digest
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
        "INSERT INTO evidence (source, key, run_id, received_at, salt, digest, body) "
        "VALUES ('webhook', 'wh-1', :run, '2026-03-01 12:00:00', :salt, :digest, :body)",
        run=facts.run.id,
        salt=b"s" * 16,
        digest=payload_digest(b"s" * 16, b"{}"),
        body=b"{}",
    )
    facts = bench.announced(facts, "wh-2")
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
    ledger.bundle(run, tmp_path / "one.zip")
    folder = unpacked(tmp_path / "one.zip", tmp_path / "one")
    before = (folder / name).read_bytes()
    assert old.encode() in before
    (folder / name).write_bytes(before.replace(old.encode(), new.encode(), 1))
    mend(folder)
    code, said = checked(folder)

    assert (1, False) == (code, "packed" in said), said


def mend(folder: Path) -> None:
    """Make the list of digests fit the files."""
    names = [line.partition("  ")[2] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    made = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / "SHA256SUMS").write_text("".join(made))


def without_salt(folder: Path) -> None:
    """Other bytes of a payload, which nothing is held against any more."""
    forge_row(folder, salt=None)
    (folder / "payloads" / "0001.json").write_text("{}")


def without_bytes(folder: Path) -> None:
    """A payload that is said to be erased."""
    forge_row(folder, salt=None, file=None)


def twice(folder: Path) -> None:
    """Other bytes of a payload, and a second row that has its digest."""
    body, salt = b"{}", bytes(16)
    (folder / "payloads" / "0001.json").write_bytes(body)
    rows = json.loads((folder / "payloads.json").read_text())
    forged = rows[0] | {"salt": salt.hex(), "digest": payload_digest(salt, body).hex()}
    rows = [forged, rows[0] | {"file": None, "salt": None}, *rows[1:]]
    (folder / "payloads.json").write_text(json.dumps(rows))


def forge_row(folder: Path, **fields: object) -> None:
    """Other values in the row of the first payload."""
    rows = json.loads((folder / "payloads.json").read_text())
    (folder / "payloads.json").write_text(json.dumps([rows[0] | fields, *rows[1:]]))


def other_detail(folder: Path) -> None:
    """An event that shows what was not hashed."""
    events = json.loads((folder / "events.json").read_text())
    place = next(i for i, event in enumerate(events) if event["detail"])
    events[place]["detail"] = {"by": "me"}
    (folder / "events.json").write_text(json.dumps(events))


def detail_of_none(folder: Path) -> None:
    """A detail where there was none."""
    events = json.loads((folder / "events.json").read_text())
    place = next(i for i, event in enumerate(events) if not event["detail"])
    events[place]["detail"] = {"by": "me"}
    (folder / "events.json").write_text(json.dumps(events))


def other_delivery(folder: Path) -> None:
    """Other bytes of what was delivered, with a digest that fits them."""
    rows = json.loads((folder / "evidence.json").read_text())
    digest = payload_digest(bytes.fromhex(rows[1]["salt"]), b"{}").hex()
    (folder / rows[1]["file"]).write_bytes(b"{}")
    (folder / "evidence.json").write_text(json.dumps([rows[0], rows[1] | {"digest": digest}]))


def no_delivery(folder: Path) -> None:
    """Without what was delivered."""
    rows = json.loads((folder / "evidence.json").read_text())
    (folder / "evidence.json").write_text(json.dumps(rows[:1]))


def erased_delivery(folder: Path) -> None:
    """As if what was delivered had been erased."""
    rows = json.loads((folder / "evidence.json").read_text())
    gone = rows[1] | {"file": None, "salt": None}
    (folder / "evidence.json").write_text(json.dumps([rows[0], gone]))


FORGED = (
    without_salt, without_bytes, twice, other_detail, detail_of_none, other_delivery, no_delivery,
    erased_delivery,
)  # fmt: skip


@pytest.mark.parametrize("forge", FORGED)
def test_a_clever_forger_is_found_out_too(
    bench: Bench, ledger: Ledger, run: int, tmp_path: Path, forge: Callable[[Path], None]
) -> None:
    """Who knows how the bundle is checked, and mends what is not chained."""
    ledger.note(run, "a remark")
    ledger.bundle(run, tmp_path / "one.zip")
    folder = unpacked(tmp_path / "one.zip", tmp_path / "one")
    assert 0 == checked(folder)[0]
    forge(folder)
    mend(folder)
    code, said = checked(folder)

    assert (1, False, False) == (code, "packed" in said, "cannot be read" in said), said


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


def test_a_bundle_that_was_cut_short_is_not_left(
    ledger: Ledger, run: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would prove nothing, and keep the next one from its name."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ledger.service.bundle._Packer.finish", full)
        with pytest.raises(InvalidInput, match="No space left"):
            ledger.bundle(run, tmp_path / "one.zip")

    assert not (tmp_path / "one.zip").exists()
    assert run == ledger.bundle(run, tmp_path / "one.zip").run


@given(st.integers(1, 40), st.data())
def test_every_leaf_has_its_path(count: int, data: st.DataObject) -> None:
    """From any leaf of a tree of any size to its root."""
    leaves = [bytes([number]) * 32 for number in range(count)]
    index = data.draw(st.integers(0, count - 1))
    node = leaves[index]
    for side, other in audit_path(leaves, index):
        node = _node(node, other) if side == "right" else _node(other, node)

    assert MerkleTree(leaves).root() == node
