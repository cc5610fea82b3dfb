"""From what a command was given to a configuration, and to images that are sized and planned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lit_buckets.config import Config, load_config

if TYPE_CHECKING:
    from lit_buckets.datamodule import BucketDataModule

__all__ = ["open_config", "open_images"]


def open_config(path: Path, overrides: Sequence[str] | None) -> Config:
    """The checked configuration; a folder stands for the defaults with its images to train on.

    Raises:
        ConfigError: If it has a mistake.
    """
    given = {"data": {"train": str(path)}} if path.is_dir() else path
    return load_config(given, overrides or ())


def open_images(
    path: Path, overrides: Sequence[str] | None, stage: str | None = None
) -> BucketDataModule:
    """A datamodule whose setup pass has run.

    Args:
        path: The configuration, or a folder.
        overrides: Put into the configuration.
        stage: fit, validate, test or predict, as Lightning's ``setup`` takes it; ``None`` for all.

    Raises:
        ConfigError: If the configuration has a mistake.
        DataError: If there is no readable image.
    """
    config = open_config(path, overrides)  # mistakes come at once, before seconds of imports
    from lit_buckets.datamodule import BucketDataModule

    dm = BucketDataModule(config)
    dm.prepare_data()
    dm.setup(stage)
    return dm
