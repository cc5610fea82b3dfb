"""Images resized and cropped to their buckets, as files that train pixel for pixel as they did.

    plan ──▶ names ──▶ images, by many processes ──▶ tables, and a configuration
                       each under a temporary name first; what is there already is left alone

1. ``names``: a safe name of its own for each image.
2. ``images``: one image as a file, with its caption and its paired images.
3. ``folder``: what an export consists of on disk, and what of it is there.
4. ``groups``: the images of a source, written by many processes.
5. ``run``: all of it.
"""

from lit_buckets.export.images import FORMATS, ImageFormat
from lit_buckets.export.run import Exported, export

__all__ = ["FORMATS", "Exported", "ImageFormat", "export"]
