"""Commands that show what will happen to the images, before a GPU is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import rich
import typer
from rich.table import Table

from lit_buckets.cli.arguments import ConfigPath, Overrides, Ranks, StageName
from lit_buckets.cli.opening import open_images
from lit_buckets.cli.printing import plain, say
from lit_buckets.errors import ConfigError, DataError
from lit_buckets.plan.ledger import SUFFIXES, differences_of_files

__all__ = ["diff", "plan", "report", "show"]

_MOST_SHOWN = 40


def _plan_path(file: Path | None) -> Path | None:
    """Refuse a name that would promise another format than a plan's, before anything is read."""
    if file is not None and file.suffix in (".csv", ".parquet"):
        raise typer.BadParameter(
            f"{str(file)!r} would be no {file.suffix[1:]} file; a plan is kept as .arrow, and "
            "--rows writes tables."
        )
    return file


def _rows_path(file: Path | None) -> Path | None:
    """Refuse a file that no table can be written to, before anything is read."""
    if file is not None and file.suffix not in SUFFIXES:
        raise typer.BadParameter(f"{str(file)!r} must end in one of {', '.join(SUFFIXES)}.")
    return file


_PlanPath = Annotated[
    Path,
    typer.Argument(
        exists=True, dir_okay=False, help="A plan that `plan --save` wrote.", show_default=False
    ),
]


def plan(
    config: ConfigPath,
    overrides: Overrides = None,
    ranks: Ranks = 1,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Keep the training plan as an .arrow file, for buckets.plan or diff.",
            callback=_plan_path,
        ),
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What happens to each image, as .csv, .parquet or .arrow.",
            callback=_rows_path,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print numbers for a program instead.")
    ] = False,
) -> None:
    """Show the buckets, who is moved, cut or left out, and what an epoch takes."""
    dm = open_images(config, overrides)
    for file in (save, rows):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
    if as_json:
        print(json.dumps(dm.facts(ranks=ranks), indent=2))
    else:
        rich.print(dm.summary(ranks=ranks))
    if save is not None:
        dm.plan.save(save, paths=dm.manifest_of("train").paths)
    if rows is not None:
        dm.write_plan(rows)
    for file in (save, rows):
        if file is not None and not as_json:
            say(f"{file} is written.")


def report(
    config: ConfigPath,
    overrides: Overrides = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="The page to write."),
    ] = Path("report.html"),
    ranks: Ranks = 1,
    stage: StageName = "train",
) -> None:
    """Write a page to look at: sizes and buckets, what is cut, and every image left out."""
    open_images(config, overrides).write_report(output, ranks=ranks, stage=stage)
    say(f"{output} is written. Open it in a browser.")


def show(
    config: ConfigPath,
    overrides: Overrides = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the pictures.")
    ] = Path("batches"),
    batches: Annotated[int, typer.Option(min=1, help="How many batches.")] = 4,
    epoch: Annotated[int, typer.Option(min=0, help="Of which epoch.")] = 0,
    stage: StageName = "train",
) -> None:
    """Draw the first batches as a model will see them, with captions and what was cut."""
    dm = open_images(config, overrides)
    from lit_buckets.contact import write_sheets

    dm.loader(stage, num_replicas=1, rank=0, num_workers=0).batches.check_any()
    for file in write_sheets(dm, output, batches=batches, epoch=epoch, stage=stage):
        say(str(file))


def diff(before: _PlanPath, after: _PlanPath) -> None:
    """Name the images that two plans treat differently. Exit code 1 if there are any."""
    try:
        changes = differences_of_files(before, after)
    except DataError as error:  # 1 means that both are plans
        raise ConfigError(str(error)) from None
    if not len(changes):
        say("The plans are the same.")
        return
    table = Table("image", "what", "before", "after")
    for row in changes.slice(0, _MOST_SHOWN).to_pylist():
        table.add_row(*(plain(value or "") for value in row.values()))
    rich.print(table)
    say(f"{len(changes):,} differences")
    raise typer.Exit(1)
