"""Commands that use a plan: images in their buckets' sizes, and what this machine can load."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import rich
import typer
from rich.table import Table

from lit_buckets.cli.arguments import ConfigPath, Overrides, StageName
from lit_buckets.cli.opening import open_config, open_images
from lit_buckets.cli.printing import say

__all__ = ["bench", "export"]

_MOST_NAMED = 10


def export(
    config: ConfigPath,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write.", show_default=False)
    ],
    overrides: Overrides = None,
    image_format: Annotated[
        Literal["png", "jpg", "webp"],
        typer.Option("--format", help="png keeps every pixel; the others are smaller."),
    ] = "png",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of jpg and webp.")] = 95,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that write.", show_default="loader.num_workers"),
    ] = None,
) -> None:
    """Write all images resized and cropped to their buckets, with captions and a configuration.

    What it writes trains as the images do now, without resizing anything. Stopped, it goes on
    where it was when it is called again.
    """
    settings = open_config(config, overrides)
    from lit_buckets.export import export as export_images

    done = export_images(
        settings,
        directory,
        image_format=image_format,
        quality=quality,
        num_workers=workers,
    )
    say(f"{done.written:,} images written, {done.there:,} were there already.")
    for path, reason in islice(done.left_out.items(), _MOST_NAMED):
        say(f"left out: {path}: {reason}")
    if len(done.left_out) > _MOST_NAMED:
        say(f"left out: {len(done.left_out) - _MOST_NAMED:,} more, see left_out.csv")
    say(f"Train on them with {done.config}")


def bench(
    config: ConfigPath,
    overrides: Overrides = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each measurement takes.")] = 5.0,
    workers: Annotated[
        str, typer.Option(metavar="N,N,...", help="Numbers of workers to try.")
    ] = "0,1,2,4",
    stage: StageName = "train",
) -> None:
    """Measure what this machine can load, where the time goes, and which number of workers to use.

    Run it while the machine does nothing else. Files that were read before come from memory.
    """
    counts = _counts(workers)
    dm = open_images(config, overrides)
    from lit_buckets import bench as benchmark

    shares = benchmark.measure_shares(dm, seconds=seconds, stage=stage)
    parts = ("read", "decode", "resize", "rest")
    say(
        f"An image takes {1000 * shares.total:.1f} ms in one process: "
        + ", ".join(f"{part} {getattr(shares, part) / shares.total:.0%}" for part in parts)
    )
    table = Table("workers", "images/s", "first batch")
    for column in table.columns:
        column.justify = "right"
    speeds = []
    for epoch, number in enumerate(counts, start=1):
        speed = benchmark.measure_speed(dm, number, seconds=seconds, stage=stage, epoch=epoch)
        speeds.append(speed)
        table.add_row(f"{number}", f"{speed.images_per_second:,.1f}", f"{speed.first_batch:.1f} s")
    rich.print(table)
    say(f"Set loader.num_workers={benchmark.choose(speeds).workers}")


def _counts(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"{text!r} is no list of whole numbers such as 0,1,2,4.")
    return [int(part) for part in parts]
