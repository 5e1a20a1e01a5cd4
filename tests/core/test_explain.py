"""What a run waits for, said from its facts and what stands around it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support import NOW, accepted, context, failed, function_call, later, response, seen, thread_run

from ledger.core.alphabet import Attention, RemoteKind, Source
from ledger.core.decide import arm, decide, operator
from ledger.core.explain import explain
from ledger.core.following import Next, Owner, Surroundings, WaitingFor
from ledger.core.model import Facts
from ledger.core.outcome import Elapsed
from ledger.core.policy import Policy
from ledger.core.steps import Cancel, Create, Step, ToolSpec
from ledger.errors import ServerTrouble

ME = Owner(life="me", role="daemon", host="h", pid=7, fence=1, alive=True, heartbeat_at=NOW)
PAY = ToolSpec(name="pay", idempotent=False, timeout_seconds=1)
FUNCTION = response("completed", output=[function_call("call_0", "pay")])


def said(facts: Facts, seconds: float = 1.0, **around: Any) -> Next:
    """The explanation some time after NOW, with a living owner unless another is given."""
    return explain(facts, Surroundings(**{"now": later(seconds), "owner": ME, **around}))


def armed(facts: Facts, step: Step) -> Facts:
    return arm(facts, step, context()).after


def took(facts: Facts, body: bytes, kind: RemoteKind = RemoteKind.response, **more: Any) -> Facts:
    n = len(facts.remotes)
    return decide(facts, seen(body, n, kind), context(**more), source=Source.create).after


def running(provider: str = "responses", **fields: Any) -> Facts:
    """A run that upstream works on."""
    thread = provider == "assistants"
    if thread:
        fields.setdefault("serial_key", "thread_1")
    facts = armed(accepted(provider=provider, **fields), Create(1))
    kind = RemoteKind.thread_run if thread else RemoteKind.response
    return took(facts, thread_run() if thread else response(), kind)


def test_an_observed_run_waits_for_upstream() -> None:
    """Since when upstream says the same, and who knows when the next look is: its class's pace."""
    found = said(running(), 60)

    assert ("observe", WaitingFor.upstream, NOW) == (found.step, found.waiting_for, found.since)
    assert "response resp_1 is in_progress" in found.why
    assert "limits --explain" in found.why
    assert found.at is None


def test_a_new_run_is_due() -> None:
    """Nothing stands in the way of the create."""
    assert ("create", None, later(1)) == (
        (found := said(accepted())).step, found.waiting_for, found.at
    )  # fmt: skip


@pytest.mark.parametrize(
    ("owner", "driven", "words"),
    [
        (None, False, "nobody is at work"),
        (replace(ME, alive=False), False, "nobody is at work"),
        (replace(ME, alive=False), True, "takes it at its next sweep"),
    ],
)
def test_nobody_alive(owner: Owner | None, driven: bool, words: str) -> None:
    """Without a living owner the run waits for a life, and its deadline is shown."""
    found = said(running(), owner=owner, driven=driven)

    assert (WaitingFor.life, "observe") == (found.waiting_for, found.step)
    assert words in found.why
    assert NOW == found.since


def test_a_stopped_account() -> None:
    """The account's reason is the run's."""
    facts = running()
    flagged = replace(facts, run=replace(facts.run, needs_attention=Attention.blocked_credentials))
    found = said(flagged, stopped="AuthenticationRefused", stopped_at=later(-5))

    assert (WaitingFor.account, later(-5)) == (found.waiting_for, found.since)
    assert found.why.startswith("blocked: credentials")


def test_a_lane_names_who_is_first() -> None:
    """A run on a thread in use names the run that it waits behind."""
    facts = accepted(provider="assistants", serial_key="thread_1")
    found = said(facts, ahead=41)

    assert ("create", WaitingFor.lane) == (found.step, found.waiting_for)
    assert "run 41 is first" in found.why


