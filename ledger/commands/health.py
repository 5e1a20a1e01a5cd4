"""`runward healthcheck`: for containers and supervisors; one line, and 0 or 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from ledger.commands.output import State
from ledger.errors import InvalidInput, RunwardError

if TYPE_CHECKING:
    from ledger.settings import Settings

SECONDS: Final = 3.0
BYTES_MAX: Final = 65_536
URL_MAX: Final = 2_000


def register(app: typer.Typer) -> None:
    """Hang the command into the app."""
    app.command()(healthcheck)


def healthcheck(
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Of the service; by default ours.")
    ] = None,
    daemon: Annotated[
        bool, typer.Option("--daemon", help="Ask the database for a daemon of this host instead.")
    ] = False,
) -> None:
    """Ask the service's /readyz, or with --daemon the ledger; ends with 0 or 1 within seconds."""
    from ledger.settings import load_settings

    if daemon and url is not None:
        raise InvalidInput("--daemon asks the database, and --url a service: give one of them")
    settings = load_settings(database_url=State.database)
    print(_ask_ledger(settings) if daemon else _ask_service(_address(url, settings)))


def _ask_ledger(settings: Settings) -> str:
    from ledger.service.health import daemon_here

    life = daemon_here(settings.database_url)
    if life is None:
        raise RunwardError("no daemon of this host is at work", hint="runward workers list --all")
    return f"daemon {life[:8]} is at work"


def _address(url: str | None, settings: Settings) -> str:
    """Where to ask. Raises InvalidInput."""
    from urllib.parse import urlsplit

    if url is None:
        from ledger.core.addresses import origin

        return f"{origin(settings.host, settings.port)}/readyz"
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or not url.isprintable() or " " in url or len(url) > URL_MAX:
        raise InvalidInput("--url is written http://127.0.0.1:8787")
    return url if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/readyz"


def _ask_service(url: str) -> str:
    """What the service says of itself. Raises RunwardError where that is not "ready"."""
    status, body = _get(url)
    if status == 200:
        return "ready"
    checks = body.get("checks")
    wrong = [name for name, well in checks.items() if not well] if isinstance(checks, dict) else []
    raise RunwardError(f"not ready: {', '.join(wrong) or f'{url} answered {status}'}")


def _get(url: str) -> tuple[int, dict[str, object]]:
    """Status and JSON of an answer; no proxy stands between a service and its health."""
    import http.client
    import json
    import urllib.error
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=SECONDS) as said:
            status, text = said.status, said.read(BYTES_MAX)
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read(BYTES_MAX)
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "reason", error)
        raise RunwardError(f"{url} does not answer: {why}"[:300]) from None
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    return status, body if isinstance(body, dict) else {}
