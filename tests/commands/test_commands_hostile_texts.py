"""What upstream, models and people wrote comes to a terminal as text alone."""

from __future__ import annotations

import pytest
from command_line import CommandLine
from support import Bench, response, seen

from ledger import Ledger

HOSTILE = "\x1b]8;;http://x\x07it\x9b broke \u202eoh\r<b>"


@pytest.mark.parametrize(
    "command",
    [
        ("show", "1"),
        ("events", "1", "--diff"),
        ("errors", "list", "--since", "2026-01-01"),
        ("list", "--fields", "id,error_message"),
        ("show", "#9"),
    ],
)
def test_what_upstream_says_is_shown_and_not_obeyed(
    bench: Bench, runward: CommandLine, command: tuple[str, ...]
) -> None:
    """A terminal gets no control character of an error message, nor of a reason to prune."""
    for n in (1, 2):
        facts = bench.sending(key=f"bad-{n}")
        for status in ("in_progress", "failed"):
            error = {"code": "server_error", "message": HOSTILE} if status == "failed" else None
            body = response(status, remote_id=f"resp_{n}", error=error)
            facts = bench.take(facts, seen(body))
    gone = bench.completed()
    with Ledger.open(bench.store.url) as ledger:
        ledger.prune("1d", query="status:completed", reason=HOSTILE)

    said = runward(*(part.replace("#9", str(gone.run.id)) for part in command))

    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\r"} & {*said.out, *said.err}
    assert "broke" in said.out + said.err
