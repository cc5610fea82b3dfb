"""The image files of a folder on this machine, in order.

A second start of a job spends its time here, so files become rows a folder at a time: in columns
of strings and numbers, which cost the least there can be and keep Python's garbage collector idle.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from operator import attrgetter

from lit_buckets.sources.base import METADATA, NO_CAPTION, Run
from lit_buckets.sources.overlapping import Overlapping
from lit_buckets.sources.patterns import Selection, is_hidden, is_image
from lit_buckets.storage import change_of

__all__ = ["Walk"]


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
        self.entered: set[str] = set()  # real paths, as far as a folder may be met again
        self.met_again = bool(self.left_out) or follow_links
        self.disk = Overlapping()
        self.tables: list[str] = []  # of images, in folders below: they say what is not asked here

    def runs(self) -> Iterator[Run]:
        """Image files, and folders that cannot be listed, sorted by path."""
        stack = [self._list("")]  # no recursion: paths may be deeper than Python's limit
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif isinstance(item, Run):
                yield item
            elif self._enters(item):
                stack.append(self._list(item))

    def _list(self, folder: str) -> Iterator[Run | str]:
        """Everything of interest in one folder, sorted; `folder` ends in "/" or is empty.

        Files come in runs, between the folders to enter; a folder sorts with its final "/", as the
        paths in it do.
        """
        run = Run()
        try:
            with os.scandir(f"{self.root}/{folder}") as listing:
                files = [file for file in listing if file.name[0] != "."]  # the others are hidden
        except OSError as error:
            run.refuse(folder, f"cannot be opened: folder not listed, {error.strerror or error}")
            files = []
        files.sort(key=attrgetter("name"))
        self.tables += [folder + name for name in METADATA if folder and _holds(files, name)]
        suffix = self.captions
        texts = {file.name: file for file in files if file.name.endswith(suffix)} if suffix else {}
        self._look_ahead(folder, files, texts.values())
        folders = [path for file in files if (path := self._add(run, folder, file, texts))]
        _make_unicode(run)
        yield from run.between(folders)

    def _look_ahead(
        self, folder: str, files: Iterable[os.DirEntry[str]], texts: Iterable[os.DirEntry[str]]
    ) -> None:
        """Let a slow disk tell the status of many files at once; their entries keep it.

        Python 3.10 still holds its lock meanwhile, and gains nothing.
        """
        takes = self.selection.takes
        images = (file for file in files if is_image(file.name) and takes(folder + file.name))
        for _ in self.disk.map(_look, chain(images, texts)):
            if self.disk.is_quick:
                break

    def _add(
        self, run: Run, folder: str, file: os.DirEntry[str], texts: Mapping[str, os.DirEntry[str]]
    ) -> str | None:
        """Add what is an image to the run, or return a folder to enter."""
        name = file.name
        path = folder + name
        try:
            if file.is_symlink():
                return self._add_link(run, path, file, texts)
            if file.is_dir(follow_symlinks=False):
                return path + "/"
            if (
                is_image(name)
                and self.selection.takes(path)
                and file.is_file(follow_symlinks=False)
            ):
                self._add_image(run, path, file, texts)
        except OSError as error:
            run.refuse(path, f"cannot be opened: {error.strerror or error}")
        return None

    def _add_image(
        self, run: Run, path: str, file: os.DirEntry[str], texts: Mapping[str, os.DirEntry[str]]
    ) -> None:
        status = file.stat()
        length, caption, refused = 0, NO_CAPTION, ""
        if texts:
            length, caption, refused = self._caption(file.name, texts)
        run.path.append(path)
        run.bytes.append(status.st_size)
        run.mtime_ns.append(change_of(status))
        run.caption_bytes.append(length)
        run.caption_mtime_ns.append(caption)
        run.reason.append(refused)

    def _caption(self, name: str, texts: Mapping[str, os.DirEntry[str]]) -> tuple[int, int, str]:
        """Length and time of change of an image's caption, and why the image is refused for it."""
        text = texts.get(name[: name.rfind(".")] + (self.captions or ""))
        if text is None or not text.is_file():
            return 0, NO_CAPTION, ""
        refused = ""
        if text.is_symlink() and not self.follow_links and not self._inside(text.path):
            refused = f"its caption {text.name!r} is {_LEADS_OUT}"
        status = text.stat()
        return status.st_size, change_of(status), refused

    def _add_link(
        self, run: Run, path: str, file: os.DirEntry[str], texts: Mapping[str, os.DirEntry[str]]
    ) -> str | None:
        wanted = is_image(file.name) and self.selection.takes(path)
        try:
            mode = file.stat().st_mode
        except OSError as error:  # leads nowhere, or round in a circle
            if wanted:
                run.refuse(path, f"cannot be opened: a link, {error.strerror or error}")
            return None
        inside = self._inside(file.path)
        if stat.S_ISDIR(mode):
            # of a folder inside, or round this one, the images come by their own names, or are not
            # wanted; but nobody means to leave out what is hidden and linked to
            known = not self._is_hidden(file.path) if inside else self._holds_root(file.path)
            if known or not self.selection.enters(path + "/"):
                return None
            self.met_again = True
        elif not wanted or not stat.S_ISREG(mode):
            return None
        if not inside and not self.follow_links:
            run.refuse(path, _LEADS_OUT)
        elif stat.S_ISDIR(mode):
            return path + "/"
        else:
            self._add_image(run, path, file, texts)
        return None

    def _enters(self, folder: str) -> bool:
        """Whether to enter a folder: not if it is another source's, or was entered before.

        Asked in the order of the paths: of two links to one folder, the first always wins.
        """
        if not self.selection.enters(folder):
            return False
        if not self.met_again:
            return True
        real = os.path.realpath(f"{self.root}/{folder}")
        if real in self.left_out or real in self.entered:
            return False
        self.entered.add(real)
        return True

    def _inside(self, link: str) -> bool:
        target = os.path.realpath(link)
        return target == self.real_root or target.startswith(self.real_root.rstrip("/") + "/")

    def _is_hidden(self, link: str) -> bool:
        """Whether a folder inside is not entered by its own name, since that or one above hides."""
        inside = os.path.realpath(link)[len(self.real_root.rstrip("/")) + 1 :]
        return any(map(is_hidden, inside.split("/")))

    def _holds_root(self, link: str) -> bool:
        return self.real_root.startswith(os.path.realpath(link).rstrip("/") + "/")


def _holds(files: Sequence[os.DirEntry[str]], name: str) -> bool:
    place = bisect_left(files, name, key=attrgetter("name"))
    return place < len(files) and files[place].name == name


def _look(file: os.DirEntry[str]) -> None:
    with suppress(OSError):  # it is asked again, and tells again
        file.stat()


_LEADS_OUT = "a link that leads out of the source's folder; follow_links would allow it"


def _make_unicode(run: Run) -> None:
    """Write names that are not UTF-8 so that they can be stored, and refuse their files."""
    try:
        "".join(run.path).encode()
    except UnicodeEncodeError:
        for row, path in enumerate(run.path):
            stored = os.fsencode(path).decode("utf-8", "backslashreplace")
            if stored != path:
                run.path[row] = stored
                run.reason[row] = "the name is not valid UTF-8; rename the file"
