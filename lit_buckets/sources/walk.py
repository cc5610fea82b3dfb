"""The image files of a folder on this machine, in order."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from lit_buckets.sources.base import Entry
from lit_buckets.sources.patterns import Selection, is_hidden, is_image

__all__ = ["Item", "Walk"]


class Item(NamedTuple):
    """What a listing holds at one place of its order; an entry, or a folder to enter."""

    key: str  # relative path, with a final "/" for a folder: sorts as the full paths do
    entry: Entry | None = None


class Walk:
    """One pass over a folder.

    Args:
        root: Absolute path of the folder.
        selection: Which files are meant.
        captions: Suffix of the caption files; None for no captions.
        follow_links: Whether links may lead out of the folder.
        apart_from: Real paths of folders that are not entered.
    """

    def __init__(
        self,
        root: str,
        selection: Selection,
        captions: str | None,
        follow_links: bool,
        apart_from: Collection[str],
    ) -> None:
        self.root = root
        self.selection = selection
        self.captions = captions
        self.follow_links = follow_links
        self.real_root = os.path.realpath(self.root)
        self.left_out = {*apart_from} - {self.real_root}
        self.entered: set[str] = set()  # real paths; filled only where links are followed

    def entries(self) -> Iterator[Entry]:
        """One entry for each image file and each folder that cannot be listed, sorted by path."""
        stack = [iter(self._list(""))]  # no recursion: paths may be deeper than Python's limit
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif item.entry is not None:
                yield item.entry
            elif self._enters(item.key):
                stack.append(iter(self._list(item.key)))

    def _list(self, folder: str) -> list[Item]:
        """Everything of interest in one folder, sorted; `folder` ends in "/" or is empty."""
        try:
            with os.scandir(f"{self.root}/{folder}") as listing:
                files = [file for file in listing if not is_hidden(file.name)]
        except OSError as error:
            reason = f"cannot be opened: folder not listed, {error.strerror or error}"
            return [Item(folder, Entry(_unicode(folder)[0], 0, 0, refused=reason))]
        suffix = self.captions
        texts = {file.name: file for file in files if file.name.endswith(suffix)} if suffix else {}
        items = (self._item(folder, file, texts) for file in files)
        return sorted((item for item in items if item is not None), key=lambda item: item.key)

    def _item(
        self, folder: str, file: os.DirEntry[str], texts: Mapping[str, os.DirEntry[str]]
    ) -> Item | None:
        path = folder + file.name
        try:
            if file.is_symlink():
                return self._link(path, file, texts)
            if file.is_dir(follow_symlinks=False):
                return Item(path + "/")
            if not self._wants(path) or not file.is_file(follow_symlinks=False):
                return None
            return Item(path, self._entry(path, file, texts))
        except OSError as error:
            reason = f"cannot be opened: {error.strerror or error}"
            return Item(path, Entry(_unicode(path)[0], 0, 0, refused=reason))

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
    ) -> Item | None:
        try:
            mode = file.stat().st_mode
        except OSError as error:  # leads nowhere, or round in a circle
            reason = f"cannot be opened: a link, {error.strerror or error}"
            refusal = Item(path, Entry(_unicode(path)[0], 0, 0, refused=reason))
            return refusal if self._wants(path) else None
        is_folder, inside = stat.S_ISDIR(mode), self._inside(file.path)
        if not is_folder and not (self._wants(path) and stat.S_ISREG(mode)):
            return None
        if is_folder and (inside or self._holds_root(file.path)):
            return None  # its images come by their own names
        if is_folder and not self.selection.enters(path + "/"):
            return None
        if not inside and not self.follow_links:
            return Item(path, Entry(_unicode(path)[0], 0, 0, refused=_LEADS_OUT))
        if is_folder:
            return Item(path + "/")
        return Item(path, self._entry(path, file, texts))

    def _wants(self, path: str) -> bool:
        return is_image(path) and self.selection.takes(path)

    def _enters(self, folder: str) -> bool:
        """Whether to enter a folder: not if it is another source's, or was entered before.

        Asked in the order of the paths: of two links to one folder, the first always wins.
        """
        if not self.selection.enters(folder):
            return False
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


def _unicode(path: str) -> tuple[str, str]:
    """A path that can be stored as UTF-8, and why the file is refused if that is not its name."""
    try:
        path.encode()
    except UnicodeEncodeError:
        stored = os.fsencode(path).decode("utf-8", "backslashreplace")
        return stored, "the name is not valid UTF-8; rename the file"
    return path, ""
