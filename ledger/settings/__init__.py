"""Configuration: flag > environment > .env > secrets directory > runward.toml > default."""

from __future__ import annotations

import os
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

import platformdirs
from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ledger.credentials import secret_directories
from ledger.errors import ConfigurationError
from ledger.settings.checks import (
    CONFIG_FILE,
    check_environment,
    check_file,
    config_path,
    refuse_unknown,
)
from ledger.settings.tables import (
    OPENAI_BASE_URL,
    ErrorGroup,
    Limits,
    Outbound,
    Pacing,
    Profile,
    without_credentials,
)

__all__ = [
    "CONFIG_FILE",
    "OPENAI_BASE_URL",
    "Limits",
    "Outbound",
    "Pacing",
    "Profile",
    "Settings",
    "config_path",
    "load_settings",
    "origin_of",
]

QUEUE_URL: Final = r"^https?://[^/\s]+/\S+$"


def default_database_url() -> str:
    """One SQLite file in the user's data directory."""
    folder = Path(platformdirs.user_data_dir("runward", appauthor=False))
    return f"sqlite:///{folder / 'runs.db'}"


class Settings(BaseSettings):
    """Everything that can be configured. Secrets are not: only the names of their variables."""

    model_config = SettingsConfigDict(
        env_prefix="RUNWARD_",
        env_nested_delimiter="__",
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    database_url: str = Field(
        default_factory=default_database_url,
        validation_alias=AliasChoices("database_url", "RUNWARD_DATABASE_URL", "DATABASE_URL"),
    )
    direct_url: str | None = None
    openai_base_url: str = Field(
        default=OPENAI_BASE_URL,
        validation_alias=AliasChoices("openai_base_url", "OPENAI_BASE_URL"),
    )
    openai_project: str | None = Field(
        default=None, validation_alias=AliasChoices("openai_project", "OPENAI_PROJECT_ID")
    )
    openai_organization: str | None = Field(
        default=None, validation_alias=AliasChoices("openai_organization", "OPENAI_ORG_ID")
    )
    openai_webhooks: bool = False
    openai_webhook_secret_file: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("openai_webhook_secret_file", "OPENAI_WEBHOOK_SECRET_FILE"),
    )
    sqs_queue_url: str | None = Field(default=None, pattern=QUEUE_URL, max_length=2_048)
    """The queue that a Lambda function puts webhook deliveries on, where there is one."""
    sqs_dead_letter_url: str | None = Field(default=None, pattern=QUEUE_URL, max_length=2_048)
    profiles: dict[str, Profile] = Field(default_factory=dict)
    outbound: dict[str, Outbound] = Field(default_factory=dict)
    limits: Limits = Field(default_factory=Limits)
    error_groups: dict[str, ErrorGroup] = Field(default_factory=dict)
    """How `errors` regroups fingerprints; the first that fits counts."""
    concurrency: int = Field(default=64, ge=1, le=10_000)
    lease_seconds: float = Field(default=30.0, ge=3.0, le=3_600.0)
    settle_seconds: float = Field(default=30.0, ge=0.0, le=3_600.0)
    poll_seconds: float | None = Field(default=None, ge=0.01, le=3_600.0)
    pacing: Pacing = Pacing()
    """Of the default profile, and of those without a table of their own."""
    deadline: str = "24h"
    restart: str = "expired=2"
    tools: str | None = None
    redact: str | None = None
    seal_seconds: float = Field(default=60.0, ge=1.0, le=86_400.0)
    prices: Path | None = None
    """A price table of your own, over the one that comes with the program."""
    call_price_usd: Decimal = Field(default=Decimal(0), ge=0, le=1_000)
    """What one call costs. No price for a status call is published, so it is nothing."""
    endpoint_monthly_usd: Decimal | None = Field(default=None, ge=0, le=1_000_000)
    """What it costs to keep a webhook endpoint for a month."""
    poison_deaths: int = Field(default=3, ge=1, le=100)
    shutdown_grace_seconds: float = Field(default=25.0, ge=0.0, le=600.0)
    host: str = Field(default="127.0.0.1", min_length=1, max_length=255)
    port: int = Field(
        default=8787,
        ge=0,
        le=65_535,
        validation_alias=AliasChoices("port", "RUNWARD_PORT", "PORT"),
    )
    log_level: str = Field(
        default="INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        validation_alias=AliasChoices("log_level", "RUNWARD_LOG_LEVEL", "LOG_LEVEL"),
    )
    log_format: Literal["auto", "console", "json", "logfmt"] = "auto"
    """auto: console on a terminal, else json."""

    @field_validator("openai_base_url")
    @classmethod
    def _without_credentials(cls, url: str) -> str:
        return without_credentials(url)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the TOML file last, after its keys have been checked."""
        sources = (init_settings, env_settings, dotenv_settings, file_secret_settings)
        path = config_path()
        if path is None:
            return sources
        check_file(path, settings_cls)
        return (*sources, TomlConfigSettingsSource(settings_cls, toml_file=path))

    def profile(self, name: str = "default") -> Profile:
        """A profile by name. Raises ConfigurationError with the known names."""
        if name in self.profiles:
            return self.profiles[name]
        if name == "default":
            return Profile(
                base_url=self.openai_base_url,
                project=self.openai_project,
                organization=self.openai_organization,
                webhooks=self.openai_webhooks,
                webhook_secret_variable="OPENAI_WEBHOOK_SECRET",  # noqa: S106 - a name
                webhook_secret_file=self.openai_webhook_secret_file,
            )
        known = ", ".join(sorted({"default", *self.profiles}))
        raise ConfigurationError(f"there is no profile {name!r}", hint=f"the profiles are: {known}")

    def pacing_of(self, name: str) -> Pacing:
        """How a profile's runs are watched."""
        return self.profile(name).pacing or self.pacing

    def limits_of(self, name: str) -> Limits:
        """The limits of a profile. Raises ConfigurationError for a name that is none."""
        return self.profile(name).limits or self.limits

    def covered(self) -> frozenset[str]:
        """The profiles whose runs webhooks tell of."""
        return frozenset(name for name in self.profile_names() if self.profile(name).webhooks)

    def profile_names(self) -> list[str]:
        """All profile names, the default first."""
        return ["default", *sorted(set(self.profiles) - {"default"})]


