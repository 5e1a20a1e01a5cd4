"""Where a secret is found by the name of its variable: the environment, else a secrets directory.

A process manager may hand secrets over as files: systemd (LoadCredential=) names their directory in
CREDENTIALS_DIRECTORY, containers have /run/secrets. A file is named as the variable is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ledger.errors import ConfigurationError

MOUNTED: Final = Path("/run/secrets")
FILE_BYTES_MAX: Final = 65_536


def secret_directories() -> list[Path]:
    """The directories that there are, the one looked into first at the front."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    places = [Path(given)] if given else []
    return [place for place in (*places, MOUNTED) if place.is_dir()]


def secret_of(variable: str) -> str:
    """The secret of this name, without blanks around it; empty if there is none.

    Raises ConfigurationError for a file that cannot be read.
    """
    found = os.environ.get(variable, "").strip()
    if found:
        return found
    for place in secret_directories():
        for name in (variable, variable.lower()):
            if (place / name).is_file():
                return _text_of(place / name)
    return ""


def _text_of(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(FILE_BYTES_MAX).strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(f"the secret {file} cannot be read: {why}") from None
