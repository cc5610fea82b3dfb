"""Files that fail in decoding: named once, remembered for the next setup pass, and counted."""

from __future__ import annotations

import json
import logging
import os
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

import torch

from lit_buckets.errors import DataError
from lit_buckets.manifest import Failure
from lit_buckets.pixels.decode import DecodeError

__all__ = ["Failures"]

log = logging.getLogger("lit_buckets")


class Failures:
    """The images of a dataset that have failed, in whichever of a loader's processes.

    Which these are stands in memory that the processes share, so each is named once and counts
    once, and the limit holds for all of a rank's workers together. No lock is taken: if two
    workers note two failures at the very same moment, one of them may be noted again later.

    Args:
        most: Images that may fail before one more stops the run.
        images: Images of the dataset.
        file: Where failures are remembered, one :class:`~lit_buckets.manifest.Failure` as JSON on
            each line; ``None`` for nowhere.
    """

    def __init__(self, most: int, images: int, file: Path | None) -> None:
        self._most, self._file = most, file
        # filled from the front; no more than all images can fail, however many may
        self._rows: torch.Tensor = torch.full((min(most + 1, images),), -1)
        self._rows.share_memory_()  # type: ignore[no-untyped-call]
        self.last = ""  #: what was noted last in this process

    def __contains__(self, index: int) -> bool:
        return bool((self._rows[: self._count()] == index).any())

    def add(self, index: int, error: DecodeError, stamp: Callable[[], tuple[int, int]]) -> None:
        """Take note of a failure.

        Args:
            index: The image, as a row of the manifest.
            error: What happened.
            stamp: Asks for the length and the time of last change of the file.

        Raises:
            DataError: If it is one image too many.
        """
        self.last = f"{error.path!r}: {error.reason}"
        if index in self:
            return
        self._note(index)
        known = self._remember(error, stamp)
        # other ranks and earlier runs note theirs in the same file: what they named is not news
        log.log(
            logging.INFO if known else logging.WARNING,
            "%r fails, and another image takes its place: %s",
            error.path,
            error.reason,
        )
        self._note(index)  # again, if another worker took the same slot at the same moment
        self._check_limit()

    def _note(self, index: int) -> None:
        while index not in self and (count := self._count()) < len(self._rows):
            self._rows[count] = index

    def _count(self) -> int:
        return bisect_left(self._rows.numpy(), True, key=lambda row: bool(row < 0))

    def _check_limit(self) -> None:
        count = self._count()
        if count > self._most:
            raise DataError(
                f"{count} files failed in decoding, more than max_failures={self._most}; the last "
                f"is {self.last}. Repair or remove them, or raise data.max_failures."
            )

    def _remember(self, error: DecodeError, stamp: Callable[[], tuple[int, int]]) -> bool:
        """Append to the file what would fail again; return whether it was there already."""
        if self._file is None or not error.lasting:
            return False
        try:
            failure = Failure(error.path, *stamp(), error.reason)
            line = json.dumps(failure).encode() + b"\n"
            if self._file.exists() and line in self._file.read_bytes():
                return True
            _append(self._file, line)
        except OSError as problem:
            log.warning("%s does not remember it: %s", self._file, problem)
        return False


def _append(file: Path, line: bytes) -> None:
    """Append in one write, so that lines of several processes do not mix."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
