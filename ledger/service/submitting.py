"""Writing runs down through a Ledger: judged, committed, answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ledger.clock import utcnow
from ledger.core.accept import NewRun
from ledger.core.model import Facts, Run
from ledger.errors import InvalidInput
from ledger.service.part import Part
from ledger.store.records import Record, Rejected, Result, Submission, Written
from ledger.store.store import ensure_account

if TYPE_CHECKING:
    from ledger.service.judging import Judge

SUBMIT_MAX: Final = 10_000


class Submitting(Part):
    """The part of a Ledger that takes runs in."""

    _judge: Judge
    _accounts: dict[tuple[str, str], int]

    def submit(self, *, key: str | None = None, **request: Any) -> Run:
        """Write one run down; returns once the intent is durable.

        A known key with the same request gives the existing run, with another one raises Conflict.
        Further arguments: `provider`, `tags`, `kind`, `deadline` (seconds or "45m"), `restart`
        ("expired=2,failed:server_error=1"), `restart_delay` and `restart_delay_max` (as "10s"),
        `restart_backoff`, `restart_max_tokens`, `effects`, `on_unknown`, `on_unknown_outcome`,
        `late_approval`, `settle_seconds`, `poll_seconds`, `profile`; all others are the request's
        own fields. Raises InvalidInput, SecretInRequest, MissingCredential, Conflict,
        DatabaseError.
        """
        return self.submit_many([{"key": key, **request}])[0]

    def submit_many(self, requests: Sequence[Mapping[str, Any]]) -> list[Run]:
        """Write many runs down in one transaction: all of them, or none.

        Raises as `submit` does, naming the position of the first request that is wrong.
        """
        new = [
            replace(item, account_id=self.account_id(item.provider, profile))
            for item, profile in self.check(requests)
        ]
        if len(new) == 1:
            return [self.put(Submission(new=new[0])).run]
        work = self.store.all_or_none([Submission(new=item) for item in new])
        results = self.writer.run(work).result()
        self.writer.poke()
        return [_written(result).facts.run for result in results]

    def submit_one(self, request: Mapping[str, Any]) -> tuple[Run, bool]:
        """As `submit`, and whether the run is new."""
        new, profile = self.check([request])[0]
        new = replace(new, account_id=self.account_id(new.provider, profile))
        written = self._put(Submission(new=new))
        return written.facts.run, written.created

    def put(self, record: Record) -> Facts:
        """Commit one record, and tell a reconciler of this process."""
        return self._put(record).facts

    def _put(self, record: Record) -> Written:
        written = _written(self.writer.put(record).result())
        self.writer.poke()
        return written

    def check(self, requests: Sequence[Mapping[str, Any]]) -> list[tuple[NewRun, str]]:
        """Judge requests as `submit_many` does, and write nothing."""
        if not isinstance(requests, list | tuple):
            raise InvalidInput("requests are given as a list")
        if len(requests) > SUBMIT_MAX:
            raise InvalidInput(f"{len(requests)} requests at once; the limit is {SUBMIT_MAX}")
        many = len(requests) > 1
        judged = [
            self._judge.judge(r, place=i if many else None) for i, r in enumerate(requests, 1)
        ]
        keys = [new.key for new, _ in judged]
        if len(set(keys)) != len(keys):
            raise InvalidInput("two of the requests have one key")
        return judged

    def account_id(self, provider: str, profile_name: str) -> int:
        """The account that a profile resolves to. Raises MissingCredential without a credential."""
        if (provider, profile_name) not in self._accounts:
            credential = self._judge.credential(provider, profile_name)
            self._accounts[provider, profile_name] = self.writer.run(
                lambda c: ensure_account(
                    c, profile_name, credential.profile, credential.fingerprint, utcnow()
                )
            ).result()
        return self._accounts[provider, profile_name]


def _written(result: Result) -> Written:
    if isinstance(result, Written):
        return result
    if isinstance(result, Rejected):
        raise result.error
    raise AssertionError(f"{type(result).__name__} is no answer to an unguarded record")
