"""Small pictures of the most cropped images, and where on them the crop lies."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from lit_buckets.geometry import Offset, Size
from lit_buckets.headers import MAX_IMAGE_PIXELS
from lit_buckets.manifest import Manifest
from lit_buckets.pixels.decode import DecodeError, decode, unopened
from lit_buckets.placement import place
from lit_buckets.plan import BucketPlan

__all__ = ["Thumbnail", "most_cropped"]

IntArray = npt.NDArray[np.int64]

_SIDE = 360  # pixels of a thumbnail's longer side: sharp where screens have two for one
_QUALITY = 70


class Thumbnail(NamedTuple):
    """A picture of an image, and what is kept of it.

    Attributes:
        image: Row of the manifest.
        picture: A ``data:`` URI of the whole image; "" where it cannot be decoded.
        reason: Why it cannot; "" where it can.
        original: Size of the file, in pixels.
        resized: Size that it is resized to, in pixels.
        bucket: Size of the crop, in pixels.
        offset: Where the crop begins in the resized image; in its middle, if it is random.
        crop_loss: Share of the resized image that the crop removes.
    """

    image: int
    picture: str
    reason: str
    original: Size
    resized: Size
    bucket: Size
    offset: Offset
    crop_loss: float


def most_cropped(
    manifest: Manifest,
    plan: BucketPlan,
    count: int,
    *,
    corners: IntArray | None = None,
    background: tuple[int, int, int] = (255, 255, 255),
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> list[Thumbnail]:
    """Thumbnails of the images that lose most, from the worst on.

    Args:
        manifest: The images.
        plan: What becomes of them.
        count: At most so many; images that lose nothing are never among them.
        corners: (rows of the plan, 2) tops and lefts of their crops, in the resized images, in
            pixels; ``None`` for crops in the middle.
        background: Red, green and blue under transparent pixels, each in [0, 255].
        max_image_pixels: Largest image that is opened, in pixels.

    Returns:
        One for each image; a file that cannot be decoded has a reason in place of a picture.
    """
    worst = np.argsort(-plan.crop_loss, kind="stable")[:count]
    found = []
    for row in worst[plan.crop_loss[worst] > 0].tolist():
        image = plan.image_of(row)
        original = Size(*plan.sizes[row].tolist())
        bucket = Size(*plan.bucket_sizes[plan.bucket_of[row]].tolist())
        resized = Size(*plan.resized(row).tolist())
        try:
            picture, reason = _picture(manifest, image, original, background, max_image_pixels), ""
        except DecodeError as error:
            picture, reason = "", error.reason
        found.append(
            Thumbnail(
                image=image,
                picture=picture,
                reason=reason,
                original=original,
                resized=resized,
                bucket=bucket,
                offset=place(original, bucket, fit=plan.fit).offset
                if corners is None
                else Offset(*corners[row].tolist()),
                crop_loss=float(plan.crop_loss[row]),
            )
        )
    return found


def _picture(
    manifest: Manifest,
    image: int,
    original: Size,
    background: tuple[int, int, int],
    max_image_pixels: int,
) -> str:
    """The whole image, small, as a ``data:`` URI."""
    path = manifest.path(image)
    scale = _SIDE / max(original)
    small = Size(*(max(1, round(side * scale)) for side in original))
    try:
        content = manifest.read(image)
    except (OSError, ValueError) as error:
        raise unopened(path, error) from None
    decoded = decode(
        content,
        name=path,
        wanted=small,
        background=background,
        max_image_pixels=max_image_pixels,
    )
    if decoded.original != original:
        found = "x".join(map(str, decoded.original))
        raise DecodeError.of(path, f"changed since it was sized: it is {found} pixels now")
    whole = Image.fromarray(decoded.image.permute(1, 2, 0).contiguous().numpy())
    file = io.BytesIO()
    thumbnail = whole.resize((small.width, small.height), Image.Resampling.LANCZOS)
    thumbnail.save(file, "WEBP", quality=_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
