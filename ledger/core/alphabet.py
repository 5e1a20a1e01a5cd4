"""The closed vocabularies. A new member must be handled at every branch that mypy can see."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The ledger's verdict on a run, so far or for good.

    Each member's comment says who moves a run in, and what a crash there means.
    """

    queued = "queued"
    """Accepted, or taken by upstream and not begun. A crash: the create is settled, not resent."""
    in_progress = "in_progress"
    """Upstream works on it. A crash costs nothing: the next life reads the object again."""
    requires_action = "requires_action"
    """The model waits for tool outputs. A crash: recorded outputs are sent, others held or run."""
    cancelling = "cancelling"
    """A cancel was sent and has not taken effect. Any final state may still win."""
    completed = "completed"
    """Upstream finished; the result is stored."""
    incomplete = "incomplete"
    """Upstream stopped early, at a limit; what there is of a result is stored."""
    failed = "failed"
    """Upstream, the transport, a tool or the ledger failed it; `error_origin` says which."""
    expired = "expired"
    """Its time ran out: upstream's `expires_at`, or the run's own deadline."""
    cancelled = "cancelled"
    """It was called off, before or after it was sent."""


class Trigger(StrEnum):
    """What moves a run from one state to another."""

    start = "start"
    requeue = "requeue"
    require_action = "require_action"
    begin_cancel = "begin_cancel"
    complete = "complete"
    cut_short = "cut_short"
    fail = "fail"
    expire = "expire"
    confirm_cancel = "confirm_cancel"
    restart = "restart"


class RemoteKind(StrEnum):
    """What sort of upstream object a remote is."""

    thread = "thread"
    message = "message"
    thread_run = "thread_run"
    response = "response"
    agent_turn = "agent_turn"


class RemoteState(StrEnum):
    """What the ledger knows of an upstream object's existence."""

    intended = "intended"
    sending = "sending"
    confirmed = "confirmed"
    unknown = "unknown"
    absent = "absent"
    lost = "lost"


class CallState(StrEnum):
    """How far a tool call has come."""

    requested = "requested"
    started = "started"
    finished = "finished"
    submitted = "submitted"
    confirmed = "confirmed"


class Source(StrEnum):
    """How a fact reached the ledger."""

    poll = "poll"
    webhook = "webhook"
    create = "create"
    submit = "submit"
    operator = "operator"
    policy = "policy"
    recovery = "recovery"


class ErrorOrigin(StrEnum):
    """Where an error arose."""

    remote = "remote"
    transport = "transport"
    tool = "tool"
    ledger = "ledger"


class Effects(StrEnum):
    """What a restart may do with tools that the ended attempt had started."""

    hold = "hold"
    reuse = "reuse"
    rerun = "rerun"


class OnUnknownOutcome(StrEnum):
    """What becomes of a tool call that a dead life had started, and nobody knows how it ended."""

    hold = "hold"
    error_output = "error_output"
    rerun = "rerun"


class Approval(StrEnum):
    """Where a call stands that a person has to approve before it may run."""

    required = "required"
    approved = "approved"
    denied = "denied"


class LateApproval(StrEnum):
    """What an answer is worth that comes after its call's attempt is over."""

    refuse = "refuse"
    attach = "attach"


