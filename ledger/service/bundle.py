"""One run in a zip that a stranger can check: everything about it, and the program that checks."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from ledger.core.export_format import END, RUN
from ledger.errors import InvalidInput
from ledger.service import bundle_check
from ledger.service.views import run_whole
from ledger.store.exporting import groups, page
from ledger.store.proving import seal_proof
from ledger.store.queries import one, payloads_of

if TYPE_CHECKING:
    from ledger.store.store import Store

LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)
"""One time for all files: the same run gives the same bytes."""
ENDINGS: Final = {"application/json": "json", "text/plain": "txt"}
README: Final = """\
This is one run of a runward ledger, with the proof that nobody has changed its history.

  run.json        the run in full, for reading
  events.json     its history; each event names the payloads it is about, and carries its hash
  payloads.json   the payloads: digest, salt, and the file with the bytes (null: erased)
  payloads/       the bytes, exactly as they were sent and received
  evidence.json   what reached the ledger unasked, such as webhook deliveries
  evidence/       the bytes of that
  proof.json      the head of the history, and the way from it to the ledger's seal
  SHA256SUMS      the digests of all these files
  verify.py       checks all of it:   python -I verify.py

verify.py needs Python and nothing else, and opens no connection. Read it before you run it.

What it proves: the events are those that were chained, in their order, and the payloads are those
that the events speak of; and the chain was under the seal when the seal was made. That the seal is
the ledger's own is shown by an anchor that was kept elsewhere (runward anchor): compare the hashes.
Evidence of a webhook delivery is proven by the event that tells of it (notified), which names its
digest; other evidence is held against its own digest alone, which nothing proves. run.json is a
summary for reading: what counts is events.json, payloads/ and what the events name.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """What was packed. `sealed` is the number of events that a seal covers."""

    path: str
    run: int
    events: int
    sealed: int


def write_bundle(store: Store, run_id: int, path: Path) -> Bundled:
    """Pack a run. Raises NotFound, and InvalidInput where the file cannot be written."""
    try:
        with path.open("xb") as handle:
            return _whole(store, run_id, path, handle)
    except FileExistsError:
        raise InvalidInput(f"{path} is there already", hint="name another file") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"{path} cannot be written: {why}") from None


def _whole(store: Store, run_id: int, path: Path, handle: IO[bytes]) -> Bundled:
    """The whole zip, or none: what was cut short proves nothing and is in the way."""
    try:
        with zipfile.ZipFile(handle, "w") as archive:
            done = _pack(store, run_id, _Packer(archive), str(path))
        handle.flush()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return done


class _Packer:
    """Adds files one by one, and remembers their digests."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._sums: dict[str, str] = {}

    def add(self, name: str, body: bytes) -> str:
        """One file; returns its name."""
        info = zipfile.ZipInfo(name, LONG_AGO)
        info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
        info.external_attr = 0o644 << 16
        self._archive.writestr(info, body)
        self._sums[name] = hashlib.sha256(body).hexdigest()
        return name

    def add_json(self, name: str, value: object) -> None:
        """One value as a file."""
        text = json.dumps(value, indent=1, sort_keys=True)
        self.add(name, f"{text}\n".encode())

    def finish(self) -> None:
        """The list of digests, last."""
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self._sums.items()))
        self.add("SHA256SUMS", lines.encode())


def _pack(store: Store, run_id: int, packer: _Packer, path: str) -> Bundled:
    with page(store) as connection:
        facts = one(connection, run_id)
        seal = seal_proof(connection, run_id)
        numbers = list(range(1, facts.run.payload_seq + 1))
        whole = run_whole(facts, payloads_of(connection, run_id, numbers))
        (group,) = groups(connection, [run_id])
        parts = _parts(group.lines, packer)
    run = facts.run
    packer.add("README.txt", README.encode())
    packer.add_json("run.json", whole)
    for name, rows in parts.items():
        packer.add_json(f"{name}.json", rows)
    proof = {
        "format": "runward-bundle",
        "version": 1,
        "ledger": store.ledger_id,
        "run": run_id,
        "origin_ledger": run.origin_ledger,
        "origin_run": run.origin_run,
        "head": run.head_hash.hex(),
        "seal": seal,
    }
    packer.add_json("proof.json", proof)
    packer.add("verify.py", Path(bundle_check.__file__).read_bytes())
    packer.finish()
    sealed = seal["seq"] if seal else 0
    return Bundled(path=path, run=run_id, events=run.event_seq, sealed=sealed)


def _parts(lines: Iterator[bytes], packer: _Packer) -> dict[str, list[dict[str, Any]]]:
    """The rows of the run by kind, their bytes packed as files."""
    parts: dict[str, list[dict[str, Any]]] = {"events": [], "payloads": [], "evidence": []}
    for text in lines:
        row = json.loads(text)
        kind = row.pop("type")
        row.pop("run")
        if kind == "event":
            parts["events"].append(row)
        elif kind in ("payload", "evidence"):
            name = "payloads" if kind == "payload" else kind
            number = row.get("n", len(parts[name]) + 1)
            ending = ENDINGS.get(row.get("media", ""), "bin")
            row["n"] = number
            row["file"] = _bytes(row, f"{name}/{number:04d}.{ending}", packer)
            parts[name].append(row)
        else:
            assert kind in (RUN, END, "attempt", "remote", "tool_call")
    return parts


def _bytes(row: dict[str, Any], name: str, packer: _Packer) -> str | None:
    text, encoded = row.pop("text", None), row.pop("base64", None)
    if text is None and encoded is None:
        return None
    return packer.add(name, text.encode() if text is not None else base64.b64decode(encoded))
