"""`runward limits`: what is allowed, what is left, what was refused; and its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import CommandLine, assert_clear
from support import SQLITE

from ledger.errors import ConfigurationError
from ledger.settings import load_settings

pytestmark = [SQLITE, pytest.mark.usefixtures("sim")]


def test_limits_as_configured_and_seen(runward: CommandLine, home: Path) -> None:
    """The lower one is shared by the lives; what upstream has left is what it said last."""
    (home / "runward.toml").write_text("[limits]\nrequests_per_minute = 600\n")
    assert [] == runward("limits", "-o", "json").json
    runward.submit()
    assert 0 == runward("daemon", "--drain").code

    (row,) = runward("limits", "-o", "json").json

    assert (600.0, 10_000.0, 600.0) == (row["configured"], row["seen"], row["limit"])
    assert ("closed", None, 600.0) == (row["state"], row["why"], row["share"])
    assert 9_000 < row["left"] <= 10_000
    assert 0.9 < row["headroom"] <= 1.0
    assert (0, 0) == (row["refused_1h"], row["refused_24h"])
    table = runward("limits").out
    assert "throttled_seconds_1h" in table
    assert "default" in table


def test_a_stopped_account_says_why(runward: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty purse nothing is sent but a probe, and the reason is there."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-broke-0123456789")
    runward.submit()
    assert 0 == runward("daemon", "--once").code

    (row,) = runward("limits", "-o", "json").json

    assert ("stopped", "QuotaExhausted") == (row["state"], row["why"])
    assert 0 == row["refused_24h"]


def test_a_wrong_key_of_the_limits_is_refused(runward: CommandLine, home: Path) -> None:
    """At the top, and in a profile; the right one is suggested."""
    for text in (
        "[limits]\nrequest_per_minute = 5\n",
        "[profiles.fast]\n[profiles.fast.limits]\nrequest_per_minute = 5\n",
    ):
        (home / "runward.toml").write_text(text)
        failed = runward("limits")
        assert_clear(failed)
        assert 4 == failed.code
        assert "did you mean 'requests_per_minute'?" in failed.err


@pytest.mark.usefixtures("runward")
def test_limits_of_profiles_and_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile's own, else those at the top; the environment goes before the file."""
    (home / "runward.toml").write_text(
        "[limits]\nrequests_per_minute = 5\nfair_tag = 'customer'\n"
        "[profiles.fast]\n[profiles.fast.limits]\nrequests_per_minute = 50\n[profiles.slow]\n"
    )
    settings = load_settings()
    assert (50.0, "team") == _of(settings.limits_of("fast"))
    assert (5.0, "customer") == _of(settings.limits_of("slow"))
    assert (5.0, "customer") == _of(settings.limits_of("default"))

    monkeypatch.setenv("RUNWARD_LIMITS__REQUESTS_PER_MINUTE", "7")
    assert (7.0, "customer") == _of(load_settings().limits_of("default"))
    for name, value in (("REQUESTS_PER_MINUTE", "0"), ("REQUESTS_PER_MINUTE", "nan")):
        monkeypatch.setenv(f"RUNWARD_LIMITS__{name}", value)
        with pytest.raises(ConfigurationError, match="requests_per_minute"):
            load_settings()
    monkeypatch.delenv("RUNWARD_LIMITS__REQUESTS_PER_MINUTE")
    monkeypatch.setenv("RUNWARD_LIMITS__FAIR_TAGS", "x")
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert "RUNWARD_LIMITS__FAIR_TAG" in (refused.value.hint or "")


def _of(limits: object) -> tuple[float | None, str]:
    return limits.requests_per_minute, limits.fair_tag  # type: ignore[attr-defined]
