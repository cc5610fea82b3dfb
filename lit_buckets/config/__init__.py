"""What a user may set, and the checks that everything set is right. Nothing is read before.

Each part imports only from those before it:

1. ``text``: how values are written in messages, and the form of every message.
2. ``frozen``: mappings that cannot change.
3. ``options``: what an option is.
4. ``schema``: the dataclasses with all options, the single source of truth.
5. ``reading``: YAML, mapping, OmegaConf object or dataclass, and overrides, to a plain mapping.
   Beside ``writing`` the only place that knows OmegaConf.
6. ``contradictions``: settings that cannot hold together.
7. ``augmentation``: transforms by name, with their parameters.
8. ``source_checks``: sources that are not what they claim to be.
9. ``checks``: plain mapping to :class:`Config`, or the error that names what is wrong.
10. ``writing``: plain mapping to the text of a YAML file. It knows OmegaConf, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from lit_buckets.config.checks import build, build_sources
from lit_buckets.config.options import Option
from lit_buckets.config.reading import plain, read
from lit_buckets.config.schema import (
    BatchesConfig,
    BucketsConfig,
    Config,
    DataConfig,
    LoaderConfig,
    NormalizeConfig,
    SourceConfig,
    TransformConfig,
    describe,
)
from lit_buckets.config.source_checks import as_source
from lit_buckets.config.writing import to_yaml

__all__ = [
    "BatchesConfig",
    "BucketsConfig",
    "Config",
    "DataConfig",
    "LoaderConfig",
    "NormalizeConfig",
    "Option",
    "SourceConfig",
    "TransformConfig",
    "as_source",
    "describe",
    "load_config",
    "sources",
    "to_plain",
    "to_yaml",
]


def load_config(
    config: str | os.PathLike[str] | Mapping[str, Any] | Config, overrides: Sequence[str] = ()
) -> Config:
    """The checked configuration, from whatever form a user has it in.

    What is not set takes its default; ``data.train`` has none. Every source comes out as a tuple of
    :class:`SourceConfig`, whether one folder, one mapping or a list was given; ``data.val`` may be
    a share of the training images instead. Relative paths begin at the current working directory
    and stay relative; ``~`` is expanded. Strings are taken as they are: there is no interpolation,
    no environment variable and no class path, and a value with ``${`` is refused.

    Args:
        config: Path to a YAML file, mapping, OmegaConf object, or :class:`Config` (checked again).
        overrides: Strings ``section.key=value``, applied in order, each value read as YAML. One
            replaces the value at its key; given a whole section, it replaces the keys it names.
            Entries of a list are counted from 0: ``data.train[1].repeats=2``.

    Returns:
        A frozen configuration of plain values.

    Raises:
        ConfigError: At the first unknown key, wrong type, value out of range, contradiction,
            missing folder, or unreadable file, with its dotted key, the numbers, and one fix.

    Example:
        >>> config = load_config({"data": {"train": "."}}, ["buckets.max_area=65536"])
        >>> config.data.train, config.buckets.max_area
        ((SourceConfig(path='.'),), 65536)
        >>> load_config({"data": {"train": "."}, "buckets": {"divsor": 32}})
        Traceback (most recent call last):
            ...
        lit_buckets.errors.ConfigError: buckets.divsor=32 is not a known key; buckets has 14 keys. \
Did you mean buckets.divisor?
    """
    return build(read(config, overrides))


def sources(value: object, key: str = "sources") -> list[SourceConfig]:
    """The sources that one value names, checked as in a configuration.

    Args:
        value: Path, mapping with the keys of :class:`SourceConfig`, :class:`SourceConfig`, or a
            list of these; None for no source. A share, as ``data.val`` may be, is not a source.
        key: What messages call the value.

    Returns:
        A list, empty for None.

    Raises:
        ConfigError: If the value is none of these, or a folder does not exist.

    Example:
        >>> sources([".", {"path": ".", "repeats": 2}])[1]
        SourceConfig(path='.', repeats=2)
    """
    return [] if value is None else list(build_sources(plain(value, key), key))


def to_plain(config: Config) -> dict[str, Any]:
    """The configuration as dicts, lists and scalars, for checkpoints and YAML.

    Args:
        config: A checked configuration.

    Returns:
        A new mapping with every key; ``load_config`` makes an equal configuration of it.

    Example:
        >>> to_plain(load_config({"data": {"train": "."}}))["transform"]["background"]
        [255, 255, 255]
    """
    result: dict[str, Any] = plain(config)
    return result
