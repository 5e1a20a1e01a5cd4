"""Where the configuration file is, and whether anybody reads what stands in it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import platformdirs
from pydantic import AliasChoices, BaseModel

from ledger.errors import ConfigurationError
from ledger.errors.ours import unknown_name

CONFIG_FILE: Final = "runward.toml"
PREFIX: Final = "RUNWARD_"
APART: Final = ("RUNWARD_TEST_", "RUNWARD_DEMO_")
"""What our own tests and the demo say to each other."""


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


def check_environment(model: type[BaseModel]) -> None:
    """A variable that nobody reads is a typing error, and would otherwise be one in silence."""
    known, tables = {"RUNWARD_CONFIG"}, {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [PREFIX + name]
        known |= {str(choice).upper() for choice in choices}
        table = _table(field.annotation)
        if table is not None and get_origin(field.annotation) is not dict:
            tables[(PREFIX + name).upper()] = table
    ours = [name for name in os.environ if name.upper().startswith(PREFIX)]
    stems = {name: name.upper().partition("__")[0] for name in ours}
    unread = [
        name for name in ours if stems[name] not in known and not stems[name].startswith(APART)
    ]
    refuse_unknown(unread, known, "environment")
    for stem, table in tables.items():
        within = [name.upper() for name in ours if name.upper().startswith(f"{stem}__")]
        fields = {f"{stem}__{field.upper()}" for field in table.model_fields}
        refuse_unknown(within, fields, "environment")


def check_file(path: Path, model: type[BaseModel]) -> None:
    """Raises ConfigurationError for a file that cannot be read, and for a key that nobody reads."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    _check_table(content, model, str(path), ())


def _check_table(content: Any, model: type[BaseModel], path: str, place: tuple[str, ...]) -> None:
    """The keys of a table and of those within it; what is no table is refused by its model."""
    if not isinstance(content, Mapping):
        return
    where = f"{path}: [{'.'.join(place)}]" if place else path
    refuse_unknown(content, set(model.model_fields), where)
    for name, field in model.model_fields.items():
        table, within = _table(field.annotation), content.get(name)
        if table is None or not isinstance(within, Mapping):
            continue
        if get_origin(field.annotation) is dict:
            for key, one in within.items():
                _check_table(one, table, path, (*place, name, str(key)))
        else:
            _check_table(within, table, path, (*place, name))


def _table(annotation: Any) -> type[BaseModel] | None:
    """The model of a nested table, or of each table in a dictionary of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _table(part))), None)


def refuse_unknown(given: Iterable[str], known: set[str], place: str) -> None:
    """Raises ConfigurationError for the first key that is not known, naming the nearest."""
    for key in given:
        if key not in known:
            raise unknown_name(key, sorted(known), place)
