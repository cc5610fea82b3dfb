"""Where images come from.

    path, kind ──▶ a source ──▶ blocks of rows: a path, where its bytes lie, a caption, columns
                   (kinds.py)   (base.py says what there may be)

Each kind is a module with a class of that name: `folder`, `table`, `image_folder`, `dataset`,
`shards`. None of them opens an image.
"""

from lit_buckets.sources.base import (
    BLOCK,
    LISTED,
    NO_CAPTION,
    Block,
    Container,
    Earlier,
    MissingCaption,
    Run,
    Source,
    as_blocks,
    check_free,
)
from lit_buckets.sources.dataset import DatasetSource
from lit_buckets.sources.folder import FolderSource
from lit_buckets.sources.image_folder import ImageFolderSource
from lit_buckets.sources.kinds import KINDS, kind_of, open_source, options_of_kind
from lit_buckets.sources.shards import ShardSource
from lit_buckets.sources.table import TableSource

__all__ = [
    "BLOCK",
    "KINDS",
    "LISTED",
    "NO_CAPTION",
    "Block",
    "Container",
    "DatasetSource",
    "Earlier",
    "FolderSource",
    "ImageFolderSource",
    "MissingCaption",
    "Run",
    "ShardSource",
    "Source",
    "TableSource",
    "as_blocks",
    "check_free",
    "kind_of",
    "open_source",
    "options_of_kind",
]