@pytest.mark.parametrize(
    ("recreate", "words"), [(0, "then the run fails"), (2, "sent again (recreate=2)")]
)
def test_an_unclear_create_says_what_will_follow(recreate: int, words: str) -> None:
    """The settle window, and what its end brings."""
    facts = armed(accepted(policy=Policy(recreate=recreate)), Create(1))
    facts = decide(facts, failed(ServerTrouble("500")), context(), source=Source.create).after
    found = said(facts)

    assert (WaitingFor.settle_window, later(30)) == (found.waiting_for, found.until)
    assert words in found.why


def test_a_tool_that_no_life_has() -> None:
    """Nobody's tool: its name, and both ways out."""
    facts = took(armed(accepted(), Create(1)), FUNCTION)
    facts = decide(facts, Elapsed(), context(), source=Source.policy).after
    found = said(facts)

    assert (WaitingFor.tool, NOW) == (found.waiting_for, found.since)
    assert "tool pay: no life has it" in found.why


def test_a_held_call_waits_for_a_person() -> None:
    """A call that a dead life had started is a person's to answer."""
    facts = took(armed(accepted(), Create(1)), FUNCTION)
    facts = decide(facts, Elapsed(), context(tools=[PAY]), source=Source.policy).after
    call = replace(facts.calls[0], held=True, started_at=later(-3))
    found = said(replace(facts, calls=(call,)))

    assert (WaitingFor.person, later(-3)) == (found.waiting_for, found.since)
    assert "tool pay: held" in found.why


def test_a_call_that_needs_a_word_waits_for_a_person() -> None:
    """Not for a life: until upstream's expiry, and with the command that says the word."""
    spec = replace(PAY, requires_approval=True)
    facts = took(armed(accepted(), Create(1)), FUNCTION)
    facts = decide(facts, Elapsed(), context(tools=[spec]), source=Source.policy).after
    facts = replace(
        facts, remotes=(replace(facts.remotes[0], settled=False, expires_at=later(60)),)
    )
    found = said(facts)

    assert ("runtools", WaitingFor.person) == (found.step, found.waiting_for)
    assert (NOW, later(60)) == (found.since, found.until)
    assert "runward tools approve" in found.why


def test_a_cancel_under_way_has_an_end() -> None:
    """A cancel that was sent is given up at a known time."""
    facts = operator.carry_out(running(), operator.cancel(None), now=NOW, actor="ann").after
    facts = arm(facts, Cancel(1), context()).after
    found = said(facts)

    assert (WaitingFor.upstream, NOW, later(120)) == (found.waiting_for, found.since, found.until)
    assert "a cancel was sent 1 times" in found.why


def test_a_restart_waits_for_the_old_object() -> None:
    """The next attempt is not sent before the last one is over upstream."""
    facts = accepted(policy=Policy(deadline_seconds=60))
    facts = took(armed(facts, Create(1)), response())
    facts = decide(facts, Elapsed(), context(later(61)), source=Source.policy).after
    restarted = operator.carry_out(
        facts, operator.restart_run(None, None), now=later(62), actor="ann"
    ).after
    found = said(restarted, 63)

    assert ("create", WaitingFor.tail) == (found.step, found.waiting_for)
    assert "attempt 2 is sent once response resp_1 of attempt 1 is over" in found.why


def test_a_verdict_with_a_tail_and_one_without() -> None:
    """What is still watched after the verdict; then nothing more happens."""
    facts = accepted(policy=Policy(deadline_seconds=60))
    facts = took(armed(facts, Create(1)), response())
    late = decide(facts, Elapsed(), context(later(61)), source=Source.policy).after
    done = took(armed(accepted(), Create(1)), response("completed", output=[{"type": "message"}]))

    assert WaitingFor.tail == said(late, 62).waiting_for
    assert "the verdict stands; response resp_1 is watched" in said(late, 62).why
    assert ("none", None) == (said(done).step, said(done).waiting_for)
