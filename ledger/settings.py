"""Configuration: flag > environment > .env > secrets directory > runward.toml > default."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import platformdirs
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ledger.credentials import secret_directories
from ledger.errors import ConfigurationError

OPENAI_BASE_URL: Final = "https://api.openai.com/v1"
CONFIG_FILE: Final = "runward.toml"
VARIABLE: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
QUEUE_URL: Final = r"^https?://[^/\s]+/\S+$"
RETENTION_SECONDS: Final = {"responses": 600.0}
"""Some projects keep a background response for about ten minutes (OpenAI's background guide); a
thread and its messages stay."""


def default_database_url() -> str:
    """One SQLite file in the user's data directory."""
    folder = Path(platformdirs.user_data_dir("runward", appauthor=False))
    return f"sqlite:///{folder / 'runs.db'}"


class Limits(BaseModel):
    """How many calls a credential may make, and between whom they are shared fairly."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: float | None = Field(default=None, ge=1.0, le=10_000_000.0)
    """None: what upstream's headers say, else what its refusals leave."""
    fair_tag: str = Field(default="team", max_length=64)
    """The values of this tag take turns; runs without it are one flow."""


class Profile(BaseModel):
    """Where runs go: base URL, project, and the *name* of the variable that holds the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = OPENAI_BASE_URL
    key_variable: str = Field(default="OPENAI_API_KEY", pattern=VARIABLE)
    project: str | None = None
    organization: str | None = None
    result_retention_seconds: float | None = Field(default=None, ge=1.0, le=31_536_000.0)
    """So long upstream keeps a result once it is there; by default RETENTION_SECONDS says."""
    webhooks: bool = False
    """Whether upstream tells us of the ends of this profile's runs."""
    webhook_secret_variable: str | None = Field(default=None, pattern=VARIABLE)
    webhook_secret_file: Path | None = None
    limits: Limits | None = None
    """By default those of the whole configuration."""

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


APART = ("RUNWARD_TEST_", "RUNWARD_DEMO_")
"""What our own tests and the demo say to each other."""


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
    concurrency: int = Field(default=64, ge=1, le=10_000)
    lease_seconds: float = Field(default=30.0, ge=3.0, le=3_600.0)
    settle_seconds: float = Field(default=30.0, ge=0.0, le=3_600.0)
    poll_seconds: float | None = Field(default=None, ge=0.01, le=3_600.0)
    deadline: str = "24h"
    restart: str = "expired=2"
    tools: str | None = None
    redact: str | None = None
    seal_seconds: float = Field(default=60.0, ge=1.0, le=86_400.0)
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
        _check_keys(path)
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
    _refuse_unknown(flags, set(Settings.model_fields), "settings")
    _check_environment()
    try:
        return Settings(_secrets_dir=secret_directories()[::-1], **flags)  # type: ignore[call-arg]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{place}: {first['msg']}") from None


def config_path() -> Path | None:
    """The configuration file in use: RUNWARD_CONFIG, ./runward.toml, the user's, or /etc."""
    named = os.environ.get("RUNWARD_CONFIG")
    if named:
        if not Path(named).is_file():
            raise ConfigurationError(f"RUNWARD_CONFIG names {named}, which is no file")
        return Path(named)
    places = (
        Path(CONFIG_FILE),
        Path(platformdirs.user_config_dir("runward", appauthor=False)) / "config.toml",
        Path("/etc/runward/config.toml"),
    )
    return next((place for place in places if place.is_file()), None)


def _check_environment() -> None:
    """A variable that nobody reads is a typing error, and would otherwise be one in silence."""
    known = {"RUNWARD_CONFIG"}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [f"RUNWARD_{name}"]
        known |= {str(choice).upper() for choice in choices}
    ours = [name for name in os.environ if name.upper().startswith("RUNWARD_")]
    given = {name: name.upper().partition("__")[0] for name in ours}
    unread = [n for n, stem in given.items() if stem not in known and not stem.startswith(APART)]
    _refuse_unknown(dict.fromkeys(unread), known, "environment")
    prefix = "RUNWARD_LIMITS__"
    within = [name.upper() for name in ours if name.upper().startswith(prefix)]
    fields = {f"{prefix}{name.upper()}" for name in Limits.model_fields}
    _refuse_unknown(dict.fromkeys(within), fields, "environment")


def _check_keys(path: Path) -> None:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    _refuse_unknown(content, set(Settings.model_fields), str(path))
    for name, profile in content.get("profiles", {}).items():
        if isinstance(profile, Mapping):
            place = f"{path}: [profiles.{name}]"
            _refuse_unknown(profile, set(Profile.model_fields), place)
            _refuse_unknown_within(profile, "limits", Limits, place.replace("]", ".limits]"))
    _refuse_unknown_within(content, "limits", Limits, f"{path}: [limits]")
    for name, endpoint in content.get("outbound", {}).items():
        if isinstance(endpoint, Mapping):
            _refuse_unknown(endpoint, set(Outbound.model_fields), f"{path}: [outbound.{name}]")


def _refuse_unknown_within(
    content: Mapping[str, Any], name: str, model: type[BaseModel], place: str
) -> None:
    nested = content.get(name)
    if isinstance(nested, Mapping):
        _refuse_unknown(nested, set(model.model_fields), place)


def _refuse_unknown(content: Mapping[str, Any], known: set[str], place: str) -> None:
    for key in content:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
            raise ConfigurationError(f"{place}: there is no key {key!r}", hint=hint)


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
