"""The signing secrets of all profiles; a file that changed is read again, so that a rotation needs
no restart."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from ledger.clock import monotonic
from ledger.core.alphabet import Receipt
from ledger.errors import ConfigurationError, DeliveryRefused
from ledger.providers.signing import SigningSecret, read_secrets, signed_by
from ledger.settings import Settings

log = logging.getLogger("runward")
RELOAD_SECONDS: Final = 1.0


class Signer(Protocol):
    """Who knows the secrets that deliveries are signed with."""

    def signer(self, headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
        """The profile whose secret signed it, and its fingerprint. Raises DeliveryRefused."""
        ...


class Keyring:
    """Secrets by profile. Raises ConfigurationError when made with one that is none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secrets = _read(settings)
        self._stamps = self._stamped()
        self._looked = monotonic()

    @property
    def profiles(self) -> dict[str, list[str]]:
        """The profiles that have secrets, each with their fingerprints."""
        return {name: [s.fingerprint for s in found] for name, found in self._secrets.items()}

    def secrets_of(self, profile: str) -> tuple[SigningSecret, ...]:
        """The secrets of one profile."""
        return self._secrets.get(profile, ())

    def signer(self, headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
        """Whose secret signed it: the profile, and the secret's fingerprint.

        Raises DeliveryRefused when it was none of them.
        """
        self._reload()
        for profile, secrets in self._secrets.items():
            secret = signed_by(headers, body, secrets)
            if secret is not None:
                return profile, secret.fingerprint
        raise DeliveryRefused("no secret of ours made the signature", result=Receipt.forged)

    def _reload(self) -> None:
        """Read the files that changed; looked at once a second at most."""
        if monotonic() - self._looked < RELOAD_SECONDS:
            return
        self._looked = monotonic()
        stamps = self._stamped()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._secrets = _read(self._settings)
        except ConfigurationError as error:
            # Half written, perhaps: the old ones go on, and the next change is read again.
            log.error("webhook secrets: %s", error)

    def _stamped(self) -> dict[Path, tuple[int, int]]:
        profiles = map(self._settings.profile, self._settings.profile_names())
        files = [p.webhook_secret_file for p in profiles if p.webhook_secret_file is not None]
        return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)


def _read(settings: Settings) -> dict[str, tuple[SigningSecret, ...]]:
    found = {}
    for name in settings.profile_names():
        profile = settings.profile(name)
        if profile.webhook_secret_variable or profile.webhook_secret_file:
            variable = profile.webhook_secret_variable or ""
            secrets = read_secrets(variable, profile.webhook_secret_file)
            if secrets:
                found[name] = secrets
    return found
