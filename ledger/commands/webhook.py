"""`runward webhook`: what came, whether it comes, and upstream's endpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.clock import utcnow
from ledger.commands.opening import opened
from ledger.commands.output import Format, State, confirm, print_one, print_rows, say
from ledger.errors import CheckFailed, ConfigurationError, RunwardError

if TYPE_CHECKING:
    from ledger.service.ledger import Ledger

app = typer.Typer(help="Webhooks: deliveries, coverage, endpoints.", no_args_is_help=True)
endpoint = typer.Typer(help="Upstream's webhook endpoints.", no_args_is_help=True)
app.add_typer(endpoint, name="endpoint")
Out = Annotated[Format, typer.Option("-o", "--output")]
Limit = Annotated[int, typer.Option(min=1, max=10_000)]
SecretFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the secret there (mode 600), not to stdout."),
]
EndpointId = Annotated[str, typer.Argument(metavar="ENDPOINT", help="An id, as whe_….")]
COLUMNS = ("received_at", "type", "object_id", "state", "run_id", "duplicates", "via")
COVERAGE = (
    "profile", "covered", "gap_since", "told", "missed", "accepted", "duplicate", "foreign",
    "late_p50", "late_p99", "forged", "stale", "malformed",
)  # fmt: skip
HEARTBEAT_SECONDS = 10.0
LISTEN_SECONDS = 0.5


@app.command("list")
def list_command(
    run: Annotated[str | None, typer.Option(help="Those about one run.")] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Those nobody knows yet.")] = False,
    limit: Limit = 50,
    form: Out = Format.table,
) -> None:
    """Deliveries, the newest first."""
    from ledger.core.alphabet import DeliveryState
    from ledger.service.webhooks import deliveries

    with opened() as ledger:
        run_id = ledger.get(run).id if run else None
        state = DeliveryState.parked if parked else None
        rows = deliveries(ledger, limit=limit, run_id=run_id, state=state)
    print_rows(rows, form=form, columns=COLUMNS)


@app.command()
def coverage(
    hours: Annotated[float, typer.Option(min=0.1, max=8_760, help="How far back.")] = 24,
    form: Out = Format.table,
) -> None:
    """Whether webhooks tell of what ends, as measured: missed, late, duplicate, forged, foreign."""
    from ledger.service.webhooks import coverage as measured
    from ledger.service.webhooks import since_hours

    with opened() as ledger:
        rows = measured(ledger, since_hours(hours))
    print_rows(rows, form=form, columns=COVERAGE, name="profile")


@app.command()
def gaps(form: Out = Format.table) -> None:
    """Times in which runs ended and no delivery came."""
    from ledger.service.webhooks import gaps as recent

    with opened() as ledger:
        rows = recent(ledger)
    columns = ("profile", "since", "noticed_at", "missed", "closed_at")
    print_rows(rows, form=form, columns=columns)


@app.command()
def listen(
    form: Out = Format.table,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, max=86_400, help="End after so long.")
    ] = None,
) -> None:
    """Deliveries as they come, and every ten seconds a line that says so if none did."""
    from ledger.service.webhooks import newest

    with opened() as ledger:
        say("listening; a receiver must be running: runward serve, or runward up")
        try:
            _follow(ledger, newest(ledger), form, seconds)
        except KeyboardInterrupt:
            say("")


def _follow(ledger: Ledger, last: int, form: Format, seconds: float | None) -> None:
    from ledger.clock import monotonic, rest
    from ledger.service.webhooks import deliveries

    began = quiet_since = monotonic()
    while seconds is None or monotonic() - began < seconds:
        for row in deliveries(ledger, limit=1_000, after=last):
            last, quiet_since = row["id"], monotonic()
            _print_live(row, form)
        if monotonic() - quiet_since >= HEARTBEAT_SECONDS:
            say(f"{utcnow():%H:%M:%S} listening; none in {HEARTBEAT_SECONDS:.0f} s")
            quiet_since = monotonic()
        rest(LISTEN_SECONDS)


def _print_live(row: dict[str, Any], form: Format) -> None:
    if form == Format.table:
        whose = f"run {row['run_id']}" if row["run_id"] else row["state"]
        print(f"{row['received_at']} {row['type']} {row['object_id']} {whose}", flush=True)
    else:
        print_rows([row], form=Format.ndjson, columns=COLUMNS)


@app.command("test")
def try_receiver(
    url: Annotated[
        str | None, typer.Option(help="The receiver; by default the one configured here.")
    ] = None,
) -> None:
    """Sign a delivery with our own secret and send it to our own receiver."""
    from ledger.service.webhook_test import own_receiver, send_test

    with opened() as ledger:
        place = url or own_receiver(ledger)
        status, said = send_test(ledger, State.profile, place)
    if status != 200:
        raise RunwardError(
            f"{place} answered {status}: {said}",
            hint="the receiver holds another secret than this shell" if status == 401 else None,
        )
    say(f"{place} took it: {said}")


@endpoint.command("list")
def list_endpoints(form: Out = Format.table) -> None:
    """The endpoints of the profile's project."""
    from ledger.service.webhooks import list_endpoints as listed

    with opened() as ledger:
        rows = listed(ledger, State.profile)
    print_rows(rows, form=form, columns=("id", "name", "url", "events", "secret_hint"))


