"""`runward submit`: flags, a file, many lines, or stdin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.commands.opening import opened
from ledger.commands.output import Format, State, print_one, print_rows, say
from ledger.errors import InvalidInput, RunFailed

COLUMNS = ("id", "key", "status", "provider", "model")
INPUT_BYTES_MAX = 256 * 1024 * 1024


def register(app: typer.Typer) -> None:
    """Hang the command into the app."""
    app.command()(submit)


Text = str | None
Provider = Annotated[Text, typer.Option(help="responses or assistants.")]
Model = Annotated[Text, typer.Option(help="The model.")]
Input = Annotated[Text, typer.Option("--input", help="The input text.")]
Assistant = Annotated[Text, typer.Option(help="Assistant id.")]
Thread = Annotated[Text, typer.Option(help="An existing thread's id.")]
Instructions = Annotated[Text, typer.Option(help="Instructions for the model.")]
File = Annotated[
    Text, typer.Option("-f", "--file", help="A request in JSON, many in .ndjson, or - for stdin.")
]
Key = Annotated[Text, typer.Option(help="Your name for the run; unique for ever.")]
Tag = Annotated[list[str] | None, typer.Option("--tag", metavar="K=V")]
Kind = Annotated[Text, typer.Option(help="Class of the run, for pacing.")]
Deadline = Annotated[Text, typer.Option(help="As 30m; then the run expires.")]
Restart = Annotated[Text, typer.Option(help="As expired=3,failed:server_error=2; or none.")]
RestartDelay = Annotated[
    Text, typer.Option(help="Wait this long before the first restart by policy, as 10s.")
]
RestartBackoff = Annotated[
    float | None, typer.Option(help="Each further restart waits so many times longer; 2.")
]
RestartDelayMax = Annotated[Text, typer.Option(help="But never longer than this; 10m.")]
RestartTokens = Annotated[
    int | None,
    typer.Option("--restart-max-tokens", help="No restart by policy once so many are used."),
]
Effects = Annotated[
    Text, typer.Option(help="Restart after tools with effects: hold, reuse or rerun.")
]
OnUnknown = Annotated[
    Text,
    typer.Option(
        help="A create whose reply is lost: fail, which may waste one paid run, or recreate=N, "
        "which may pay for N+1."
    ),
]
OnUnknownOutcome = Annotated[
    Text,
    typer.Option(
        help="A tool call that a dead process had started: hold, error_output, or rerun, which may "
        "have the effect twice. A tool's own word wins."
    ),
]
LateApproval = Annotated[
    Text,
    typer.Option(help="An approval after its attempt's end: refuse, or attach to the same call."),
]
Forget = Annotated[
    bool, typer.Option("--forget-request", help="Erase the request once the run has ended.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the verdict.")]
Timeout = Annotated[Text, typer.Option(help="With --wait: at most this long.")]
Drive = Annotated[str, typer.Option(help="With --wait: auto or never.")]
Tools = Annotated[Text, typer.Option(metavar="MODULE", help="With --wait: tools to run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check; write nothing.")]
Out = Annotated[Format, typer.Option("-o", "--output")]


def submit(
    provider: Provider = None,
    model: Model = None,
    input_text: Input = None,
    assistant: Assistant = None,
    thread: Thread = None,
    instructions: Instructions = None,
    file: File = None,
    key: Key = None,
    tag: Tag = None,
    kind: Kind = None,
    deadline: Deadline = None,
    restart: Restart = None,
    restart_delay: RestartDelay = None,
    restart_backoff: RestartBackoff = None,
    restart_delay_max: RestartDelayMax = None,
    restart_max_tokens: RestartTokens = None,
    effects: Effects = None,
    on_unknown: OnUnknown = None,
    on_unknown_outcome: OnUnknownOutcome = None,
    late_approval: LateApproval = None,
    forget: Forget = False,
    wait: Wait = False,
    timeout: Timeout = None,
    drive: Drive = "auto",
    tools: Tools = None,
    dry_run: DryRun = False,
    form: Out = Format.table,
) -> None:
    """Write runs down; a daemon, or --wait, sends and watches them.

    Ends with 0 once the intent is durable; with --wait 0 for completed, 5 for another end, 6 for
    a timeout. The same key with the same request gives the existing run.
    """
    flags = {
        "provider": provider,
        "model": model,
        "input": input_text,
        "assistant_id": assistant,
        "thread_id": thread,
        "instructions": instructions,
        "key": key,
        "tags": read_tags(tag) or None,
        "kind": kind,
        "deadline": deadline,
        "restart": restart,
        "restart_delay": restart_delay,
        "restart_backoff": restart_backoff,
        "restart_delay_max": restart_delay_max,
        "restart_max_tokens": restart_max_tokens,
        "effects": effects,
        "on_unknown": on_unknown,
        "on_unknown_outcome": on_unknown_outcome,
        "late_approval": late_approval,
        "forget_request": forget or None,
    }
    _judge_wait(timeout, drive)
    _carry_out(
        _requests(file, flags), tools, form, (timeout, drive) if wait else None, dry_run=dry_run
    )


def _carry_out(
    requests: list[dict[str, Any]],
    tools: str | None,
    form: Format,
    waits: tuple[str | None, str] | None,
    *,
    dry_run: bool,
) -> None:
    with opened(tools=tools) as ledger:
        if dry_run:
            ledger.check(requests)
            say(f"{len(requests)} requests are in order; nothing was written")
        else:
            _report(ledger, _written(ledger, requests), form, waits)


def _written(ledger: Any, requests: list[dict[str, Any]]) -> list[int]:
    """Write the runs down, and say of which there will be nothing to send again."""
    runs = ledger.submit_many(requests)
    ids = [run.id for run in runs if run.policy.forget_request]
    if ids:
        which = f"run {ids[0]}" if len(ids) == 1 else f"{len(ids)} of the runs"
        say(f"{which} cannot be restarted once ended: the request is erased then")
    return [run.id for run in runs]


def _judge_wait(timeout: str | None, drive: str) -> None:
    """Before anything is written: a run that a typing error left behind would be paid for."""
    from ledger.service.waiting import judge_wait

    judge_wait(timeout, drive)


def _report(
    ledger: Any, ids: list[int], form: Format, waits: tuple[str | None, str] | None
) -> None:
    """Wait, if asked to with (timeout, drive), and print the runs, or the one result."""
    from ledger.service.views import run_summary

    waited = waits is not None
    if waits is not None:
        ledger.wait_for(ids, timeout=waits[0], drive=waits[1])
    runs = [ledger.get(run_id) for run_id in ids]
    if waited and len(runs) == 1 and form == Format.table:
        print(ledger.result(ids[0]))
        return
    summaries = [run_summary(run) for run in runs]
    if len(runs) == 1 and form == Format.json:
        print_one(summaries[0], form=form)
    else:
        print_rows(summaries, form=form, columns=COLUMNS)
    bad = [run for run in runs if waited and run.state != "completed"]
    if bad:
        raise RunFailed(
            f"{len(bad)} of {len(runs)} runs did not complete", hint=f"runward show {bad[0].id}"
        )


def read_tags(given: list[str] | None) -> dict[str, str]:
    """Tags as they are written on the command line. Raises InvalidInput."""
    tags = {}
    for item in given or []:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise InvalidInput(f"a tag is written NAME=VALUE, not {item!r}")
        tags[name] = value
    return tags


def _requests(file: str | None, given: dict[str, Any]) -> list[dict[str, Any]]:
    from ledger.core.plain_json import parse_json_request

    flags = {name: value for name, value in given.items() if value is not None}
    if State.profile != "default":
        flags["profile"] = State.profile
    if file is None:
        return [flags]
    text = _read(file)
    lines = text.splitlines() if file.endswith((".ndjson", ".jsonl")) else [text]
    if file == "-" and b"\n" in text.strip() and not _is_one(text):
        lines = text.splitlines()
    values = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = parse_json_request(line)
        except InvalidInput as error:
            where = f"line {number}: " if len(lines) > 1 else ""
            raise InvalidInput(f"{file}: {where}{error.message}", hint=error.hint) from None
        values += value if isinstance(value, list) else [value]
    if not values:
        raise InvalidInput(f"{file}: there is no request in it")
    return [_merged(file, place, value, flags) for place, value in enumerate(values, start=1)]


def _is_one(text: bytes) -> bool:
    """Whether stdin holds one document over several lines, not one a line."""
    from ledger.core.plain_json import parse_json_request

    try:
        parse_json_request(text)
    except InvalidInput:
        return False
    return True


def _merged(file: str, place: int, value: Any, flags: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise InvalidInput(f"{file}: request {place} is a {kind}, not an object")
    tags = value.get("tags") or {}
    if not isinstance(tags, dict):
        kind = type(tags).__name__
        raise InvalidInput(f"{file}: request {place}: tags are pairs in an object, not a {kind}")
    tags = {**tags, **flags.get("tags", {})} or None
    merged = {**value, **flags, "tags": tags}
    return {name: item for name, item in merged.items() if item is not None}


def _read(file: str) -> bytes:
    if file == "-":
        text = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
    else:
        try:
            with Path(file).open("rb") as handle:
                text = handle.read(INPUT_BYTES_MAX + 1)
        except OSError as error:
            raise InvalidInput(f"{file} cannot be read: {error.strerror}") from None
    if len(text) > INPUT_BYTES_MAX:
        raise InvalidInput(f"{file} is larger than {INPUT_BYTES_MAX} bytes; submit it in parts")
    return text
