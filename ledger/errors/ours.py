"""What goes wrong on this side: input, configuration, the database, a run that did not complete."""

from __future__ import annotations

import difflib
from collections.abc import Collection


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


class DeliveryRefused(InvalidInput):
    """The request is not a webhook delivery that can be believed."""

    def __init__(self, message: str, *, result: str) -> None:
        super().__init__(message)
        self.result = result


class NotFound(RunwardError):
    """There is no such run."""

    exit_code = 3


class ConfigurationError(RunwardError):
    """The configuration cannot be used."""

    exit_code = 4


def unknown_name(
    name: str, known: Collection[str], place: str, *, what: str = "key"
) -> ConfigurationError:
    """The error for a name that nobody reads, with the nearest of those that somebody does."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    return ConfigurationError(f"{place}: there is no {what} {name!r}", hint=hint)


class MissingCredential(ConfigurationError):
    """No credential is configured."""


class QueueRefused(ConfigurationError):
    """The queue, or what it is asked with, is not as configured."""


class QueueAway(RunwardError):
    """The queue cannot be reached now."""


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
