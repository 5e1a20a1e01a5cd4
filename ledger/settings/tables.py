"""The tables of the configuration: profiles, how their runs are watched, limits, endpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

OPENAI_BASE_URL: Final = "https://api.openai.com/v1"
VARIABLE: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
RETENTION_SECONDS: Final = {"responses": 600.0}
"""Some projects keep a background response for about ten minutes (OpenAI's background guide); a
thread and its messages stay."""


class Pacing(BaseModel):
    """How runs are watched. At most one of `worth` and the two targets; None takes the default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Literal["learned", "backoff", "fixed"] = "learned"
    worth: float | None = Field(default=None, ge=1e-4, le=1e4)
    """Learned: what a second of delay is worth, in calls."""
    notice_within_seconds: float | None = Field(default=None, ge=0.1, le=3_600.0)
    """Learned: from a run's end to our noticing it, on average over the profile's runs."""
    calls_per_minute: float | None = Field(default=None, ge=0.1, le=1e6)
    """Learned: looks at all of the profile's runs together, on average."""
    start_seconds: float | None = Field(default=None, ge=0.05, le=600.0)
    factor: float | None = Field(default=None, ge=1.0, le=10.0)
    cap_seconds: float | None = Field(default=None, ge=0.05, le=3_600.0)
    every_seconds: float | None = Field(default=None, ge=0.05, le=3_600.0)

    @model_validator(mode="after")
    def _one_aim(self) -> Self:
        aims = (self.worth, self.notice_within_seconds, self.calls_per_minute)
        if sum(aim is not None for aim in aims) > 1:
            raise ValueError("give one of worth, notice_within_seconds and calls_per_minute")
        return self


class Limits(BaseModel):
    """How many calls a credential may make, and between whom they are shared fairly."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: float | None = Field(default=None, ge=1.0, le=10_000_000.0)
    """None: what upstream's headers say, else what its refusals leave."""
    fair_tag: str = Field(default="team", max_length=64)
    """The values of this tag take turns; runs without it are one flow."""


def without_credentials(url: str) -> str:
    """An upstream's address as it is written into the ledger. Raises ValueError where it holds
    credentials."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError(
            "the address holds a user name or a password, and it would be kept: leave them out;"
            " the key is in the variable that key_variable names"
        )
    return url


class Profile(BaseModel):
    """Where runs go: base URL, project, and the *name* of the variable that holds the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = OPENAI_BASE_URL
    key_variable: str = Field(default="OPENAI_API_KEY", pattern=VARIABLE)
    project: str | None = None
    organization: str | None = None
    result_retention_seconds: float | None = Field(default=None, ge=1.0, le=31_536_000.0)
    """So long upstream keeps a result once it is there; by default RETENTION_SECONDS says."""
    deadline: str | None = None
    """How long a run may take that names no deadline of its own; by default `deadline` says."""
    pacing: Pacing | None = None
    webhooks: bool = False
    """Whether upstream tells us of the ends of this profile's runs."""
    webhook_secret_variable: str | None = Field(default=None, pattern=VARIABLE)
    webhook_secret_file: Path | None = None
    limits: Limits | None = None
    """By default those of the whole configuration."""

    @field_validator("base_url")
    @classmethod
    def _without_credentials(cls, url: str) -> str:
        return without_credentials(url)

    @model_validator(mode="after")
    def _signed(self) -> Self:
        named = self.webhook_secret_variable or self.webhook_secret_file
        if self.webhooks and not named:
            raise ValueError("webhooks = true needs webhook_secret_variable or webhook_secret_file")
        return self

    def retention_seconds(self, provider: str) -> float | None:
        """How long results can be read; None for good."""
        return self.result_retention_seconds or RETENTION_SECONDS.get(provider)


class Outbound(BaseModel):
    """An endpoint of yours that is told what happens to runs, by signed webhooks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(max_length=2_000)
    events: tuple[str, ...] = (
        "run.completed",
        "run.incomplete",
        "run.failed",
        "run.expired",
        "run.cancelled",
    )
    secret_variable: str = Field(pattern=VARIABLE)
    """The *name* of the variable that holds the signing secret, whsec_…"""
    timeout_seconds: float = Field(default=10.0, ge=0.1, le=120.0)


class ErrorGroup(BaseModel):
    """Failures that are one to you, whatever their fingerprints: all that is said must fit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str | None = Field(default=None, max_length=200)
    origin: Literal["remote", "transport", "tool", "ledger"] | None = None
    code: str | None = Field(default=None, max_length=200)
    http_status: int | None = Field(default=None, ge=100, le=599)
    tool: str | None = Field(default=None, max_length=200)
    message: str | None = Field(default=None, min_length=1, max_length=200)
    """A part of the masked message."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(value is not None for value in self.model_dump().values()):
            raise ValueError("say at least one of " + ", ".join(type(self).model_fields))
        return self
