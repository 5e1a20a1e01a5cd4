"""What a provider is handed: values only, so that the same intent gives the same request again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ledger.core.alphabet import RemoteKind
from ledger.core.record import record


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The recorded output of one call, as it will be sent."""

    call_id: str
    body: bytes


@record
class Address:
    """Where one upstream object is, or would be."""

    n: int
    kind: RemoteKind
    marker: str
    parent_id: str = ""
    remote_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One create. `request` is the caller's request; `with_messages` says whether its messages
    still have to be sent (a restart never sends them again)."""

    address: Address
    request: Mapping[str, Any]
    previous_id: str | None = None
    outputs: tuple[Output, ...] = ()
    with_messages: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountProfile:
    """What a profile resolves to, with the name of the variable that holds the credential.

    Never a secret: the credential is read from the environment when the client is built.
    """

    provider: str
    base_url: str
    key_variable: str = "OPENAI_API_KEY"
    project: str | None = None
    organization: str | None = None
