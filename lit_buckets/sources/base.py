"""What the setup pass asks of a source."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["Entry", "Source"]


class Entry(NamedTuple):
    """One image as a listing shows it: nothing of the file has been read.

    Attributes:
        path: Relative to the source's root, with "/" between its parts; valid Unicode.
        bytes: Length of the file.
        mtime_ns: Time of its last change, in nanoseconds.
        caption_mtime_ns: The same of its caption file; -1 if there is none.
        refused: Why the image cannot even be opened, as a short sentence; "" if it can.
        container: The file that holds the image, relative to the source's root; "" where the image
            is a file of its own.
        offset: Where it begins in the container, in bytes.
    """

    path: str
    bytes: int
    mtime_ns: int
    caption_mtime_ns: int = -1
    refused: str = ""
    container: str = ""
    offset: int = 0


@runtime_checkable
class Source(Protocol):
    """A place that lists images. What does not change while it is listed is a plain attribute.

    A kind of source that knows more than a folder does (a table of captions and columns, a tar
    shard with offsets) adds defaulted fields to `Entry`; nothing else has to change with it.
    """

    @property
    def root(self) -> str:
        """What a path must be joined to, with "/", so that it can be opened; "" for nothing."""

    @property
    def repeats(self) -> int:
        """How often each image comes in an epoch."""

    @property
    def confined(self) -> bool:
        """Whether nothing outside the root may be read."""

    def identity(self) -> Mapping[str, str | bool | None]:
        """All that decides which images are listed, and how; `repeats` does not."""

    def entries(self, *, apart_from: Collection[str] = ()) -> Iterator[Entry]:
        """List the images, in an order that is the same on every machine.

        Args:
            apart_from: Roots of other sources. What lies inside one of them is left to it.

        Raises:
            DataError: If the source cannot be listed at all.
        """

    def caption_path(self, path: str) -> str:
        """The caption file of an image that has one, relative to the root like `path`."""
