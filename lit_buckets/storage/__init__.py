"""Bytes of images, wherever they lie: in a file of this machine or another, or in a stretch of one.

A file is named by its path, or by a URL that fsspec knows: ``s3://``, ``gs://``, ``https://`` and
so on. What is remote is asked through :mod:`lit_buckets.storage.remote`, which alone knows fsspec.
"""

from lit_buckets.storage.spans import (
    Span,
    absolute,
    change_of,
    confined,
    is_file,
    is_remote,
    joined,
    read,
    stamp,
    without_query,
)

__all__ = [
    "Span",
    "absolute",
    "change_of",
    "confined",
    "is_file",
    "is_remote",
    "joined",
    "read",
    "stamp",
    "without_query",
]
