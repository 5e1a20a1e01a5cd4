"""Requests at the edge: everything that can be checked without the database, before it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import fields
from typing import Any

from ledger.core.accept import Adoption, NewRun
from ledger.core.alphabet import RemoteKind
from ledger.core.decide.past import judge_past
from ledger.core.hashing import canonical_json, request_check
from ledger.core.intent import AccountProfile
from ledger.core.outcome import Observation
from ledger.core.policy import Policy, PolicyInput, judge_policy, parse_duration, parse_restart
from ledger.core.request import (
    ID_CHARS_MAX,
    KEY_CHARS_MAX,
    assistant_of,
    judge_id,
    judge_key,
    judge_name,
    judge_provider,
    judge_request,
    judge_tags,
)
from ledger.credentials import secret_of
from ledger.entropy import new_id
from ledger.errors import InvalidInput, MissingCredential
from ledger.service.accounts import Credential, account_profile, resolve
from ledger.service.tools import Tool
from ledger.settings import Settings

POLICY_FIELDS = tuple(entry.name for entry in fields(PolicyInput))


class Judge:
    """Judges requests by the settings and credentials that the ledger was opened with."""

    def __init__(self, settings: Settings, *, actor: str, profile: str) -> None:
        self._settings, self._actor, self.profile = settings, actor, profile
        self.credentials = resolve(settings)

    def acting_as(self, actor: str) -> Judge:
        """The same judge for what somebody else asks."""
        other = copy(self)
        other._actor = actor
        return other

    def judge(self, request: Mapping[str, Any], *, place: int | None = None) -> tuple[NewRun, str]:
        """A run as it will be written, except for its account, and the profile that names that.

        Raises InvalidInput, naming the `place` of the request among many, or MissingCredential.
        """
        try:
            if not isinstance(request, Mapping):
                raise InvalidInput("a request is a mapping of names to values")
            return self._judge(dict(request))
        except InvalidInput as error:
            if place is None:
                raise
            raise type(error)(f"request {place}: {error.message}", hint=error.hint) from None

    def _judge(self, request: dict[str, Any]) -> tuple[NewRun, str]:
        key = request.pop("key", None)
        provider = request.pop("provider", "responses")
        profile = request.pop("profile", None) or self.profile
        tags = judge_tags(request.pop("tags", None) or {})
        kind = request.pop("kind", None)
        policy = self.policy(request, provider, profile)
        request["tools"] = _declared(request.get("tools"), provider)
        body = judge_request(provider, {k: v for k, v in request.items() if v is not None})
        credential = self.credential(provider, profile)
        written = canonical_json(body)
        new = NewRun(
            key=judge_key(key) if key is not None else f"run-{new_id()}",
            provider=provider,
            account_id=0,
            request=written,
            check=request_check(credential.key, written),
            model=body.get("model"),
            assistant=assistant_of(body),
            kind=judge_name("kind", kind) if kind is not None else None,
            serial_key=body.get("thread_id"),
            tags=tags,
            policy=policy,
            actor=self._actor,
        )
        return new, profile

    def foreign(self, remote_id: str, provider: str, thread: str | None, *, alone: bool) -> None:
        """Whether an object made elsewhere can be found by these ids. Raises InvalidInput."""
        judge_id("id", judge_name("id", remote_id))
        judge_provider(provider)
        if thread is not None:
            judge_id("thread", thread)
        if alone and provider != "assistants" and thread is not None:
            raise InvalidInput(
                "a response belongs to no thread", hint="a thread run needs --provider assistants"
            )
        if alone and provider == "assistants" and not thread:
            raise InvalidInput("a thread run is found by two ids: give the thread too")

    def adoption(
        self,
        remote_id: str,
        provider: str,
        thread: str | None,
        key: str | None,
        settings: dict[str, Any],
    ) -> tuple[NewRun, str]:
        """The run that watches an object made elsewhere, and the profile that names its account."""
        profile = settings.pop("profile", None) or self.profile
        tags = judge_tags(settings.pop("tags", None) or {})
        if settings.get("forget_request"):
            raise InvalidInput("an adopted run has no request to forget")
        policy = self.policy(settings, provider, profile, restart="none")
        if settings:
            raise InvalidInput(f"adopt does not know {', '.join(map(repr, settings))}")
        kind = RemoteKind.thread_run if provider == "assistants" else RemoteKind.response
        new = NewRun(
            key=judge_key(key) if key is not None else f"adopted-{provider}-{remote_id}"[:256],
            provider=provider,
            account_id=0,
            request=canonical_json({"adopted": remote_id, "thread_id": thread}),
            serial_key=thread,
            tags=tags,
            policy=policy,
            actor=self._actor,
            adopt=Adoption(kind=kind, remote_id=remote_id, parent_id=thread or ""),
        )
        return new, profile

    def history(self, seen: Observation) -> NewRun:
        """The run that an object was which is over. Raises InvalidInput."""
        judge_past(seen)
        remote_id = judge_id("id", judge_name("id", seen.remote_id, longest=ID_CHARS_MAX))
        provider = "assistants" if seen.kind == RemoteKind.thread_run else "responses"
        shown = {"imported": remote_id, "thread_id": seen.parent_id}
        return NewRun(
            key=judge_key(f"imported-{provider}-{remote_id}"[:KEY_CHARS_MAX]),
            provider=provider,
            account_id=0,
            request=canonical_json(shown),
            model=seen.model[:256] if seen.model else None,
            policy=self.policy({}, provider, self.profile, restart="none"),
            actor=self._actor,
            past=seen,
        )

    def account(self, provider: str) -> tuple[AccountProfile, str]:
        """The account of this ledger's profile, and the fingerprint of its credential if there is
        one: for what takes no call upstream."""
        profile = account_profile(self._settings, self.profile, provider)
        found = self.credentials.get((provider, profile.base_url, profile.project or ""))
        return profile, found.fingerprint if found else ""

    def policy(
        self, request: dict[str, Any], provider: str, profile: str, *, restart: str | None = None
    ) -> Policy:
        """Take the policy's fields out of a request and judge them over the configured ones."""
        judge_provider(provider)
        configured = self._settings.profile(profile)
        given = PolicyInput(**{name: request.pop(name, None) for name in POLICY_FIELDS})
        default = Policy(
            restart=parse_restart(self._settings.restart if restart is None else restart),
            deadline_seconds=parse_duration(configured.deadline or self._settings.deadline),
            settle_seconds=self._settings.settle_seconds,
            poll_seconds=self._settings.poll_seconds,
            result_retention_seconds=configured.retention_seconds(provider),
        )
        return judge_policy(given, default)

    def credential(self, provider: str, profile_name: str) -> Credential:
        """The credential that was in the environment when the ledger was opened.

        Raises MissingCredential, and says so where it was set since.
        """
        profile = account_profile(self._settings, profile_name, provider)
        found = self.credentials.get((provider, profile.base_url, profile.project or ""))
        if found is not None:
            return found
        late = bool(secret_of(profile.key_variable))
        why = (
            f"{profile.key_variable} is set now, but was not when the ledger was opened: keys are "
            "read then, and setting one later has no effect"
            if late
            else f"{profile.key_variable} is not set, so nothing was written"
        )
        hint = "open the ledger again" if late else f"export {profile.key_variable}=…"
        raise MissingCredential(why, hint=hint)


def _declared(tools: Any, provider: str) -> Any:
    if not isinstance(tools, list | tuple):
        return tools
    return [t.declaration(provider) if isinstance(t, Tool) else t for t in tools]
