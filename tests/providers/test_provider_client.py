"""The credential and the client."""

from __future__ import annotations

import subprocess
import sys

import pytest
from scripted_upstream import BASE_URL, CANARY, Upstream, ask, profile, response, response_address

from ledger.core.families import FAMILIES
from ledger.errors import ConfigurationError, MissingCredential
from ledger.providers import PROVIDERS, open_provider
from ledger.providers.assistants import AssistantsProvider
from ledger.providers.client import build_client, credential_fingerprint, read_key
from ledger.providers.responses import ResponsesProvider
from ledger.providers.seam import Provider


def test_the_key_is_read_from_the_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_KEY", f" {CANARY}\r\n")
    assert read_key(profile(key_variable="TEAM_KEY")) == CANARY


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_key_names_the_variable_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("TEAM_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TEAM_KEY", value)
    with pytest.raises(MissingCredential, match="TEAM_KEY") as caught:
        read_key(profile(key_variable="TEAM_KEY"))
    assert "open the ledger again" in (caught.value.hint or "")


@pytest.mark.parametrize("value", ["two words", "caf\u00e9-key-0123", "line\nbreak"])
def test_what_cannot_be_a_key_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TEAM_KEY", value)
    with pytest.raises(MissingCredential) as caught:
        read_key(profile(key_variable="TEAM_KEY"))
    assert value not in str(caught.value)


def test_the_fingerprint_is_stable_and_tells_keys_apart() -> None:
    assert credential_fingerprint(CANARY) == credential_fingerprint(CANARY)
    assert credential_fingerprint(CANARY) != credential_fingerprint(CANARY + "x")
    assert len(credential_fingerprint(CANARY)) == 12


@pytest.mark.parametrize(
    "base_url",
    ["", "upstream.test/v1", "ftp://upstream.test", "http://", "http://[::1", "http://a/v1?x=1"],
)
def test_a_base_url_that_is_none(base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="base URL"):
        build_client(profile(base_url=base_url), key=CANARY)


def test_the_account_is_what_the_profile_says(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org_ambient")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_ambient")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://ambient.test/v1")
    upstream.say(response())
    ask(upstream, lambda provider: provider.observe(response_address()))
    ask(
        upstream,
        lambda provider: provider.observe(response_address()),
        organization="org_1",
        project="proj_1",
    )
    plain, named = upstream.requests
    assert "openai-organization" not in plain.headers
    assert "openai-project" not in plain.headers
    assert str(plain.url) == f"{BASE_URL}/responses/resp_1"
    assert named.headers["openai-organization"] == "org_1"
    assert named.headers["openai-project"] == "proj_1"


@pytest.mark.parametrize(
    ("name", "kind"), [("responses", ResponsesProvider), ("assistants", AssistantsProvider)]
)
def test_a_provider_is_opened_by_name(name: str, kind: type[Provider]) -> None:
    assert isinstance(open_provider(profile(name), CANARY), kind)


def test_every_family_has_a_provider() -> None:
    assert PROVIDERS.keys() == FAMILIES.keys()


def test_an_unknown_provider_names_the_known() -> None:
    with pytest.raises(ConfigurationError, match="responses, assistants"):
        open_provider(profile("agents"), CANARY)


def test_no_client_is_imported_before_a_provider_is_opened() -> None:
    code = (
        "import sys, ledger.providers, ledger.providers.client, ledger.providers.seam;"
        "sys.exit(bool({'openai', 'httpx2', 'aiohttp'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