def load_settings(**given: Any) -> Settings:
    """The settings, with what a caller or a flag gives (None means not given) on top.

    Raises ConfigurationError, naming the key and what was expected.
    """
    flags = {name: value for name, value in given.items() if value is not None}
    refuse_unknown(flags, set(Settings.model_fields), "settings")
    check_environment(Settings)
    try:
        return Settings(_secrets_dir=secret_directories()[::-1], **flags)  # type: ignore[call-arg]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


def origin_of(name: str) -> str:
    """Where the value of a setting comes from, for `config show`."""
    aliases = {
        "database_url": ("RUNWARD_DATABASE_URL", "DATABASE_URL"),
        "openai_base_url": ("OPENAI_BASE_URL",),
        "openai_project": ("OPENAI_PROJECT_ID",),
        "openai_webhook_secret_file": ("OPENAI_WEBHOOK_SECRET_FILE",),
        "openai_organization": ("OPENAI_ORG_ID",),
        "port": ("RUNWARD_PORT", "PORT"),
        "log_level": ("RUNWARD_LOG_LEVEL", "LOG_LEVEL"),
    }
    for variable in aliases.get(name, (f"RUNWARD_{name.upper()}",)):
        if any(key.upper() == variable for key in os.environ):
            return f"environment {variable}"
    for place in secret_directories():
        for variable in (*aliases.get(name, ()), name, f"RUNWARD_{name.upper()}"):
            if (place / variable).is_file():
                return str(place / variable)
    path = config_path()
    if path is not None and name in tomllib.loads(path.read_text(encoding="utf-8")):
        return str(path)
    return "default"
