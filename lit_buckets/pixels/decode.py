"""From an image file to an upright 8-bit sRGB picture.

    open ──▶ check the size ──▶ load ──▶ 8 bits ──▶ background ──▶ a picture as it is stored,
             max_image_pixels   JPEG at   grey and   under alpha    which is turned upright (EXIF)
                                a scale   float                     and made sRGB (ICC) when small

Formats, and what counts as an image's size, are those of :mod:`lit_buckets.headers`, so every
picture has the size that the setup pass found. Pillow opens every file and says what is wrong with
it. Two formats are decoded by others where these give the same bytes sooner: JPEG by simplejpeg
(:mod:`lit_buckets.pixels.jpeg`) and WebP by torchvision. For PNG torchvision would be a quarter
faster, but prints what it thinks of a file where nobody can catch it.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from PIL import Image, JpegImagePlugin
from torchvision import io as vision

from lit_buckets.errors import DataError
from lit_buckets.geometry import Size
from lit_buckets.headers import MAX_IMAGE_PIXELS, ORIENTATION, TURNED, UNOPENED, open_image
from lit_buckets.pixels.colour import Colour, as_tensor, over_background, profile_of
from lit_buckets.pixels.depth import mend_planes, mend_transparency
from lit_buckets.pixels.jpeg import Quality, decode_jpeg, eighths
from lit_buckets.pixels.stored import Stored

__all__ = ["Colour", "DecodeError", "Decoded", "check_size", "decode", "unopened"]


class DecodeError(DataError):
    """A file that gives no picture.

    Attributes:
        path: The file, or "" if unknown.
        reason: Why, as a short sentence.
        lasting: Whether the file's content is to blame, so that another try would fail as well.
    """

    def __init__(
        self, message: str, *, path: str = "", reason: str = "", lasting: bool = True
    ) -> None:
        # torch hands a worker's error on by calling its class with the message alone
        super().__init__(message)
        self.path, self.reason, self.lasting = path, reason or message, lasting

    @classmethod
    def of(cls, path: str, reason: str, *, lasting: bool = True) -> DecodeError:
        """The error for a file and a reason, with a message made of both."""
        message = f"{path!r} cannot be decoded: {reason}. Repair the file, or remove it."
        return cls(message, path=path, reason=reason, lasting=lasting)


class Decoded(NamedTuple):
    """A picture, and the size its file has at full scale."""

    stored: Stored  #: as :func:`lit_buckets.pixels.resize.resize_crop` takes it
    original: Size  #: displayed size of the file, in pixels

    @property
    def image(self) -> torch.Tensor:
        """uint8 (3, H, W), sRGB, upright; H and W are smaller where a scale was used."""
        return self.stored.upright()


def decode(
    source: str | os.PathLike[str] | bytes,
    *,
    name: str = "",
    wanted: Size | None = None,
    quality: Quality = "balanced",
    icc: bool = True,
    background: Colour = (255, 255, 255),
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> Decoded:
    """Decode an image file.

    The first frame or page counts. Alpha goes over the background. Grey of more than 8 bits is
    scaled by its range; see :func:`lit_buckets.pixels.depth.deep_grey`.

    Args:
        source: A file's path, or its content.
        name: What to call the content in errors; its suffix tells that it is a TGA.
        wanted: Displayed size that the picture will be resized to, in pixels. A JPEG of grey or
            colour is then decoded at a scale. ``None`` = full scale.
        quality: How much larger than wanted a JPEG stays; see
            :func:`lit_buckets.pixels.jpeg.eighths`.
        icc: Whether colours are converted to sRGB where the file has a profile. A broken profile
            is ignored.
        background: Red, green and blue under transparent pixels, each in [0, 255].
        max_image_pixels: Largest product of both sides, in pixels. Pillow's own limit is not
            changed.

    Returns:
        The picture, not necessarily contiguous, and the displayed size of the file.

    Raises:
        DecodeError: Whatever is wrong with the file: it cannot be read, is no image, is cut
            short, or is too large.
        ValueError: If ``quality`` is unknown.
    """
    if quality not in get_args(Quality):
        raise ValueError(f"quality={quality!r} must be one of {', '.join(get_args(Quality))}.")
    if not isinstance(source, bytes):
        name = os.fspath(source)
    try:
        content = source if isinstance(source, bytes) else Path(name).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise unopened(name, error) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow forgives, such as broken EXIF
            image = _open(content, name, max_image_pixels)
            return _decode(image, content, wanted, quality, icc, background)
    except MemoryError:
        raise DecodeError.of(name, "out of memory", lasting=False) from None
    except DecodeError:
        raise
    except Exception as error:  # parsers of hostile bytes raise anything
        raise DecodeError.of(name, _one_line(error)) from error


def unopened(path: str, error: Exception) -> DecodeError:
    """The error for a file that could not be opened or read; another try may succeed."""
    reason = getattr(error, "strerror", None) or _one_line(error)
    return DecodeError.of(path, f"{UNOPENED}: {reason}", lasting=False)


def _open(content: bytes, name: str, max_image_pixels: int) -> Image.Image:
    if not content:
        raise DecodeError.of(name, "empty: 0 bytes")
    image = open_image(io.BytesIO(content), Path(name).suffix)
    check_size(image, name, max_image_pixels)
    return image


def check_size(image: Image.Image, name: str, max_image_pixels: int) -> None:
    """Refuse an image that is too large, before its pixels are decoded.

    Raises:
        DecodeError: If it has more pixels than that.
    """
    width, height = image.size
    if height * width > max_image_pixels:
        raise DecodeError.of(
            name,
            f"too many pixels: height {height:,} x width {width:,} = {height * width:,} "
            f"exceed max_image_pixels={max_image_pixels:,}",
        )


def _decode(
    image: Image.Image,
    content: bytes,
    wanted: Size | None,
    quality: Quality,
    icc: bool,
    background: Colour,
) -> Decoded:
    size, scale = _size_of(image), _scale_of(image, wanted, quality)
    pixels = _decode_sooner(image, content, scale)
    if pixels is not None:
        conversion = profile_of(image.info.get("icc_profile") if icc else None, image.mode)
    else:
        if scale < 8:
            image.draft(None, (size.width * scale // 8, size.height * scale // 8))
        mend_planes(image)
        mend_transparency(image, lambda: open_image(io.BytesIO(content)))
        image.load()
        if scale == 8:
            size = _size_of(image)  # a TIFF has been turned
        colour, conversion = over_background(image, background, icc=icc)
        pixels = as_tensor(colour)
    orientation = _orientation_of(image)  # a PNG may tell it at its end
    extent = size.height * scale / 8, size.width * scale / 8
    stored = Stored(pixels, extent, orientation, conversion)
    return Decoded(stored, _turned(size, orientation))


def _scale_of(image: Image.Image, wanted: Size | None, quality: Quality) -> int:
    """8 times the scale that a file is decoded at; scales are chosen along the stored sides."""
    if wanted is None or not isinstance(image, JpegImagePlugin.JpegImageFile):
        return 8
    if image.mode == "CMYK":
        return 8  # inks multiply: the mean of colours is not the colour of mean inks
    return eighths(_size_of(image), _turned(wanted, _orientation_of(image)), quality)


def _decode_sooner(image: Image.Image, content: bytes, scale: int) -> torch.Tensor | None:
    """The pixels that Pillow would load; ``None`` where only Pillow can tell."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        return decode_jpeg(content, image.mode, _size_of(image), scale)
    if image.format == "WEBP" and image.mode == "RGB" and not getattr(image, "is_animated", False):
        return _decode_webp(content, _size_of(image))
    return None


def _decode_webp(content: bytes, size: Size) -> torch.Tensor | None:
    try:
        pixels = vision.decode_webp(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    except (RuntimeError, AttributeError):  # AttributeError: a torchvision without it
        return None
    return pixels if pixels.shape == (3, *size) else None


def _size_of(image: Image.Image) -> Size:
    return Size(image.height, image.width)


def _turned(size: Size, orientation: int) -> Size:
    """From the stored size to the displayed one, or back."""
    return Size(size.width, size.height) if orientation in TURNED else size


def _orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it is broken."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # broken EXIF: displayed as stored
        return 1
    # compared, not looked up: broken files hold fractions and lists here
    return next((known for known in range(1, 9) if known == orientation), 1)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
