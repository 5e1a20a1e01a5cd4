"""The shapes of requests and answers, for the OpenAPI document. Additions only.

Requests are judged by these first, then by the same functions as those of the command line.
Answers are written as they are: a test holds them against these.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ledger.core.alphabet import (
    Approval,
    Attention,
    CallState,
    Effects,
    ErrorOrigin,
    EventKind,
    RemoteKind,
    RemoteState,
    Source,
    State,
    Trigger,
)
from ledger.core.decide.operator import TEXT_MAX
from ledger.core.request import (
    ID_CHARS_MAX,
    KEY_CHARS_MAX,
    NAME_CHARS_MAX,
    TAG_VALUE_MAX,
    TAGS_MAX,
)
from ledger.service.tools import OUTPUT_BYTES_MAX

NUMBER_MAX: Final = 2**63 - 1
WORD_MAX: Final = 64
RULES_MAX: Final = 2_000

RunPath = Annotated[
    str,
    Path(
        min_length=1,
        max_length=ID_CHARS_MAX,
        description="A run's number, its key or an upstream id. `#17` (written `%2317`) is a "
        "number and `key:17` a key, where 17 could be either; a key with a slash in it is found "
        'by GET /runs?q=key:"…".',
    ),
]
CallPath = Annotated[
    str, Path(min_length=1, max_length=ID_CHARS_MAX, description="A call's id, or its number.")
]
Word = Annotated[str, StringConstraints(min_length=1, max_length=WORD_MAX)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_MAX)]
Duration = Annotated[float, Field(ge=0, allow_inf_nan=False)] | Word
"""Seconds, or a text such as `90s`, `15m`, `2h`, `1d`."""


class Request(BaseModel):
    """A body that a caller sends: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid")


class NewRun(Request):
    """One run: how the ledger treats it, and besides, any fields of the provider's own request
    (`model`, `input`, `instructions`, `tools`; for thread runs `assistant`, `thread`, …)."""

    model_config = ConfigDict(extra="allow")

    key: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=KEY_CHARS_MAX)] | None,
        Field(description="Your name for the run, unique for ever. Made up when absent."),
    ] = None
    provider: Annotated[Word, Field(description="`responses` or `assistants`.")] = "responses"
    profile: Annotated[str, StringConstraints(max_length=NAME_CHARS_MAX)] | None = None
    kind: Annotated[str, StringConstraints(max_length=NAME_CHARS_MAX)] | None = None
    tags: (
        Annotated[
            dict[
                Annotated[str, StringConstraints(max_length=WORD_MAX)],
                Annotated[str, StringConstraints(max_length=TAG_VALUE_MAX)],
            ],
            Field(max_length=TAGS_MAX),
        ]
        | None
    ) = None
    deadline: Duration | None = None
    restart: Annotated[str, StringConstraints(max_length=RULES_MAX)] | None = None
    restart_delay: Duration | None = None
    restart_delay_max: Duration | None = None
    restart_backoff: Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)] | None = None
    restart_max_tokens: Annotated[int, Field(ge=1, le=10**12)] | None = None
    effects: Word | None = None
    on_unknown: Word | None = None
    on_unknown_outcome: Word | None = None
    late_approval: Word | None = None
    forget_request: bool | None = None
    settle_seconds: Annotated[float, Field(ge=0, le=3_600, allow_inf_nan=False)] | None = None
    poll_seconds: Annotated[float, Field(ge=0.01, le=3_600, allow_inf_nan=False)] | None = None


class Why(Request):
    """Why something is done; kept in the history."""

    reason: Reason | None = None


class NewAttempt(Why):
    """How a run is restarted."""

    effects: Annotated[
        Effects | None,
        Field(description="Tools that had started: hold, reuse or rerun; else as submitted."),
    ] = None


class Denial(Request):
    """Why a call may not run: the model is told."""

    reason: Reason


class Output(Request):
    """What a tool call gave, by hand."""

    output: Annotated[str, StringConstraints(max_length=OUTPUT_BYTES_MAX)]
    is_error: bool = False


class ErrorText(BaseModel):
    """What, why, and what to do."""

    code: str
    message: str
    hint: str | None


class Problem(BaseModel):
    """Every answer that is no success."""

    error: ErrorText


class Run(BaseModel):
    """One run in a line."""

    id: int
    key: str
    status: State
    provider: str
    model: str | None
    kind: str | None
    tags: dict[str, str]
    attempts: int
    needs_attention: Attention | None
    error_code: str | None
    error_origin: ErrorOrigin | None
    error_message: str | None
    usage: Any
    calls: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    deadline_at: str
    cancel_requested_at: str | None


class Runs(BaseModel):
    """One page of runs, the newest first; `next_before` continues it."""

    runs: list[Run]
    next_before: int | None


class Attempt(BaseModel):
    """One try at a run."""

    number: int
    cause: str
    outcome: State | None
    opened_at: str
    ended_at: str | None
    error_code: str | None
    error_message: str | None
    last_error: Any
    last_error_bytes: str | None
    usage: Any


class Remote(BaseModel):
    """One upstream object."""

    n: int
    attempt: int
    kind: RemoteKind
    remote_id: str | None
    parent_id: str | None
    marker: str
    state: RemoteState
    settled: bool
    observed_status: str | None
    observed_at: str | None
    sent_at: str | None
    expires_at: str | None
    request_id: str | None
    usage: Any


class Call(BaseModel):
    """One tool call."""

    n: int
    attempt: int
    call_id: str
    tool: str
    key: str
    state: CallState
    held: bool
    idempotent: bool | None
    transactional: bool | None
    reruns: int
    approval: Approval | None
    approval_actor: str | None
    approval_reason: str | None
    approval_at: str | None
    arguments: str | None
    output: str | None
    is_error: bool
    requested_at: str
    started_at: str | None
    finished_at: str | None
    submitted_at: str | None
    confirmed_at: str | None


class Owner(BaseModel):
    """The life that holds a run."""

    life: str
    role: str
    host: str
    pid: int
    fence: int
    alive: bool
    heartbeat_at: str


class Next(BaseModel):
    """What happens next with a run."""

    step: str
    at: str | None
    why: str
    waiting_for: str | None
    since: str | None
    until: str | None
    owner: Owner | None


class WholeRun(Run):
    """Everything about one run. `upstream` has every field of a run that upstream names."""

    policy: dict[str, Any]
    call_counts: dict[str, int]
    upstream: dict[str, Any]
    request: Any
    output_text: str | None
    result: Any
    attempts_detail: list[Attempt]
    remotes: list[Remote]
    tool_calls: list[Call]
    owner: str | None
    version: int
    events: int
    head_hash: str
    next: Next


class Event(BaseModel):
    """One fact of a run's history."""

    model_config = ConfigDict(populate_by_name=True)

    run_id: int
    seq: int
    kind: EventKind
    from_: Annotated[State | None, Field(alias="from")]
    trigger: Trigger | None
    to: State | None
    source: Source
    actor: str
    recorded_at: str
    remote_at: str | None
    remote_status: str | None
    request_id: str | None
    error_code: str | None
    attempt: int
    remote: int | None
    detail: Any
    hash: str


class Events(BaseModel):
    """One page of a run's history in order; `next_after` continues it."""

    events: list[Event]
    next_after: int | None


class Health(BaseModel):
    """The process and its loop are alive."""

    alive: Literal[True]


class Readiness(BaseModel):
    """Whether requests and runs are served, and what says so: each check is ok or not."""

    ready: bool
    checks: dict[str, bool]
