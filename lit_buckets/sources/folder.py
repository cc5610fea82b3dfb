"""A folder of image files, with captions in text files beside them."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lit_buckets.errors import ConfigError, DataError
from lit_buckets.headers import SUFFIXES
from lit_buckets.sources.base import Entry

__all__ = ["FolderSource"]


@dataclass(frozen=True)
class FolderSource:
    """Every image file in a folder and the folders inside it.

    Files come sorted by their relative path, code point by code point, with "/" between its
    parts: in the same order on every machine and file system. Names that begin with a dot are
    left out, and so is whatever has no known suffix of an image.

    A folder is entered once. A link to a file inside the folder counts as a file of its own; a
    link to a folder inside it, or round it, is passed over, since those images come by their own
    names. Other links lead out: they are refused by name, unless `follow_links` allows them.

    Attributes:
        path: The folder; relative to the working directory, or absolute, or beginning with "~".
        repeats: How often each image comes in an epoch; at least 1.
        captions: Suffix of the caption files, such as ".txt": "a/b.jpg" has "a/b.txt". None for
            no captions.
        follow_links: Whether links may lead out of the folder.

    Raises:
        ConfigError: If `repeats` or `captions` is out of its range.
    """

    path: str | os.PathLike[str]
    repeats: int = 1
    captions: str | None = ".txt"
    follow_links: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.repeats, bool) or not isinstance(self.repeats, int) or self.repeats < 1:
            raise ConfigError(
                f"repeats={self.repeats!r} must be a whole number of at least 1. "
                f"Remove the source to leave its images out."
            )
        if self.captions is not None and (
            not self.captions.startswith(".")
            or "/" in self.captions
            or self.captions.lower() in SUFFIXES
        ):
            raise ConfigError(
                f"captions={self.captions!r} must be the suffix of text files, with its dot. "
                f"Write '.txt', or null for no captions."
            )

    @property
    def root(self) -> str:
        """Absolute path of the folder; links in it are kept as they are."""
        return os.path.abspath(Path(self.path).expanduser())  # noqa: PTH100 - not resolved

    @property
    def confined(self) -> bool:
        """Whether nothing outside the folder may be read."""
        return not self.follow_links

    def identity(self) -> Mapping[str, str | bool | None]:
        """All that decides which images are listed, and how."""
        return {
            "kind": "folder",
            "root": self.root,
            "captions": self.captions,
            "follow_links": self.follow_links,
        }

    def caption_path(self, path: str) -> str:
        """The caption file of an image, relative to the root.

        Example:
            >>> FolderSource("photos").caption_path("cats/tom.jpg")
            'cats/tom.txt'
        """
        return path[: path.rfind(".")] + (self.captions or "")

    def entries(self, *, apart_from: Collection[str] = ()) -> Iterator[Entry]:
        """List the images, sorted by their relative path.

        Args:
            apart_from: Real paths of folders that are not entered.

        Returns:
            One entry for each image file, also for those that are refused by their name or as a
            link, and one for each folder that cannot be listed.

        Raises:
            DataError: If there is no such folder, or it may not be read.
        """
        root = self.root
        try:
            with os.scandir(root):
                pass
        except OSError as error:
            raise DataError(_not_a_folder(root, error)) from None
        return _Walk(self, apart_from).entries()


class _Item(NamedTuple):
    """What a listing holds at one place of its order; an entry, or a folder to enter."""

    key: str  # relative path, with a final "/" for a folder: sorts as the full paths do
    entry: Entry | None = None


class _Walk:
    """One pass over a folder."""

    def __init__(self, source: FolderSource, apart_from: Collection[str]) -> None:
        self.captions = source.captions
        self.follow_links = source.follow_links
        self.root = source.root
        self.real_root = os.path.realpath(self.root)
        self.left_out = {*apart_from} - {self.real_root}
        self.entered: set[str] = set()  # real paths; filled only where links are followed

    def entries(self) -> Iterator[Entry]:
        stack = [iter(self._list(""))]  # no recursion: paths may be deeper than Python's limit
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif item.entry is not None:
                yield item.entry
            elif self._enters(item.key):
                stack.append(iter(self._list(item.key)))

    def _list(self, folder: str) -> list[_Item]:
        """Everything of interest in one folder, sorted; `folder` ends in "/" or is empty."""
        try:
            with os.scandir(f"{self.root}/{folder}") as listing:
                files = [file for file in listing if not file.name.startswith(".")]
        except OSError as error:
            reason = f"cannot be opened: folder not listed, {error.strerror or error}"
            return [_Item(folder, Entry(_unicode(folder)[0], 0, 0, refused=reason))]
        suffix = self.captions
        texts = {file.name: file for file in files if file.name.endswith(suffix)} if suffix else {}
        items = (self._item(folder, file, texts) for file in files)
        return sorted((item for item in items if item is not None), key=lambda item: item.key)

    def _item(
        self, folder: str, file: os.DirEntry[str], texts: Mapping[str, os.DirEntry[str]]
    ) -> _Item | None:
        path = folder + file.name
        try:
            if file.is_symlink():
                return self._link(path, file, texts)
            if file.is_dir(follow_symlinks=False):
                return _Item(path + "/")
            if not _is_image(file.name) or not file.is_file(follow_symlinks=False):
                return None
            return _Item(path, self._entry(path, file, texts))
        except OSError as error:
            reason = f"cannot be opened: {error.strerror or error}"
            return _Item(path, Entry(_unicode(path)[0], 0, 0, refused=reason))

    def _entry(
        self, path: str, file: os.DirEntry[str], texts: Mapping[str, os.DirEntry[str]]
    ) -> Entry:
        status = file.stat()
        name, refused = _unicode(path)
        text = texts.get(file.name[: file.name.rfind(".")] + (self.captions or ""))
        caption_mtime_ns = -1
        if text is not None and text.is_file():
            caption_mtime_ns = text.stat().st_mtime_ns
            if text.is_symlink() and not self.follow_links and not self._inside(text.path):
                refused = refused or f"its caption {text.name!r} is {_LEADS_OUT}"
        return Entry(name, status.st_size, status.st_mtime_ns, caption_mtime_ns, refused)

    def _link(
        self, path: str, file: os.DirEntry[str], texts: Mapping[str, os.DirEntry[str]]
    ) -> _Item | None:
        try:
            mode = file.stat().st_mode
        except OSError as error:  # leads nowhere, or round in a circle
            reason = f"cannot be opened: a link, {error.strerror or error}"
            refusal = _Item(path, Entry(_unicode(path)[0], 0, 0, refused=reason))
            return refusal if _is_image(file.name) else None
        is_folder, inside = stat.S_ISDIR(mode), self._inside(file.path)
        if not is_folder and not (_is_image(file.name) and stat.S_ISREG(mode)):
            return None
        if is_folder and (inside or self._holds_root(file.path)):
            return None  # its images come by their own names
        if not inside and not self.follow_links:
            return _Item(path, Entry(_unicode(path)[0], 0, 0, refused=_LEADS_OUT))
        if is_folder:
            return _Item(path + "/")
        return _Item(path, self._entry(path, file, texts))

    def _enters(self, folder: str) -> bool:
        """Whether to enter a folder: not if it is another source's, or was entered before.

        Asked in the order of the paths: of two links to one folder, the first always wins.
        """
        if not self.left_out and not self.follow_links:
            return True
        real = os.path.realpath(f"{self.root}/{folder}")
        if real in self.left_out or real in self.entered:
            return False
        self.entered.add(real)
        return True

    def _inside(self, link: str) -> bool:
        target = os.path.realpath(link)
        return target == self.real_root or target.startswith(self.real_root.rstrip("/") + "/")

    def _holds_root(self, link: str) -> bool:
        return self.real_root.startswith(os.path.realpath(link).rstrip("/") + "/")


_LEADS_OUT = "a link that leads out of the source's folder; follow_links would allow it"


def _is_image(name: str) -> bool:
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in SUFFIXES


def _unicode(path: str) -> tuple[str, str]:
    """A path that can be stored as UTF-8, and why the file is refused if that is not its name."""
    try:
        path.encode()
    except UnicodeEncodeError:
        stored = os.fsencode(path).decode("utf-8", "backslashreplace")
        return stored, "the name is not valid UTF-8; rename the file"
    return path, ""


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
