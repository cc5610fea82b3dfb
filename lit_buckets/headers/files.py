"""Headers and captions of many files."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from lit_buckets.headers.sizes import Demands, Header, read_quietly

__all__ = [
    "MAX_CAPTION",
    "FileRead",
    "Job",
    "caption_text",
    "read_caption",
    "read_files",
]

#: Bytes of a caption beyond which nothing counts.
MAX_CAPTION = 2**20


class Job(NamedTuple):
    """An image and a caption file to read; "" where one of them is not wanted.

    Attributes:
        image: File that holds the image.
        caption: File that holds the caption, and nothing else.
        offset: Where the image begins in its file, in bytes.
        length: How long it is, in bytes; -1 for all up to the file's end.
        suffix: Suffix of its name, with its dot, where that is not the file's.
    """

    image: str
    caption: str
    offset: int = 0
    length: int = -1
    suffix: str = ""


_AsJob: TypeAlias = "tuple[str, str, int, int, str]"


class FileRead(NamedTuple):
    """What `read_files` found for one job.

    Attributes:
        height: Pixels, as displayed; 0 if refused or not wanted.
        width: Pixels, as displayed; 0 if refused or not wanted.
        refused: Why the image cannot be used; "" if it can, or was not wanted.
        caption: Text of the caption file; None if it could not be read.
    """

    height: int
    width: int
    refused: str
    caption: str | None


def caption_text(content: bytes) -> str:
    """Text of a caption: UTF-8, or UTF-16 where it begins with a byte order mark; stripped.

    The mark is dropped, and invalid bytes are replaced by U+FFFD.

    Example:
        >>> caption_text(b" a cat  ")
        'a cat'
    """
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    coding = "utf-16" if is_wide else "utf-8-sig"
    decoder = codecs.getincrementaldecoder(coding)(errors="replace")
    is_whole = len(content) < MAX_CAPTION  # or it may end within a character
    return decoder.decode(content[:MAX_CAPTION], final=is_whole).strip()


def read_caption(path: str | os.PathLike[str]) -> str | None:
    """Text of a caption file, as `caption_text` reads it.

    Args:
        path: The caption file. Beyond the first 2**20 bytes nothing is read.

    Returns:
        The text; "" if there is no such file; None if it cannot be read.
    """
    try:
        with io.FileIO(path) as file:
            content = file.read(MAX_CAPTION) or b""
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError):
        return None
    return caption_text(content)


def read_files(jobs: Iterable[_AsJob], demands: Demands) -> list[FileRead]:
    """Headers and captions of many files, in the order of the jobs.

    Call it within `quiet`, and with threads within one that is around them all.

    Args:
        jobs: What to read.
        demands: What each image must be.
    """
    nothing = Header(0, 0)
    return [
        FileRead(
            *(read_quietly(image, demands, offset, length, suffix) if image else nothing),
            caption=read_caption(caption) if caption else "",
        )
        for image, caption, offset, length, suffix in jobs
    ]
