"""What the setup pass reads of a file: an image's displayed size from its headers, and a caption.

Pixels are decoded only where that is demanded. Sizes are exactly those that a later decode and
``PIL.ImageOps.exif_transpose`` give, with orientations from EXIF and XMP, from metadata that
follows the pixels (PNG), and from formats that Pillow turns by itself (TIFF, AVIF).

The package needs nothing but Pillow, and that only for headers that its own parsers do not take
on: helper processes load it alone and are ready at once. Functions named ``read_...`` never raise
for what a file holds, and Pillow's ``MAX_IMAGE_PIXELS`` is neither asked nor changed.
"""

from lit_buckets.headers.content import Content, FileContent, MemoryContent
from lit_buckets.headers.exif import ORIENTATION, TURNED
from lit_buckets.headers.files import (
    MAX_CAPTION,
    FileRead,
    Job,
    caption_text,
    read_caption,
    read_files,
)
from lit_buckets.headers.formats import FORMATS, SUFFIXES, quiet
from lit_buckets.headers.pillow import open_image
from lit_buckets.headers.sizes import (
    MAX_IMAGE_PIXELS,
    UNOPENED,
    Demands,
    Header,
    read_header,
    read_header_from,
)

__all__ = [
    "FORMATS",
    "MAX_CAPTION",
    "MAX_IMAGE_PIXELS",
    "ORIENTATION",
    "SUFFIXES",
    "TURNED",
    "UNOPENED",
    "Content",
    "Demands",
    "FileContent",
    "FileRead",
    "Header",
    "Job",
    "MemoryContent",
    "caption_text",
    "open_image",
    "quiet",
    "read_caption",
    "read_files",
    "read_header",
    "read_header_from",
]
