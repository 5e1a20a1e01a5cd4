"""Every error that runward raises, as one tree. Branches group by what the caller can do.

RunwardError                    exit  what to do
├── InvalidInput                   2  mend the input; nothing was written
│   └── SecretInRequest            2  replace the literal secret by {"$secret": "env:NAME"}
├── NotFound                       3  look the run up: `runward list`
├── ConfigurationError             4  mend the configuration, then repeat the command
│   └── MissingCredential          4  set the variable that the text names
├── RunFailed                      5  the run ended, but not `completed`
│   └── RunLost                    5  upstream no longer has the object
├── WaitTimeout                    6  the run goes on; wait again
├── DatabaseError                  1  see the text
│   ├── SchemaMismatch             7  `runward db upgrade`, or a newer runward
│   ├── UnsupportedDatabase        7  another place for the file, or another database
│   └── BadRecord                  1  one record could not be stored; the others were
├── StillPending                   8  the run has no verdict yet; wait for it
├── CheckFailed                    9  `verify` or `doctor` found what it names
├── Conflict                       1  the key is taken by another request
├── NotAllowed                     1  the run's state does not permit this
├── LeaseLost                      1  another life owns the run now
├── ForkedLedger                   1  open a new Ledger in the child
└── UpstreamError                  -  becomes an outcome; never leaves the reconciler
    ├── NotSent                       the request did not leave: send it again
    │   ├── ConnectionFailed
    │   └── LocalLimit
    ├── Refused                       upstream said no: nothing was created
    │   ├── RequestRefused            400, 413, 422 and other 4xx
    │   ├── AuthenticationRefused     401
    │   ├── PermissionRefused         403
    │   ├── ObjectMissing             404 on one object
    │   ├── ObjectHidden              404 under a credential that may not see the object
    │   ├── ServiceGone               404 on a whole collection
    │   ├── UpstreamConflict          409
    │   ├── ThreadBusy                400 while another run holds the thread
    │   ├── RateLimited               429
    │   └── QuotaExhausted            429 insufficient_quota
    └── Unclear                       it may or may not have happened
        ├── ServerTrouble             408, 5xx
        ├── ReplyTimeout
        ├── ReplyLost                 the connection broke after sending
        └── MalformedReply            a success that cannot be read
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


class RunwardError(Exception):
    """Something went wrong; the docstring is the message when none is given."""

    exit_code = 1

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        super().__init__(self.message if hint is None else f"{self.message}\n{hint}")


class InvalidInput(RunwardError):
    """The input cannot be used."""

    exit_code = 2


class SecretInRequest(InvalidInput):
    """The request holds a literal secret."""


class NotFound(RunwardError):
    """There is no such run."""

    exit_code = 3


class ConfigurationError(RunwardError):
    """The configuration cannot be used."""

    exit_code = 4


class MissingCredential(ConfigurationError):
    """No credential is configured."""


class RunFailed(RunwardError):
    """The run ended without completing."""

    exit_code = 5


class RunLost(RunFailed):
    """Upstream no longer has the object."""


class WaitTimeout(RunwardError):
    """The wait ended before the run did; the run goes on."""

    exit_code = 6


class DatabaseError(RunwardError):
    """The database refused."""


class SchemaMismatch(DatabaseError):
    """The database's schema is not the one that this program knows."""

    exit_code = 7


class UnsupportedDatabase(DatabaseError):
    """This database cannot keep a ledger."""

    exit_code = 7


class BadRecord(DatabaseError):
    """One record could not be stored."""


class StillPending(RunwardError):
    """The run has no verdict yet."""

    exit_code = 8


class CheckFailed(RunwardError):
    """A check found problems."""

    exit_code = 9


class Conflict(RunwardError):
    """The key is taken by another request."""


class NotAllowed(RunwardError):
    """The run's state does not permit this."""


class LeaseLost(RunwardError):
    """Another life owns the run now."""


class ForkedLedger(RunwardError):
    """This Ledger was opened before a fork."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is known of the HTTP exchange behind an upstream error, already redacted."""

    status: int | None = None
    error_code: str | None = None
    request_id: str | None = None
    retry_after_seconds: float | None = None
    body: bytes | None = None


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
    account_effect = "calls pause for seconds, with backoff"
    remedy = "check the base URL and the network: `runward doctor`"


class LocalLimit(NotSent):
    """Our own connection pool was full."""

    account_effect = "calls pause for seconds, with backoff"
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
    account_effect = "all calls pause until Retry-After, else with backoff"
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
    account_effect = "calls pause for seconds, with backoff"
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
