"""Reading files of other machines: many requests at once, each for the part that is needed."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from lit_buckets.headers import (
    Demands,
    FileRead,
    Header,
    Job,
    caption_text,
    read_files,
    read_header_from,
)
from lit_buckets.scan.readers import Answer, as_answer, in_threads
from lit_buckets.storage import Span, is_remote, read
from lit_buckets.storage.remote import RemoteContent

__all__ = ["FAR_BATCH", "read_far"]

#: Files that one thread reads at a time: what takes long is the way, and few shall wait in a row.
FAR_BATCH = 4

_AT_ONCE = 32  # threads


def read_far(batches: Iterable[list[Job]], *, demands: Demands) -> Generator[Answer]:
    """Read batches of files of which some are remote, and answer in the order of the batches.

    Args:
        batches: Lists of jobs; a remote image has its length, if that is known.
        demands: What each image must be.

    Yields:
        For each batch, a list for each field of `lit_buckets.headers.FileRead`.
    """
    return in_threads(
        lambda jobs: as_answer(_read(job, demands) for job in jobs), batches, _AT_ONCE
    )


def _read(job: Job, demands: Demands) -> FileRead:
    if not is_remote(job.image or job.caption):
        return read_files([job], demands)[0]
    header = _header(job, demands) if job.image else Header(0, 0)
    return FileRead(*header, caption=_caption(job.caption) if job.caption else "")


def _header(job: Job, demands: Demands) -> Header:
    content = RemoteContent(job.image, job.offset, job.length)
    return read_header_from(content, demands, suffix=job.suffix)


def _caption(url: str) -> str | None:
    """Text as `lit_buckets.headers.read_caption` reads it."""
    try:
        return caption_text(read(Span(url)))
    except FileNotFoundError:
        return ""
    except OSError:
        return None
