"""A folder of image files, with captions in text files beside them."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from lit_buckets.errors import DataError
from lit_buckets.sources.base import (
    Block,
    Earlier,
    MissingCaption,
    Run,
    as_blocks,
    check_captions,
    check_repeats,
)
from lit_buckets.sources.patterns import Selection
from lit_buckets.sources.remote_walk import remote_walk
from lit_buckets.sources.walk import Walk
from lit_buckets.storage import absolute, is_remote, remote

__all__ = ["FolderSource"]

_log = logging.getLogger("lit_buckets")


@dataclass(frozen=True)
class FolderSource:
    """Every image file in a folder and the folders inside it.

    Files come sorted by their relative path, code point by code point, with "/" between its
    parts: in the same order on every machine and file system. Names that begin with a dot are
    left out, and so is whatever has no known suffix of an image.

    A folder is entered once. A link to a file inside the folder counts as a file of its own; a
    link to a folder inside it, or round it, is passed over, since those images come by their own
    names; but one to a hidden folder is entered. Other links lead out: they are refused by name,
    unless `follow_links` allows them.

    Attributes:
        path: The folder; relative to the working directory, or absolute, or beginning with "~",
            or a URL whose server lists folders.
        repeats: How often each image comes in an epoch; at least 1.
        captions: Suffix of the caption files, such as ".txt": "a/b.jpg" has "a/b.txt". None for
            no captions.
        missing_caption: Whether images without a caption stay, are refused, or are an error.
        include: Patterns of the files that are meant (see `Selection`); None for all.
        exclude: Patterns of files and folders that are left out; None for none.
        follow_links: Whether links may lead out of the folder.

    Raises:
        ConfigError: If an attribute is out of its range.
    """

    path: str | os.PathLike[str]
    repeats: int = 1
    captions: str | None = ".txt"
    _: KW_ONLY
    missing_caption: MissingCaption = "empty"
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    follow_links: bool = False

    def __post_init__(self) -> None:
        check_repeats(self.repeats)
        check_captions(self.captions, self.missing_caption)
        Selection(self.include, self.exclude)

    @property
    def root(self) -> str:
        """Absolute path of the folder, or its URL; links in it are kept as they are."""
        return absolute(self.path)

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.root

    @property
    def confined(self) -> bool:
        """Whether nothing outside the folder may be read."""
        return not self.follow_links

    def identity(self) -> Mapping[str, Any]:
        """All that decides which images are listed, and how."""
        return {
            "kind": "folder",
            "captions": self.captions,
            "include": self.include and list(self.include),
            "exclude": self.exclude and list(self.exclude),
        }

    def caption_path(self, path: str) -> str:
        """The caption file of an image, relative to the root.

        Example:
            >>> FolderSource("photos").caption_path("cats/tom.jpg")
            'cats/tom.txt'
        """
        return path[: path.rfind(".")] + (self.captions or "")

    def blocks(self, *, earlier: Earlier, apart_from: Collection[str] = ()) -> Iterator[Block]:
        """List the images, sorted by their relative path.

        Args:
            earlier: Not needed.
            apart_from: Real paths of folders that are not entered.

        Returns:
            One row for each image file, also for those that are refused by their name or as a
            link, and one for each folder that cannot be listed.

        Raises:
            DataError: If there is no such folder, or it may not be read.
        """
        root, selection = self.root, Selection(self.include, self.exclude)
        if is_remote(root):
            _check_remote(root)
            runs = remote_walk(root, selection, self.captions, apart_from)
        else:
            _check_folder(root)
            runs = _told(Walk(root, selection, self.captions, self.follow_links, apart_from))
        return as_blocks(runs)


def _told(walk: Walk) -> Iterator[Run]:
    """The runs of a folder, and what they leave aside that somebody may miss."""
    yield from walk.runs()
    if walk.tables:
        _log.warning(
            "path=%r holds %s in folders below it, such as %r, whose captions and columns are not "
            "read. Name each such folder as a source of its own to have them.",
            walk.root,
            f"{len(walk.tables):,} tables of images",
            walk.tables[0],
        )


def _check_remote(root: str) -> None:
    try:
        remote.found_in(root)
    except OSError as error:
        raise DataError(
            f"path={root!r} cannot be listed: {error.strerror}. Check the URL, and that its server "
            f"lists folders."
        ) from None


def _check_folder(root: str) -> None:
    try:
        with os.scandir(root):
            pass
    except OSError as error:
        raise DataError(_not_a_folder(root, error)) from None


def _not_a_folder(root: str, error: OSError) -> str:
    if isinstance(error, NotADirectoryError):
        return f"path={root!r} is a file, not a folder. Give the folder that holds the images."
    if not isinstance(error, FileNotFoundError):
        return f"path={root!r} cannot be listed: {error.strerror}. Make it readable to this user."
    parent = Path(root).parent
    while not parent.is_dir():
        parent = parent.parent
    missing = Path(root).relative_to(parent).parts[0]
    try:
        near = difflib.get_close_matches(missing, os.listdir(parent), n=1)  # noqa: PTH208
    except OSError:
        near = []
    fix = f"Did you mean {str(parent / near[0])!r}?" if near else "Check the path."
    return f"path={root!r} does not exist: {str(parent)!r} holds no {missing!r}. {fix}"
