"""No secret in a log: by the name of its key, by its shape, and by what the settings hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from ledger.core.redaction import BLOT, redact_text
from ledger.credentials import secret_of
from ledger.errors import ConfigurationError

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

    from ledger.settings import Settings

NAMES: Final = re.compile(
    r"(?:^|[_-])(?:secrets?|passwords?|passwd|tokens?|api_?keys?|authorization|cookies?|"
    r"credentials?)$",
    re.IGNORECASE,
)
PASSWORD: Final = re.compile(r"^[^:/]+://[^/?#]*?:([^/?#]+)@")
AMAZON: Final = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
LENGTH_MIN: Final = 6
"""A shorter secret guards nothing, and would blot out common words."""


class Mask:
    """A processor that takes secrets out of everything that a line says, tracebacks included."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = sorted({one for one in known if len(one) >= LENGTH_MIN}, key=len)[::-1]

    def __call__(self, logger: WrappedLogger, name: str, said: EventDict) -> EventDict:
        """The line without secrets."""
        del logger, name
        return {key: self._clean(key, value) for key, value in said.items()}

    def _clean(self, key: str, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float) or key == "_record":
            return value
        if NAMES.search(key):
            return BLOT
        if isinstance(value, Mapping):
            return {str(name): self._clean(str(name), part) for name, part in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean("", part) for part in value]
        text = str(value)
        for secret in self._known:
            text = text.replace(secret, BLOT)
        return redact_text(text)


def known_secrets(settings: Settings) -> set[str]:
    """The secrets that this process was given, whatever their shape."""
    profiles = [settings.profile(name) for name in settings.profile_names()]
    variables = {profile.key_variable for profile in profiles}
    variables |= {profile.webhook_secret_variable or "" for profile in profiles}
    variables |= {*AMAZON, *(endpoint.secret_variable for endpoint in settings.outbound.values())}
    found = {part for name in variables - {""} for part in re.split(r"[\s,]+", _value(name))}
    for url in (settings.database_url, settings.direct_url or ""):
        match = PASSWORD.match(url)
        if match:
            found |= {match[1], unquote(match[1])}
    return found - {""}


def _value(variable: str) -> str:
    try:
        return secret_of(variable)
    except ConfigurationError:
        # Whoever needs it says so; a secret that cannot be read cannot be logged either.
        return ""