@endpoint.command()
def create(
    url: Annotated[str, typer.Option(help="Where deliveries go: https://…/webhooks/openai.")],
    name: Annotated[str, typer.Option(help="For people.")] = "runward",
    secret_file: SecretFile = None,
    form: Out = Format.table,
) -> None:
    """Make an endpoint for what runs can be told of. Its secret is shown once."""
    from ledger.service.webhooks import create_endpoint

    _judge_file(secret_file)
    with opened() as ledger:
        made = create_endpoint(ledger, State.profile, name=name, url=url)
    _show_secret(made.endpoint.id, made.secret, secret_file, form, keep_old=True)


@endpoint.command()
def rotate(
    name: EndpointId,
    now: Annotated[
        bool, typer.Option("--now", help="End the old secret at once, not in 24 hours.")
    ] = False,
    secret_file: SecretFile = None,
    form: Out = Format.table,
) -> None:
    """Get a new secret. For 24 hours upstream takes both to sign; hold both as long."""
    from ledger.service.webhooks import rotate_endpoint

    _judge_file(secret_file)
    with opened() as ledger:
        made = rotate_endpoint(ledger, State.profile, name, overlap=not now)
    _show_secret(made.endpoint.id, made.secret, secret_file, form, keep_old=not now)


def _judge_file(file: Path | None) -> None:
    """Before there is a secret that could be lost."""
    from ledger.service.webhooks import judge_secret_file

    if file is not None:
        judge_secret_file(file)


def _show_secret(
    name: str, secret: str, file: Path | None, form: Format, *, keep_old: bool
) -> None:
    from ledger.service.webhooks import write_secret

    try:
        if file is not None:
            write_secret(file, secret, keep_old=keep_old)
    except ConfigurationError as error:
        # Upstream shows it once: better on the screen than nowhere.
        say(f"runward: {error.message}")
        file = None
    if file is not None:
        say(f"the secret is in {file}; a receiver that reads it there takes it within a second")
        print_one({"id": name, "secret_file": str(file)}, form=form)
        return
    say("the secret is shown this once; give it to the receiver as OPENAI_WEBHOOK_SECRET")
    print_one({"id": name, "secret": secret}, form=form)


@endpoint.command("test")
def try_endpoint_command(
    name: EndpointId,
    event: Annotated[str, typer.Option(help="The type of the sample.")] = "response.completed",
) -> None:
    """Have upstream send a signed sample, and say how the endpoint answered."""
    from ledger.service.webhooks import try_endpoint

    with opened() as ledger:
        status = try_endpoint(ledger, State.profile, name, event)
    if not 200 <= status < 300:
        raise CheckFailed(f"the endpoint answered {status}", hint="runward webhook coverage")
    say(f"the endpoint answered {status}")


@endpoint.command()
def delete(
    name: EndpointId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete an endpoint: nothing is delivered to it any more."""
    from ledger.service.webhooks import delete_endpoint

    confirm("delete", [name, "its deliveries"], yes=yes)
    with opened() as ledger:
        delete_endpoint(ledger, State.profile, name)
    say(f"{name} is deleted")
