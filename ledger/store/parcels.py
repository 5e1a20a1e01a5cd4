"""One run out of an export: its lines read back into rows, and its chain checked, before anything
is written. Nothing here trusts the file."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from ledger.core.blanked import Blanked
from ledger.core.export_format import END, PARTS, RUN
from ledger.core.fingerprint import VERSION, id_of
from ledger.core.hashing import event_hash, genesis, payload_digest
from ledger.core.model import EventDraft, Fingerprint
from ledger.core.policy import DEADLINE_SECONDS_MAX, SETTLE_SECONDS_MAX, Policy, bounded
from ledger.core.request import judge_key, judge_provider, judge_tags
from ledger.core.witness import Witness
from ledger.errors import RunwardError
from ledger.store.exporting import ACCOUNT_FIELDS, FAILURE_FIELDS, LOCAL
from ledger.store.failures import FINGERPRINT
from ledger.store.rows import clean_json, clean_text, is_time
from ledger.store.tables import Table

TEXT_MAX: Final = 2_000
INTEGER_MAX: Final = 2**31 - 1
BIG_MAX: Final = 2**63 - 1
NUMBERS: Final = (int, float, type(None))
Row = dict[str, Any]
WRONG: Final = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
    RunwardError,
)  # fmt: skip
"""What values raise that no export of ours holds."""


class BadRun(Exception):
    """A run of a file that is not taken; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One run as a file has it: rows by table, without what is local to a database."""

    run: int
    """Its number where it was exported."""
    row: Row
    account: Row
    parts: Mapping[str, list[Row]]
    head: bytes

    @property
    def key(self) -> str:
        """The caller's name for it."""
        return str(self.row["key"])

    @property
    def moves(self) -> bool:
        """Whether it has no verdict yet, or an object upstream that is not settled."""
        unsettled = any(not remote["settled"] for remote in self.parts["remote"])
        return self.row["finished_at"] is None or unsettled


def read_parcel(lines: Sequence[Mapping[str, Any]]) -> Parcel:
    """The run that these lines tell of, from `run` to `end`. Raises BadRun."""
    try:
        parcel = _parcel(lines)
        _judge(parcel)
        _check_chain(parcel)
    except BadRun:
        raise
    except WRONG as error:
        why = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        raise BadRun(f"its lines cannot be read: {why}"[:300]) from None
    return parcel


def _parcel(lines: Sequence[Mapping[str, Any]]) -> Parcel:
    first, *middle, last = (dict(each) for each in lines)
    if first.pop("type") != RUN or last.pop("type") != END:
        raise BadRun("it is not whole")
    number = first.pop("run")
    account = first.pop("account")
    parts: dict[str, list[Row]] = {name: [] for name in PARTS}
    for fields in middle:
        kind = fields.pop("type")
        if fields.pop("run") != number or kind not in parts:
            raise BadRun("its lines are mixed with those of another")
        parts[kind].append(_part(kind, fields))
    row = read_row(RUN, first)
    head = bytes.fromhex(last["head"])
    if head != row["head_hash"] or last["events"] != row["event_seq"]:
        raise BadRun("its last line does not fit its first")
    return Parcel(run=number, row=row, account=_account(account), parts=parts, head=head)


def _part(kind: str, fields: Row) -> Row:
    extra: Row = {}
    if kind in ("payload", "evidence"):
        fields["body"] = _body(fields)
    if kind == "evidence":
        extra["seen"] = bool(fields.pop("seen"))
    if kind == "attempt":
        extra["failure"] = _failure(fields.pop("failure", None), fields.get("fingerprint"))
    if kind == "remote":
        extra["account"] = _account(fields.pop("account"))
    return read_row(kind, fields) | extra


def _body(fields: Row) -> bytes | None:
    text, encoded = fields.pop("text", None), fields.pop("base64", None)
    if text is not None:
        return bytes(text.encode())
    return None if encoded is None else base64.b64decode(encoded, validate=True)


def _failure(given: Any, named: Any) -> Row | None:
    """What an attempt's fingerprint is made of; None where the file does not say."""
    if given is None:
        return None
    if set(given) != set(FAILURE_FIELDS) or not isinstance(named, str):
        raise BadRun("a failure is not described as ours are")
    columns = FINGERPRINT.columns
    row: Row = {
        name: None if given[name] is None else _value(columns[name], given[name])
        for name in FAILURE_FIELDS
    }
    if any(isinstance(value, str) and len(value) > TEXT_MAX for value in row.values()):
        raise BadRun("a failure is described at too great length")
    # What other versions made cannot be made again here, and stays as it is.
    if named.startswith(VERSION + ":") and id_of(Fingerprint(id=named, **row)) != named:
        raise BadRun("a fingerprint does not follow from what it is said to be made of")
    return row


