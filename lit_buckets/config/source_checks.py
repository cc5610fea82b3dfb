"""Whether a source is what it claims to be, as far as that can be told without listing it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lit_buckets.config.schema import SourceConfig
from lit_buckets.config.text import printable, problem, show
from lit_buckets.errors import ConfigError
from lit_buckets.sources import (
    KINDS,
    ShardSource,
    Source,
    TableSource,
    kind_of,
    open_source,
    options_of_kind,
)
from lit_buckets.storage import absolute, is_remote

__all__ = ["NOTHING", "as_source", "check_source", "not_a_folder"]

#: How the reason begins where a path names nothing.
NOTHING = "there is nothing at"


def as_source(config: SourceConfig) -> Source:
    """The source that a configuration describes; nothing is listed.

    Raises:
        ConfigError: If an option is out of its range.
    """
    kind = config.kind or kind_of(config.path)
    options = {name: getattr(config, name) for name in options_of_kind(kind)}
    return open_source(config.path, kind, **options)


def check_source(config: SourceConfig, key: str, path_key: str) -> None:
    """Refuse keys of another kind, a local path at which there is nothing, and wrong options.

    Args:
        config: The source.
        key: Its dotted name, for messages.
        path_key: That of its path.

    Raises:
        ConfigError: At the first mistake.
    """
    kind = config.kind or kind_of(config.path)
    _check_keys(config, kind, key)
    try:
        source = as_source(config)
    except ConfigError as error:  # "path=... must ...": sources know no dotted names
        raise ConfigError(printable(f"{key}.{error}")) from None
    if not is_remote(absolute(config.path)):
        _check_path(config.path, source, path_key)


def _check_keys(config: SourceConfig, kind: str, key: str) -> None:
    known = options_of_kind(kind)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in ("path", "kind", *known) or value == field.default:
            continue
        having = [other for other in KINDS if field.name in options_of_kind(other)]
        rule = f"is no key of a source of kind {kind}"
        numbers = f"it belongs to {len(having)} of {len(KINDS)} kinds, {', '.join(having)}"
        raise problem(f"{key}.{field.name}", value, rule, numbers, "Remove it.")


def _check_path(path: str, source: Source, key: str) -> None:
    place = absolute(path)
    if isinstance(source, ShardSource):
        if not any(Path(source.root, name).exists() for name in source.names()):
            where = f"0 files are there that {show(source.label)} means"
            raise problem(key, path, "must name existing shards", where, "Check the pattern.")
    elif isinstance(source, TableSource):
        if not Path(place).is_file():
            where = f"there is none at {show(place)}"
            raise problem(key, path, "must be an existing table", where, "Check the path.")
    elif reason := not_a_folder(place):
        fix = f"Set {key} to a folder of images."
        raise problem(key, path, "must be an existing folder", reason, fix)


def not_a_folder(path: str) -> str | None:
    """Why a path is no folder; None if it is one. Relative paths begin at the working directory."""
    try:
        place = Path(path)
        if place.is_dir():
            return None
        what = f"{NOTHING} {show(str(place.absolute()))}"
        return "a file is there" if place.exists() else what
    except OSError as error:
        return error.strerror or str(error)
