"""Where images come from."""

from lit_buckets.sources.base import Entry, Source
from lit_buckets.sources.folder import FolderSource

__all__ = ["Entry", "FolderSource", "Source"]
