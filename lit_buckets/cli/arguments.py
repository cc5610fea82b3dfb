"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from lit_buckets.config import describe

__all__ = ["ConfigPath", "Overrides", "Ranks", "StageName", "complete_key"]


def complete_key(incomplete: str) -> list[tuple[str, str]]:
    """Keys that an override may begin with, for the shell, each with its meaning.

    Example:
        >>> complete_key("batches.se")
        [('batches.seed=', 'Seed of the order and of all augmentation.')]
    """
    return [(f"{o.key}=", o.help) for o in describe() if o.key.startswith(incomplete)]


ConfigPath: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML file; or a folder of images, for the defaults.",
        show_default=False,
    ),
]
Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Put into the configuration, such as buckets.max_area=65536.",
        show_default=False,
        autocompletion=complete_key,
    ),
]
Ranks: TypeAlias = Annotated[
    int, typer.Option("--ranks", min=1, max=10**6, help="Processes that the training will have.")
]
StageName: TypeAlias = Annotated[
    Literal["train", "val", "test", "predict"],
    typer.Option("--stage", help="Whose images."),
]