class EventKind(StrEnum):
    """One kind of fact in a run's history; the comment says what it records."""

    accepted = "accepted"  # the caller's request, before anything was sent
    adopted = "adopted"  # an upstream object made elsewhere is now ours to watch
    create_sending = "create_sending"  # the intent, committed before the POST
    create_not_sent = "create_not_sent"  # the POST never left
    create_refused = "create_refused"  # upstream said no
    create_unknown = "create_unknown"  # the POST's fate is not known
    create_confirmed = "create_confirmed"  # upstream's id is known
    create_absent = "create_absent"  # proof that the POST made nothing
    create_authorised = "create_authorised"  # a further create, and who allowed it
    observed = "observed"  # upstream's words, with or without a change of state
    notified = "notified"  # a webhook delivery said that there may be something to see
    looked = "looked"  # how often we looked since the last event, without news
    trouble = "trouble"  # the first failed look of a streak
    doubted = "doubted"  # completed with nothing to show: read again before it counts
    result_stored = "result_stored"  # the final output was fetched
    tool_requested = "tool_requested"
    tool_started = "tool_started"
    tool_not_started = "tool_not_started"  # started by the record, and its function never called
    tool_finished = "tool_finished"
    tool_held = "tool_held"  # a call nobody may run by itself
    tool_rerun = "tool_rerun"  # a call of unknown outcome may run again, and who allowed it
    approval_required = "approval_required"  # a call that waits for a person's word
    approval_lapsing = "approval_lapsing"  # it still waits, and there is little time left
    approval_late = "approval_late"  # a word that came when nothing waited for it any more
    tool_approved = "tool_approved"
    tool_denied = "tool_denied"
    outputs_sending = "outputs_sending"
    outputs_submitted = "outputs_submitted"
    outputs_unclear = "outputs_unclear"
    outputs_confirmed = "outputs_confirmed"
    cancel_requested = "cancel_requested"
    cancel_sent = "cancel_sent"
    ended = "ended"  # the ledger's own verdict: deadline, cancel before send, unknown create
    held = "held"  # a restart that policy allows, and its effects or its tokens forbid
    restarted = "restarted"
    attention = "attention"
    contradiction = "contradiction"  # upstream contradicts a frozen verdict
    settled = "settled"  # a remote is over, or given up as unresolved
    resolved = "resolved"  # a person looked at what the run was flagged for
    set_aside = "set_aside"  # too many lives died while they drove it
    released = "released"  # a person lets lives drive it again
    noted = "noted"
    tagged = "tagged"  # a person set or removed tags


class Attention(StrEnum):
    """Why a person should look at a run."""

    unknown_create = "unknown_create"
    unknown_status = "unknown_status"
    unknown_outcome = "unknown_outcome"
    tool_unhandled = "tool_unhandled"
    approval_needed = "approval_needed"
    approval_lapsing = "approval_lapsing"
    restart_has_effects = "restart_has_effects"
    restart_over_tokens = "restart_over_tokens"
    contradiction = "contradiction"
    result_expiring = "result_expiring"
    result_unreadable = "result_unreadable"
    remote_missing = "remote_missing"
    cancel_unconfirmed = "cancel_unconfirmed"
    tail_unsettled = "tail_unsettled"
    blocked_credentials = "blocked: credentials"
    blocked_quota = "blocked: insufficient_quota"
    blocked_service = "blocked: service_gone"
    blocked_hidden = "blocked: objects_hidden"
    poison = "poison"
    unstorable = "unstorable"


class DeliveryState(StrEnum):
    """What a webhook delivery turned out to be about."""

    matched = "matched"  # a run of this ledger
    parked = "parked"  # an id that nobody knows yet
    adopted = "adopted"  # an unknown id whose object carries our marker
    foreign = "foreign"  # somebody else's object, or a kind of event that no run has


class Receipt(StrEnum):
    """What became of one request to the receiver, and of one end that webhooks should tell of."""

    accepted = "accepted"
    duplicate = "duplicate"
    forged = "forged"  # no secret of ours made the signature
    stale = "stale"  # signed with a secret of ours, but not now: a replay, or a clock that is wrong
    malformed = "malformed"
    too_large = "too_large"
    told = "told"  # an object ended, and a delivery said so in time
    missed = "missed"  # an object ended, and none did


class OutboxState(StrEnum):
    """Where a notification of ours stands."""

    waiting = "waiting"
    taken = "taken"
    given_up = "given_up"


class Role(StrEnum):
    """What a token's bearer may do; each role may also do what those before it may."""

    viewer = "viewer"
    operator = "operator"
    admin = "admin"


class PacePolicy(StrEnum):
    """How a profile's runs are watched."""

    learned = "learned"  # by what is known of the run's class; the backoff until something is
    backoff = "backoff"
    fixed = "fixed"