def _account(given: Any) -> Row:
    if set(given) != set(ACCOUNT_FIELDS):
        raise BadRun("its account is not described as ours are")
    for value in given.values():
        if not isinstance(value, str) or len(value) > TEXT_MAX or clean_text(value) != value:
            raise BadRun("its account holds what no account has")
    judge_provider(given["provider"])
    return dict(given)


def read_row(table: str, fields: Row) -> Row:
    """The columns of one row, each of its own type. Raises BadRun, or one of WRONG."""
    columns = Table.metadata.tables[table].columns
    left_out = LOCAL.get(table, {"run_id"})
    wanted = {column.name: column for column in columns if column.name not in left_out}
    if unknown := sorted(set(fields) - set(wanted)):
        raise BadRun(f"a line of type {table} has {unknown[0]!r:.60}, which this runward lacks")
    row = {name: fields.get(name) for name in wanted}
    for name, column in wanted.items():
        if row[name] is None:
            if not column.nullable:
                raise BadRun(f"a line of type {table} has no {name}")
        elif name != "body":
            row[name] = _value(column, row[name])
    return row


def _value(column: sa.Column[Any], value: Any) -> Any:
    kind = column.type
    if is_time(kind):
        return _time(value)
    if isinstance(kind, sa.LargeBinary):
        return bytes.fromhex(value)
    if isinstance(kind, sa.Enum):
        return kind.enum_class(value) if kind.enum_class else value
    if isinstance(kind, sa.Boolean | sa.Float | sa.Integer):
        return _number(column, value)
    if isinstance(kind, sa.JSON):
        if not isinstance(value, dict | list):
            raise BadRun(f"{column.name} is neither an object nor a list")
        return clean_json(value)
    if not isinstance(value, str) or clean_text(value) != value:
        raise BadRun(f"{column.name} is no text that a database keeps")
    return value


def _number(column: sa.Column[Any], value: Any) -> Any:
    kind = column.type
    if isinstance(kind, sa.Boolean):
        fits = isinstance(value, bool)
    elif isinstance(kind, sa.Float):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        most = BIG_MAX if isinstance(kind, sa.BigInteger) else INTEGER_MAX
        fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
    if not fits:
        raise BadRun(f"{column.name} is no such number: {str(value)[:40]}")
    return value


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise BadRun(f"{value!r:.40} has no offset")
    return time.astimezone(UTC)


def _judge(parcel: Parcel) -> None:
    """That the rows fit together as those of one run do."""
    row, parts = parcel.row, parcel.parts
    judge_key(row["key"])
    judge_provider(row["provider"])
    judge_tags(row["tags"])
    _judge_values(row)
    payloads, remotes = row["payload_seq"], len(parts["remote"])
    _in_order(parts["attempt"], "number", row["attempts"])
    _in_order(parts["event"], "seq", row["event_seq"])
    _in_order(parts["payload"], "n", payloads)
    _in_order(parts["remote"], "n", remotes)
    _in_order(parts["tool_call"], "n", len(parts["tool_call"]))
    _refers(parts["remote"], "attempt", row["attempts"])
    _refers(parts["tool_call"], "attempt", row["attempts"])
    _refers(parts["tool_call"], "remote", remotes)
    named = (("remote", "observed"), ("attempt", "last_error"), ("tool_call", "arguments"),
             ("tool_call", "output"))  # fmt: skip
    for part, name in named:
        _refers(parts[part], name, payloads)
    _refers([row], "result", payloads)
    mark = f"{row['origin_ledger']}:{row['origin_run']}:"
    if not all(remote["marker"].startswith(mark) for remote in parts["remote"]):
        raise BadRun("it has an object with the mark of another run")


def _judge_values(row: Row) -> None:
    """What is kept as JSON, and computed with later."""
    policy = Policy.from_json(row["policy"])
    bounded("deadline", policy.deadline_seconds, low=0.001, high=DEADLINE_SECONDS_MAX)
    bounded("settle_seconds", policy.settle_seconds, low=0.0, high=SETTLE_SECONDS_MAX)
    if not all(isinstance(value, NUMBERS) for value in _numbers(policy)):
        raise BadRun("its policy has a text where a number is due")
    if not all(isinstance(n, int) for n in row["call_counts"].values()):
        raise BadRun("its counts of calls are no numbers")
    if not isinstance(row["usage"] or {}, dict):
        raise BadRun("its usage is no object")


