"""Commands to begin with: a configuration for a folder, and the sizes of its images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import rich
import typer
from rich.table import Table

from lit_buckets.cli.arguments import ConfigPath, Overrides
from lit_buckets.cli.opening import open_config
from lit_buckets.cli.printing import plain, say
from lit_buckets.errors import ConfigError
from lit_buckets.manifest import Refused, replace_text

__all__ = ["init", "scan"]

_MOST_NAMED = 10


def init(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where the training images are.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", dir_okay=False, help="The configuration to write."
        ),
    ] = Path("config.yaml"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.")
    ] = False,
) -> None:
    """Write a commented configuration for a folder, with values that suit its images."""
    if output.exists() and not force:
        raise ConfigError(f"{str(output)!r} is there already. Name another, or add --force.")
    from lit_buckets.draft import draft

    replace_text(output, draft(folder).text)
    say(f"{output} is written. See what it does: lit-buckets plan {output}")


def scan(config: ConfigPath, overrides: Overrides = None) -> None:
    """Size all images of a configuration; what has not changed since is not read again.

    Files that cannot be read are listed with their reasons. They are no error, unless
    data.on_unreadable=error.
    """
    settings = open_config(config, overrides)
    from lit_buckets.stages import STAGES, open_stage, scan_stage

    table = Table("stage", "images", "unreadable", "sizes are in")
    for column in table.columns[1:3]:
        column.justify = "right"
    table.columns[3].overflow = "fold"
    refused: list[Refused] = []
    for stage in STAGES:
        scan_stage(settings, stage)
        if (images := open_stage(settings, stage)) is not None:
            manifest = images.manifest
            counts = f"{len(manifest):,}", f"{len(manifest.refused):,}"
            table.add_row(stage, *counts, plain(str(manifest.file)))
            refused += manifest.refused[:_MOST_NAMED]
    rich.print(table)
    for path, reason in refused:
        say(f"unreadable: {path}: {reason}")
