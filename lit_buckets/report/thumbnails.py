"""Small pictures of the most cropped images, and where on them the crop lies."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from lit_buckets.geometry import Size
from lit_buckets.pixels.decode import DecodeError
from lit_buckets.pixels.sample import SampleReader
from lit_buckets.placement import Placement
from lit_buckets.plan import BucketPlan

__all__ = ["Thumbnail", "greatest_losses"]

FloatArray = npt.NDArray[np.float64]

_SIDE = 360  # pixels of a thumbnail's longer side: sharp where screens have two for one
_QUALITY = 70


class Thumbnail(NamedTuple):
    """A picture of an image, and where it lies in its bucket.

    Attributes:
        image: Row of the manifest.
        picture: A ``data:`` URI of the whole image; "" where it cannot be decoded.
        reason: Why it cannot; "" where it can.
        original: Size of the file, in pixels.
        placement: How it is resized and placed; in the middle, where a crop is random.
        loss: What the image loses.
    """

    image: int
    picture: str
    reason: str
    original: Size
    placement: Placement
    loss: float

    @property
    def frame(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the bucket, seen from the resized picture, in pixels."""
        _, _, (top, left), _, margin, _ = self.placement
        height, width = self.placement.bucket
        return left - margin.left, top - margin.top, width, height

    @property
    def view(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of what holds the picture and the bucket."""
        left, top, width, height = self.frame
        resized = self.placement.resized
        first, begin = min(left, 0), min(top, 0)
        right, bottom = max(left + width, resized.width), max(top + height, resized.height)
        return first, begin, right - first, bottom - begin


def greatest_losses(
    plan: BucketPlan, losses: FloatArray, count: int, reader: SampleReader
) -> list[Thumbnail]:
    """Thumbnails of the images that lose most, from the worst on.

    Args:
        plan: What becomes of them.
        losses: (N,) what each row of the plan loses to its bucket.
        count: At most so many; images that lose nothing are never among them.
        reader: How they are decoded and placed.

    Returns:
        One for each image; a file that cannot be decoded has a reason in place of a picture.
    """
    worst = np.argsort(-losses, kind="stable")[:count]
    found = []
    for row in worst[losses[worst] > 0].tolist():
        image = plan.image_of(row)
        original = Size(*plan.sizes[row].tolist())
        bucket = Size(*plan.bucket_sizes[plan.bucket_of[row]].tolist())
        placement = reader.placement(image, bucket, fit=plan.fit)
        try:
            picture, reason = _picture(image, original, reader), ""
        except DecodeError as error:
            picture, reason = "", error.reason
        loss = float(losses[row])
        found.append(Thumbnail(image, picture, reason, original, placement, loss))
    return found


def _picture(image: int, original: Size, reader: SampleReader) -> str:
    """The whole image, small, as a ``data:`` URI."""
    scale = _SIDE / max(original)
    small = Size(*(max(1, round(side * scale)) for side in original))
    decoded = reader.whole(image, small)
    if decoded.original != original:
        found = "x".join(map(str, decoded.original))
        path = reader.manifest.path(image)
        raise DecodeError.of(path, f"changed since it was sized: it is {found} pixels now")
    whole = Image.fromarray(decoded.image.permute(1, 2, 0).contiguous().numpy())
    file = io.BytesIO()
    thumbnail = whole.resize((small.width, small.height), Image.Resampling.LANCZOS)
    thumbnail.save(file, "WEBP", quality=_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