def _numbers(policy: Policy) -> list[object]:
    """The values of a policy that are numbers, or nothing."""
    return [
        policy.poll_seconds,
        policy.restart_delay_seconds,
        policy.restart_backoff,
        policy.restart_delay_max_seconds,
        policy.restart_max_tokens,
        policy.result_retention_seconds,
    ]


def _in_order(rows: Sequence[Row], name: str, count: int) -> None:
    if len(rows) != count or any(row[name] != i for i, row in enumerate(rows, 1)):
        raise BadRun(f"its rows are not numbered from 1 to {count} by {name}")


def _refers(rows: Sequence[Row], name: str, most: int) -> None:
    if any(row[name] is not None and not 1 <= row[name] <= most for row in rows):
        raise BadRun(f"{name} names a row that it does not have")


def _check_chain(parcel: Parcel) -> None:
    """Recompute every digest and hash. Raises BadRun, naming the first that does not fit."""
    row, digests = parcel.row, {}
    bodies: dict[int, bytes | None] = {}
    for payload in parcel.parts["payload"]:
        n, salt, body = payload["n"], payload["salt"], payload["body"]
        digests[n], bodies[n] = payload["digest"], body
        kept = salt is not None and body is not None
        if kept and payload_digest(salt, body) != payload["digest"]:
            raise BadRun(f"the bytes of payload {n} were changed")
        if not kept and (salt is not None or body is not None):
            raise BadRun(f"payload {n} is half erased")
    previous, state = genesis(row["origin_ledger"], row["origin_run"]), "queued"
    blanked, witness = Blanked(), Witness()
    for n, body in bodies.items():
        if body is None:
            blanked.add(n, n)
    for event in parcel.parts["event"]:
        previous = _next(event, row, digests, bodies, previous)
        blanked.event(event["kind"], event["payloads"] or ())
        witness.event(event["kind"], event["seq"], event["detail"])
        state = event["to_state"] or state
    if (lost := blanked.lost()) is not None:
        raise BadRun(f"the bytes of payload {lost} are gone, and no event destroyed them")
    _check_evidence(parcel, witness)
    if previous != parcel.head:
        raise BadRun("its head is not where its history ends")
    if row["state"] != state:
        raise BadRun("its state is not where its history ends")


def _check_evidence(parcel: Parcel, witness: Witness) -> None:
    for row in parcel.parts["evidence"]:
        wrong = witness.row(row["key"], row["salt"], row["digest"], row["body"])
        if wrong is not None:
            raise BadRun(wrong[1])
    if (missing := witness.missing()) is not None:
        raise BadRun(f"of event {missing[0]} {missing[1]}")


def _next(
    event: Row,
    run: Row,
    digests: Mapping[int, bytes],
    bodies: Mapping[int, bytes | None],
    previous: bytes,
) -> bytes:
    seq = event["seq"]
    pairs = [(role, n) for role, n in event["payloads"] or ()]
    if any(not isinstance(role, str) or n not in digests for role, n in pairs):
        raise BadRun(f"event {seq} names a payload that is missing")
    fields = {name: value for name, value in event.items() if name in HASHED}
    made = event_hash(
        EventDraft(**fields),
        ledger=run["origin_ledger"],
        run=run["origin_run"],
        seq=seq,
        digests=[(role, digests[n]) for role, n in pairs],
        previous=previous,
    )
    if event["prev_hash"] != previous or event["hash"] != made:
        raise BadRun(f"event {seq} was changed")
    event["detail"] = _detail(pairs, bodies)
    return made


def _detail(pairs: Sequence[tuple[str, int]], bodies: Mapping[int, bytes | None]) -> Any:
    """What the event shows, from the bytes that are hashed: the file's own copy is not believed."""
    body = next((bodies[n] for role, n in pairs if role == "detail"), None)
    try:
        return None if body is None else clean_json(json.loads(body))
    except (ValueError, RecursionError):
        raise BadRun("an event's detail is not JSON") from None


HASHED: Final = frozenset(
    {
        "kind", "from_state", "trigger", "to_state", "source", "actor", "recorded_at", "remote_at",
        "remote_at_source", "remote_status", "request_id", "error_code", "attempt", "remote",
    }
)  # fmt: skip
