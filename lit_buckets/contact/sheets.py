"""A batch on one page, and the pages of the first batches of an epoch."""

from __future__ import annotations

from itertools import islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image, ImageDraw

from lit_buckets.contact.frame import MARGIN, PAPER, Sample, draw_picture
from lit_buckets.contact.lettering import clip, font_for, wrap
from lit_buckets.geometry import Offset, Size
from lit_buckets.pixels.decode import DecodeError
from lit_buckets.pixels.sample import SampleReader
from lit_buckets.placement import Fit, resized_sizes

if TYPE_CHECKING:
    from lit_buckets.datamodule import BucketDataModule
    from lit_buckets.stages import Stage

__all__ = ["draw_batch", "write_sheets"]

Colour = tuple[int, int, int]

_INK, _PALE = (38, 36, 33), (128, 124, 118)
_LONGEST, _NARROWEST = 300, 240  # side of a sample that is not cut, and width of a cell, in pixels
_NARROWEST_PAGE, _WIDEST = 640, 1440
_TITLE, _TEXT, _LEADING = 22, 14, 20  # letters and lines, in pixels
_GUTTER, _GAP = 40, 22  # between cells, and between picture and text
_HEAD = _GUTTER + _TITLE + _LEADING + _LEADING + _GUTTER
_LINES = 3  # of a caption
_GROWN, _STRETCHED = 1.05, 1.02  # from these factors on it is told what is done to a picture
_LEGEND = "In the marks: what the model sees. Faded: what the crop removes."


def write_sheets(
    dm: BucketDataModule,
    directory: Path,
    *,
    batches: int = 4,
    epoch: int = 0,
    stage: Stage = "train",
) -> list[Path]:
    """Draw the first batches of an epoch, as one process gets them.

    Args:
        dm: A datamodule that is set up.
        directory: Where the pictures go; made if missing.
        batches: How many; fewer if the epoch has fewer.
        epoch: Which epoch: crops, flips and the order depend on it.
        stage: train, val, test or predict.

    Returns:
        One PNG for each batch, named by stage, epoch and number.

    Raises:
        DataError: If the images are not set up, or too many fail.
        OSError: If a picture cannot be written.
    """
    loader = dm.loader(stage, num_replicas=1, rank=0, num_workers=0)
    loader.set_epoch(epoch)
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for number, batch in enumerate(islice(loader, batches), start=1):
        height, width = batch["image"].shape[-2:]
        title = (
            f"{stage}, epoch {epoch}, batch {number:,} of {len(loader):,}: "
            f"{len(batch['index'])} images of {height}x{width}"
        )
        file = directory / f"{stage}-epoch{epoch}-batch{number:04d}.png"
        draw_batch(dm, batch, title=title, stage=stage).save(file)
        files.append(file)
    return files


