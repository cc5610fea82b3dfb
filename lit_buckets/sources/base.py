"""What the setup pass asks of a source."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import pyarrow as pa

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.headers import SUFFIXES

__all__ = [
    "BLOCK",
    "LISTED",
    "METADATA",
    "NO_CAPTION",
    "Block",
    "Container",
    "Earlier",
    "MissingCaption",
    "Run",
    "Source",
    "as_blocks",
    "check_captions",
    "check_free",
    "check_repeats",
]

#: Rows that are held as Python objects at a time.
BLOCK = 2**13
#: In place of a caption file's time of change, where there is none.
NO_CAPTION = -1

#: Names of the table in a folder of images, as Hugging Face's ImageFolder has it.
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")

#: What happens to images without a caption.
MissingCaption = Literal["empty", "skip", "error"]

#: Columns that a listing may have; only `path` it must. Others than these are further columns,
#: which the batches carry.
LISTED = pa.schema(
    [
        pa.field("path", pa.large_string()),  # relative to the root, and no other image's
        pa.field("bytes", pa.int64()),  # length of the image; -1 if unknown
        pa.field("mtime_ns", pa.int64()),  # its file's stamp
        pa.field("container", pa.large_string()),  # the larger file that holds it, or ""
        pa.field("offset", pa.int64()),  # where it begins in its container
        pa.field("reason", pa.large_string()),  # why it is refused before it is opened, or ""
        pa.field("height", pa.int32()),  # pixels, as displayed; 0 where the source does not know
        pa.field("width", pa.int32()),
        pa.field("caption", pa.large_string()),  # null where it lies in a file beside the image
        pa.field("caption_bytes", pa.int64()),  # that file's length; 0 where there is none
        pa.field("caption_mtime_ns", pa.int64()),  # that file's stamp; -1 where there is none
    ]
)


@dataclass(slots=True)
class Run:
    """Files that follow one another in a listing, none of which has been read: a list a column.

    Attributes:
        path: Relative to the source's root, with "/" between its parts; valid Unicode.
        bytes: Length of each file; -1 if unknown.
        mtime_ns: Time of its last change in nanoseconds, or what stands for it (see `storage`).
        caption_bytes: Length of its caption file; 0 if there is none.
        caption_mtime_ns: Time of that file's last change; -1 if there is none.
        reason: Why it cannot even be opened, as a short sentence; "" if it can.
    """

    path: list[str] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    mtime_ns: list[int] = field(default_factory=list)
    caption_bytes: list[int] = field(default_factory=list)
    caption_mtime_ns: list[int] = field(default_factory=list)
    reason: list[str] = field(default_factory=list)

    def add(
        self, path: str, length: int, mtime_ns: int, caption: tuple[int, int] = (0, NO_CAPTION)
    ) -> None:
        """Add a file; of its caption, length and time of change are told."""
        self.path.append(path)
        self.bytes.append(length)
        self.mtime_ns.append(mtime_ns)
        self.caption_bytes.append(caption[0])
        self.caption_mtime_ns.append(caption[1])
        self.reason.append("")

    def refuse(self, path: str, reason: str) -> None:
        """Add a file that cannot be opened."""
        self.add(path, 0, 0)
        self.reason[-1] = reason

    def between(self, folders: Iterable[str]) -> Iterator[Run | str]:
        """The files, sorted by path, in parts, and between these the folders where they belong.

        Args:
            folders: Paths with a final "/", so that they sort as the paths in them do.
        """
        start = 0
        for folder in sorted(folders):
            end = bisect_left(self.path, folder)
            if end > start:
                yield Run(*(column[start:end] for column in self.columns()))
            yield folder
            start = end
        yield Run(*(column[start:] for column in self.columns()))

    def columns(self) -> Iterator[list[Any]]:
        """The lists, in order."""
        return (getattr(self, each.name) for each in fields(self))


class Container(NamedTuple):
    """A file that holds the images of a block, as it was when it was indexed.

    Attributes:
        name: Relative to the source's root.
        bytes: Its length.
        change: Its stamp.
        columns: Further columns that its images have, with their types.
    """

    name: str
    bytes: int
    change: int
    columns: pa.Schema


class Block(NamedTuple):
    """A part of a listing.

    Attributes:
        rows: Columns of `LISTED`, and further ones.
        container: The one file that holds these images and none of other blocks, if its index
            shall be used again as long as it does not change.
    """

    rows: pa.Table
    container: Container | None = None


class Earlier(NamedTuple):
    """What an earlier pass has found in the same source.

    Attributes:
        rows: Rows as in the manifest, images first.
        containers: Files that were indexed, by name.
    """

    rows: pa.Table
    containers: Mapping[str, Container]


@runtime_checkable
class Source(Protocol):
    """A place that lists images. What does not change while it is listed is a plain attribute."""

    @property
    def label(self) -> str:
        """What messages call it: the path of a folder, a table, a pattern of shards."""

    @property
    def root(self) -> str:
        """What a path must be joined to, with "/", so that it can be opened; "" for nothing."""

    @property
    def repeats(self) -> int:
        """How often each image comes in an epoch."""

    @property
    def confined(self) -> bool:
        """Whether nothing outside the root may be read."""

    @property
    def missing_caption(self) -> MissingCaption:
        """Whether images without a caption stay, are refused, or stop the setup pass."""

    def identity(self) -> Mapping[str, Any]:
        """All that decides which images are listed, and how, as JSON can hold it.

        `label`, `root`, `confined`, `repeats` and `missing_caption` are asked for by themselves.
        """

    def blocks(self, *, earlier: Earlier, apart_from: Collection[str]) -> Iterator[Block]:
        """List the images, in an order that is the same on every machine.

        Args:
            earlier: What is known; it may save opening large files, and changes nothing else.
            apart_from: Real paths of folders that are sources of their own. A folder leaves
                what lies inside one of them to it.

        Raises:
            DataError: If the source cannot be listed at all.
        """

    def caption_path(self, path: str) -> str:
        """The caption file of an image that has one, relative to the root like `path`."""


def as_blocks(runs: Iterable[Run]) -> Iterator[Block]:
    """Runs as Arrow tables, few of their files at a time as Python objects."""
    schema = pa.schema([LISTED.field(each.name) for each in fields(Run)])
    columns: list[list[Any]] = [[] for _ in schema]
    for run in runs:
        for column, more in zip(columns, run.columns(), strict=True):
            column += more
        if len(columns[0]) >= BLOCK:
            yield Block(pa.table(columns, schema=schema))
            columns = [[] for _ in schema]
    if columns[0]:
        yield Block(pa.table(columns, schema=schema))


def check_free(names: Iterable[str], reserved: Collection[str], label: str) -> None:
    """Refuse further columns that have the name of something else.

    Args:
        names: The columns.
        reserved: Names that they may not have.
        label: What messages call their source.

    Raises:
        DataError: If one has such a name.
    """
    taken = [name for name in names if name in reserved]
    if taken:
        raise DataError(
            f"path={label!r} has a column {taken[0]!r}, a name that the batches or the manifest "
            f"use themselves; {len(reserved)} names are taken. Rename it, or leave it out with "
            f"'columns', a list of those to keep."
        )


def check_repeats(repeats: object) -> None:
    """Refuse what is no number of repeats.

    Raises:
        ConfigError: If it is no whole number, less than 1, or more than the manifest can hold.
    """
    if isinstance(repeats, bool) or not isinstance(repeats, int) or not 1 <= repeats < 2**31:
        raise ConfigError(
            f"repeats={repeats!r} must be a whole number of at least 1 and less than 2**31. "
            f"Remove the source to leave its images out."
        )


def check_captions(captions: str | None, missing_caption: str) -> None:
    """Refuse what is no suffix of caption files, and a policy for captions that nobody looks for.

    Raises:
        ConfigError: If one of them is wrong.
    """
    if captions is not None and (
        not captions.startswith(".") or "/" in captions or captions.lower() in SUFFIXES
    ):
        raise ConfigError(
            f"captions={captions!r} must be the suffix of text files; it needs a dot, and a name "
            f"that is no image's. Write '.txt', or null for no captions."
        )
    if captions is None and missing_caption != "empty":
        raise ConfigError(
            f"missing_caption={missing_caption!r} needs captions; captions is null, so no image "
            f"has one. Set missing_caption='empty'."
        )
