"""What goes wrong on the other side. None of these leaves the reconciler: each is an outcome."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ledger.errors.ours import RunwardError


class Sent(StrEnum):
    """What a failed call says about the effect it was meant to have."""

    not_sent = "not_sent"
    refused = "refused"
    unknown = "unknown"


class Pause(StrEnum):
    """What a failed call does to the account it was made under."""

    none = "none"
    briefly = "briefly"
    stopped = "stopped"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reply's headers said: requests a minute, how many of them are left, and seconds until
    all of them are there again."""

    limit: float | None = None
    remaining: float | None = None
    reset_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is known of the HTTP exchange behind an upstream error, already redacted."""

    status: int | None = None
    error_code: str | None = None
    request_id: str | None = None
    retry_after_seconds: float | None = None
    body: bytes | None = None
    limits: Limits | None = None


class UpstreamError(RunwardError):
    """A call to a provider failed. The class attributes say what follows from it."""

    sent: Sent = Sent.unknown
    pause: Pause = Pause.none
    run_effect = ""
    account_effect = "none"
    remedy = ""

    def __init__(self, message: str | None = None, *, reply: Reply | None = None) -> None:
        super().__init__(message)
        self.reply = reply or Reply()


class NotSent(UpstreamError):
    """The request did not leave this machine."""

    sent = Sent.not_sent
    run_effect = "keeps its state; the same request is sent again, not counted as a create"


class ConnectionFailed(NotSent):
    """No connection could be made."""

    pause = Pause.briefly
    account_effect = "after five in a row calls pause for seconds, with backoff"
    remedy = "check the base URL and the network: `runward doctor`"


class LocalLimit(NotSent):
    """Our own connection pool was full."""

    account_effect = "after five in a row calls pause for seconds, with backoff"
    pause = Pause.briefly
    remedy = "lower `--concurrency`"


class Refused(UpstreamError):
    """Upstream refused; nothing was created."""

    sent = Sent.refused


class RequestRefused(Refused):
    """Upstream refused the request itself."""

    run_effect = (
        "a create: the attempt fails with upstream's code and body as `last_error`; "
        "a cancel or a submit: the object is read again"
    )
    remedy = "read `runward show RUN`, mend the request, submit it under another key"


class AuthenticationRefused(Refused):
    """Upstream does not accept the credential."""

    pause = Pause.stopped
    run_effect = "keeps its state and waits (`blocked: credentials`)"
    account_effect = "stopped; one probe a minute"
    remedy = "set a valid key and restart the daemon"


class PermissionRefused(Refused):
    """The credential may not do this."""

    pause = Pause.stopped
    run_effect = "keeps its state and waits (`blocked: credentials`)"
    account_effect = "stopped; one probe a minute"
    remedy = "give the key the permission that upstream names, or use another project's key"


class ObjectMissing(Refused):
    """Upstream does not know the object."""

    run_effect = (
        "a create: the attempt fails; a read: it is repeated, then the attempt fails with "
        "`remote_deleted`, `remote_past_retention`, or `remote_never_confirmed` for a foreign id"
    )
    remedy = "`runward events RUN` has when it was last seen"


class ObjectHidden(Refused):
    """Upstream does not show the object to this credential."""

    run_effect = "keeps its state and waits until its deadline (`blocked: objects_hidden`)"
    remedy = "set the key that the object was made with, or another of the same project"


class ServiceGone(Refused):
    """The endpoint does not exist at this base URL."""

    pause = Pause.stopped
    exit_code = 4
    run_effect = "keeps its state and waits (`blocked: service_gone`)"
    account_effect = "stopped; one probe a minute"
    remedy = (
        "OpenAI shut its Assistants endpoints down on 2026-08-26: use `--provider responses`, "
        "or set the base URL of a server that still speaks the protocol"
    )


class UpstreamConflict(Refused):
    """Upstream reports a conflict with another request."""

    run_effect = "a create: the attempt fails; a cancel or a submit: the object is read again"
    remedy = "read `runward events RUN`; submit under another key if it has to be repeated"


class ThreadBusy(Refused):
    """Another run holds the thread."""

    run_effect = "stays queued and is tried again until its deadline"
    remedy = "wait, or cancel the run that holds the thread"


class RateLimited(Refused):
    """Upstream asks for fewer requests."""

    pause = Pause.briefly
    run_effect = "keeps its state; the same request is sent again after Retry-After"
    account_effect = "all calls of the credential pause until Retry-After, then fewer go out"
    remedy = "none needed; lower `--concurrency` if it goes on"


class QuotaExhausted(Refused):
    """The account has no quota left."""

    pause = Pause.stopped
    run_effect = "keeps its state and waits (`blocked: insufficient_quota`)"
    account_effect = "stopped; one probe a minute"
    remedy = "add credit or raise the limit with the provider"


class Unclear(UpstreamError):
    """The call may or may not have had its effect."""

    sent = Sent.unknown
    run_effect = (
        "a create: the remote becomes `unknown` and is resolved by listing, by an adopted id or "
        "by `on_unknown`, never sent again blindly; anything else: the object is read again"
    )


class ServerTrouble(Unclear):
    """Upstream had an internal error."""

    pause = Pause.briefly
    account_effect = "after five in a row calls pause for seconds, with backoff"
    remedy = "none needed; the request id in the event is what support asks for"


class ReplyTimeout(Unclear):
    """No reply came in time."""

    remedy = "none needed"


class ReplyLost(Unclear):
    """The connection broke before the reply was complete."""

    remedy = "none needed"


class MalformedReply(Unclear):
    """The reply is not what the protocol says."""

    remedy = "check that the base URL is an API and not a web page: `runward doctor`"


def leaves(root: type[UpstreamError] = UpstreamError) -> list[type[UpstreamError]]:
    """Every concrete upstream error, in the order of the tree above."""
    below = root.__subclasses__()
    return [leaf for child in below for leaf in leaves(child)] if below else [root]