def draw_batch(
    dm: BucketDataModule, batch: dict[str, Any], *, title: str, stage: Stage = "train"
) -> Image.Image:
    """One page with every sample of a batch.

    Args:
        dm: The datamodule that it comes from.
        batch: Before normalisation: ``image`` is uint8 (B, 3, H, W).
        title: What stands on top.
        stage: Whose batch it is.

    Returns:
        A picture of at most 1400 pixels' width.
    """
    reader = dm.dataset(stage).reader
    fit = dm.plan_of(stage).fit
    cells = [_cell(reader, fit, batch, place) for place in range(len(batch["index"]))]
    scale = _LONGEST / max(cells[0].sample.size)
    height, width = (max(1, round(side * scale)) for side in cells[0].sample.size)
    room = Size(height, max(_NARROWEST, width))
    columns = max(1, min(len(cells), (_WIDEST - _GUTTER) // (room.width + _GUTTER)))
    rows = [_Row(cells[i : i + columns], room) for i in range(0, len(cells), columns)]
    page_width = max(_NARROWEST_PAGE, _GUTTER + columns * (room.width + _GUTTER))
    page = Image.new("RGB", (page_width, _HEAD + sum(row.height for row in rows)), PAPER)
    for text, top, ink, letters in (
        (title, _GUTTER, _INK, _TITLE),
        (_LEGEND, _GUTTER + _TITLE + _TEXT, _PALE, _TEXT),
    ):
        line = clip(text, font_for(text, letters), page_width - 2 * _GUTTER)
        _write(page, (_GUTTER, top), line, ink, letters)
    top = _HEAD
    for row in rows:
        row.draw(page, top)
        top += row.height
    return page


class _Cell(NamedTuple):
    """What is shown of a sample."""

    sample: Sample
    name: str
    sizes: str
    facts: str
    caption: str

    def lines(self, width: int) -> list[tuple[str, Colour]]:
        """What stands below the picture, each line with its ink."""
        parts = (
            (self.name, _INK, 1),
            (self.sizes, _PALE, 1),
            (self.facts, _PALE, 1),
            (self.caption, _INK, _LINES),
        )
        return [
            (line, ink)
            for text, ink, most in parts
            for line in wrap(text, font_for(text, _TEXT), width, most)
        ]


class _Row:
    """Cells side by side."""

    def __init__(self, cells: list[_Cell], room: Size) -> None:
        self.cells, self.room = cells, room
        self.lines = [cell.lines(room.width) for cell in cells]
        self.height = room.height + _GAP + _LEADING * max(map(len, self.lines)) + _GUTTER

    def draw(self, page: Image.Image, top: int) -> None:
        """Draw the cells with their upper edge at ``top``."""
        for column, (cell, lines) in enumerate(zip(self.cells, self.lines, strict=True)):
            left = _GUTTER + column * (self.room.width + _GUTTER)
            page.paste(draw_picture(cell.sample, self.room), (left - MARGIN, top - MARGIN))
            for number, (line, ink) in enumerate(lines):
                y = top + self.room.height + _GAP + _LEADING * number
                _write(page, (left, y), line, ink)


def _cell(reader: SampleReader, fit: Fit, batch: dict[str, Any], place: int) -> _Cell:
    original, target = (
        Size(*batch[key][place].tolist()) for key in ("original_size", "target_size")
    )
    resized = Size(*resized_sizes(original, target, fit).tolist())
    sample = Sample(
        pixels=batch["image"][place].permute(1, 2, 0).contiguous().numpy(),
        whole=_whole(reader, int(batch["index"][place]), resized),
        resized=resized,
        offset=Offset(*batch["crop_top_left"][place].tolist()),
    )
    to = f" to {resized.height}x{resized.width}" if resized != original else ""
    return _Cell(
        sample,
        name=PurePath(batch["path"][place]).name,
        sizes=f"{original.height}x{original.width}{to}",
        facts=_facts(sample, original, valid=bool(batch["valid"][place])),
        caption=str(batch["caption"][place]),
    )


def _facts(sample: Sample, original: Size, *, valid: bool) -> str:
    """What was done to a picture, in a few words."""
    taller, wider = (new / old for new, old in zip(sample.resized, original, strict=True))
    growth, stretched = max(taller, wider), max(taller, wider) / min(taller, wider)
    facts = [f"{sample.crop_loss:.1%} cut"] * (sample.crop_loss > 0)
    facts += [f"{sample.padding:.1%} padded"] * (sample.padding > 0)
    facts += [f"stretched {stretched:.2f}x"] * (stretched > _STRETCHED)
    facts += [f"enlarged {growth:.1f}x"] * (growth > _GROWN)
    return ", ".join(facts + ["mirrored"] * sample.mirrored + ["fills a place"] * (not valid))


def _whole(reader: SampleReader, index: int, wanted: Size) -> Image.Image | None:
    """The picture of a file; ``None`` if it cannot be decoded any more."""
    try:
        picture = reader.whole(index, wanted)
    except DecodeError:
        return None
    return Image.fromarray(picture.image.permute(1, 2, 0).contiguous().numpy())


def _write(
    page: Image.Image, place: tuple[int, int], line: str, ink: Colour, size: int = _TEXT
) -> None:
    ImageDraw.Draw(page).text(place, line, ink, font_for(line, size))
