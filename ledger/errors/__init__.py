"""Every error that runward raises, as one tree. Branches group by what the caller can do.

RunwardError                    exit  what to do
├── InvalidInput                   2  mend the input; nothing was written
│   ├── SecretInRequest            2  replace the literal secret by {"$secret": "env:NAME"}
│   └── DeliveryRefused            2  not signed with a secret of ours, not now, or not an event
├── NotFound                       3  look the run up: `runward list`
├── ConfigurationError             4  mend the configuration, then repeat the command
│   ├── MissingCredential          4  set the variable that the text names
│   └── QueueRefused               4  mend the queue's URL, its permissions or the credentials
├── QueueAway                      1  wait; messages stay on the queue
├── RunFailed                      5  the run ended, but not `completed`
│   └── RunLost                    5  upstream no longer has the object
├── WaitTimeout                    6  the run goes on; wait again
├── DatabaseError                  1  see the text
│   ├── SchemaMismatch             7  `runward db upgrade`, or a newer runward
│   ├── UnsupportedDatabase        7  another place for the file, or another database
│   └── BadRecord                  1  one record could not be stored; the others were
├── StillPending                   8  the run has no verdict yet; wait for it
├── CheckFailed                    9  `verify`, `doctor` or `import` found it
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

from ledger.errors.ours import (
    BadRecord,
    CheckFailed,
    ConfigurationError,
    Conflict,
    DatabaseError,
    DeliveryRefused,
    ForkedLedger,
    InvalidInput,
    LeaseLost,
    MissingCredential,
    NotAllowed,
    NotFound,
    QueueAway,
    QueueRefused,
    RunFailed,
    RunLost,
    RunwardError,
    SchemaMismatch,
    SecretInRequest,
    StillPending,
    UnsupportedDatabase,
    WaitTimeout,
)
from ledger.errors.upstream import (
    AuthenticationRefused,
    ConnectionFailed,
    Limits,
    LocalLimit,
    MalformedReply,
    NotSent,
    ObjectHidden,
    ObjectMissing,
    Pause,
    PermissionRefused,
    QuotaExhausted,
    RateLimited,
    Refused,
    Reply,
    ReplyLost,
    ReplyTimeout,
    RequestRefused,
    Sent,
    ServerTrouble,
    ServiceGone,
    ThreadBusy,
    Unclear,
    UpstreamConflict,
    UpstreamError,
    leaves,
)

__all__ = [
    "AuthenticationRefused",
    "BadRecord",
    "CheckFailed",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "DatabaseError",
    "DeliveryRefused",
    "ForkedLedger",
    "InvalidInput",
    "LeaseLost",
    "Limits",
    "LocalLimit",
    "MalformedReply",
    "MissingCredential",
    "NotAllowed",
    "NotFound",
    "NotSent",
    "ObjectHidden",
    "ObjectMissing",
    "Pause",
    "PermissionRefused",
    "QueueAway",
    "QueueRefused",
    "QuotaExhausted",
    "RateLimited",
    "Refused",
    "Reply",
    "ReplyLost",
    "ReplyTimeout",
    "RequestRefused",
    "RunFailed",
    "RunLost",
    "RunwardError",
    "SchemaMismatch",
    "SecretInRequest",
    "Sent",
    "ServerTrouble",
    "ServiceGone",
    "StillPending",
    "ThreadBusy",
    "Unclear",
    "UnsupportedDatabase",
    "UpstreamConflict",
    "UpstreamError",
    "WaitTimeout",
    "leaves",
]
