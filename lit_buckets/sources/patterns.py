"""Which files of a folder are meant: patterns as in a ``.gitignore`` file."""

from __future__ import annotations

from collections.abc import Sequence

from pathspec import GitIgnoreSpec

from lit_buckets.errors import ConfigError
from lit_buckets.headers import SUFFIXES

__all__ = ["Selection", "is_hidden", "is_image"]


class Selection:
    """Patterns that leave files in or out, by their paths relative to the folder.

    A pattern without "/" is for names at any depth (``*.png``); one with a "/" at its beginning or
    in its middle starts at the folder itself (``/cats/*.jpg``, ``cats/tom.jpg``). ``*`` and ``?``
    stand for anything but "/", ``**`` for any number of folders, ``[abc]`` for one of these. A "/"
    at the end means folders only. What matches a folder matches all that is in it. Of several
    patterns the last that matches decides, and one that begins with "!" turns it round.

    Args:
        include: Files must match these; None for all.
        exclude: Files must not match these, and folders that do are not entered.

    Raises:
        ConfigError: If a pattern cannot be read.
    """

    def __init__(self, include: Sequence[str] | None, exclude: Sequence[str] | None) -> None:
        self._include = None if include is None else _read("include", include)
        self._exclude = None if exclude is None else _read("exclude", exclude)

    def takes(self, path: str) -> bool:
        """Whether a file is meant.

        Example:
            >>> selection = Selection(["*.jpg"], ["drafts/"])
            >>> selection.takes("cats/tom.jpg"), selection.takes("cats/drafts/tom.jpg")
            (True, False)
        """
        if self._include is not None and not _matches(self._include, path):
            return False
        return self._exclude is None or not _matches(self._exclude, path)

    def enters(self, folder: str) -> bool:
        """Whether a folder may hold files that are meant; its path ends in "/"."""
        return self._exclude is None or not _matches(self._exclude, folder)


def _matches(patterns: GitIgnoreSpec, path: str) -> bool:
    # its "**" stops at the end of a line, and no name holds a NUL
    return bool(patterns.match_file(path.replace("\n", "\0")))


def is_image(path: str) -> bool:
    """Whether a file's name has a known suffix of an image.

    Example:
        >>> is_image("cats/tom.JPG"), is_image("cats.d/tom"), is_image("cats/.jpg")
        (True, False, False)
    """
    dot = path.rfind(".")
    return dot > 0 and path[dot - 1] != "/" and path[dot:].lower() in SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left out because of its name."""
    return name.startswith(".")


def _read(option: str, patterns: Sequence[str]) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise ConfigError(
            f"{option}={list(patterns)!r} must hold patterns as in a .gitignore file; {error}. "
            f"Write for instance '*.jpg' or 'drafts/'."
        ) from None
