"""From an image file to an upright 8-bit sRGB picture.

    open ──▶ check the size ──▶ load ──▶ 8 bits ──▶ sRGB ──▶ background ──▶ upright
             max_image_pixels   JPEG at   grey and   ICC,     under alpha    EXIF
                                a scale   float      CMYK,
                                                     LAB

Formats, and what counts as an image's size, are those of :mod:`lit_buckets.headers`, so every
picture has the size that the setup pass found.
"""

from __future__ import annotations

import io
import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageChops, ImageCms, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from lit_buckets.errors import DataError
from lit_buckets.geometry import Size
from lit_buckets.headers import MAX_IMAGE_PIXELS, UNOPENED, open_image

__all__ = ["DecodeError", "Decoded", "decode", "unopened"]

Colour = tuple[int, int, int]

_SPARE = 2  # how many times the wanted size a JPEG is decoded at, at least
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC = 0x0102, 0x0106
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = (5, 6, 7, 8)  # orientations that exchange height and width
_PNG_DEPTHS = {"1": 255, "L;2": 85, "L;4": 17}  # what Pillow multiplies shades of few bits by
_PROBE_STEPS = 9  # shades of each channel on which a profile is compared with sRGB
_SAME_COLOUR = 2  # of 255: what two writings of the sRGB profile may differ by


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

    image: torch.Tensor  #: uint8 (3, H, W), sRGB, upright
    original: Size  #: displayed size of the file; H and W are smaller where a scale was used


def decode(
    source: str | os.PathLike[str] | bytes,
    *,
    name: str = "",
    wanted: Size | None = None,
    background: Colour = (255, 255, 255),
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> Decoded:
    """Decode an image file.

    The first frame or page counts. Alpha goes over the background. A profile that is not sRGB's
    is converted; a broken one is ignored. Grey values of more than 8 bits are scaled by the range
    of their type, and where the type has none (32-bit integers, floats) by that of the values:
    the smallest of 0–1 (floats), 0–255 and 0–65535 that holds them, or else all of it.

    Args:
        source: A file's path, or its content.
        name: What to call the content in errors; its suffix tells that it is a TGA.
        wanted: Displayed size that the picture will be resized to, in pixels. A JPEG is then
            decoded at its smallest scale (of 1, 1/2, 1/4 and 1/8) with both sides at least
            twice as long. ``None`` = full scale.
        background: Red, green and blue under transparent pixels, each in [0, 255].
        max_image_pixels: Largest product of both sides, in pixels. Pillow's own limit is not
            changed.

    Returns:
        The picture, not necessarily contiguous, and the displayed size of the file.

    Raises:
        DecodeError: Whatever is wrong with the file: it cannot be read, is no image, is cut
            short, or is too large.
    """
    if not isinstance(source, bytes):
        name = os.fspath(source)
    try:
        content = source if isinstance(source, bytes) else Path(name).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise unopened(name, error) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow forgives, such as broken EXIF
            return _decode(content, name, wanted, background, max_image_pixels)
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


def _decode(
    content: bytes, name: str, wanted: Size | None, background: Colour, max_image_pixels: int
) -> Decoded:
    if not content:
        raise DecodeError.of(name, "empty: 0 bytes")
    image = open_image(io.BytesIO(content), Path(name).suffix)
    width, height = image.size
    if height * width > max_image_pixels:
        raise DecodeError.of(
            name,
            f"too many pixels: height {height:,} x width {width:,} = {height * width:,} "
            f"exceed max_image_pixels={max_image_pixels:,}",
        )
    _mend_transparency(image)
    if wanted is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
        _choose_scale(image, wanted)
        image.load()
    else:
        image.load()
        width, height = image.size  # a TIFF is turned by now
    orientation = _orientation_of(image)
    rgb = _over_background(image, background)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    original = Size(width, height) if orientation in _TURNED else Size(height, width)
    return Decoded(torch.from_numpy(np.array(rgb)).permute(2, 0, 1), original)


def _choose_scale(image: JpegImagePlugin.JpegImageFile, wanted: Size) -> None:
    """Let a JPEG decode at the smallest scale that leaves something to resize."""
    height, width = wanted
    if _orientation_of(image) in _TURNED:  # scales are chosen along the stored sides
        height, width = width, height
    image.draft(None, (_SPARE * width, _SPARE * height))


def _orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it is broken."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # broken EXIF: displayed as stored
        return 1
    # compared, not looked up: broken files hold fractions and lists here
    return next((known for known in _UPRIGHT if known == orientation), 1)


# -- colour ------------------------------------------------------------------------------------


def _over_background(image: Image.Image, background: Colour) -> Image.Image:
    """The picture in sRGB, mode RGB, transparent pixels filled."""
    colour, alpha = _split_alpha(image)
    rgb = _to_srgb(colour, image)
    if alpha is None:
        return rgb
    canvas = Image.new("RGB", rgb.size, tuple(background))
    canvas.paste(rgb, mask=alpha)
    return canvas


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The picture without its alpha, of 8 bits in each channel; and its alpha, mode L, if any."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _deep_grey(image)
    if image.mode == "1":
        image = image.convert("L")  # keeps the note of a transparent shade
    grey = image.mode in ("L", "LA", "La")
    if not image.has_transparency_data:
        indexed = image.mode == "P"
        return (image.convert("RGB") if indexed else image), None
    if image.mode == "La":
        image = image.convert("LA")
    both = image.convert("LA" if grey else "RGBA")
    return both.convert("L" if grey else "RGB"), both.getchannel("A")


def _to_srgb(colour: Image.Image, image: Image.Image) -> Image.Image:
    """Convert a picture without alpha, described by the image it stems from, to mode RGB."""
    if colour.mode == "LAB":
        return _applied(_from_lab(), colour)
    if colour.mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        colour = ImageChops.invert(colour)  # Pillow takes every CMYK JPEG for Adobe's, inverted
    profile = image.info.get("icc_profile")
    if profile:
        if colour.mode not in ("L", "RGB", "CMYK"):
            colour = colour.convert("RGB")
        transform = _from_profile(bytes(profile), colour.mode)
        if transform is not None:
            return _applied(transform, colour)
    return colour.convert("RGB")


def _applied(transform: ImageCms.ImageCmsTransform, colour: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(colour, transform)
    assert converted is not None  # only where the picture is changed in place
    return converted


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _from_lab() -> ImageCms.ImageCmsTransform:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.buildTransform(lab, _srgb(), "LAB", "RGB")


@lru_cache(maxsize=16)  # a dataset has few profiles, and a transform takes milliseconds to build
def _from_profile(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile to sRGB; ``None`` if it is sRGB, broken, or made for other channels."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    return None if mode == "RGB" and _changes_nothing(transform) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether colours stay as they are: profiles that mean sRGB come under many names."""
    shades = np.linspace(0, 255, _PROBE_STEPS).round().astype(np.uint8)
    probe = np.stack(np.meshgrid(shades, shades, shades), axis=-1).reshape(_PROBE_STEPS, -1, 3)
    converted = np.asarray(_applied(transform, Image.fromarray(probe)))
    return bool((np.abs(converted.astype(int) - probe) <= _SAME_COLOUR).all())


# -- grey of more than 8 bits ------------------------------------------------------------------


def _deep_grey(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Grey of 8 bits from integers of 16 or 32 bits or from floats; and its alpha, if any."""
    values = np.asarray(image)
    low, high = _range_of(image, values)
    exact = np.float32 if values.dtype.itemsize == 2 else np.float64
    grey = (values.astype(exact) - exact(low)) * exact(255 / (high - low))
    grey = np.nan_to_num(grey, nan=0, posinf=255, neginf=0)
    if _white_is_zero(image):
        grey = 255 - grey
    alpha = None
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = Image.fromarray((values != transparent).astype(np.uint8) * np.uint8(255))
    return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)), alpha


def _range_of(image: Image.Image, values: npt.NDArray[Any]) -> tuple[float, float]:
    """Which values are black and white."""
    if image.mode.startswith("I;16"):
        return 0, 2 ** _bits_of(image) - 1
    if image.mode == "I" and image.format in ("PPM", "PNG"):
        return 0, 65535  # Pillow stretches a PPM's own range to it
    finite = values[np.isfinite(values)]
    low, high = float(finite.min(initial=0)), float(finite.max(initial=0))
    if low < 0:
        return low, high
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    return 0, next((top for top in usual if high <= top), high)


def _bits_of(image: Image.Image) -> int:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0])  # may be 12
    return 16


def _white_is_zero(image: Image.Image) -> bool:
    """Whether Pillow has left a TIFF's 16-bit negative as it is; it turns 8 bits round itself."""
    return (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.mode.startswith("I;16")
        and image.tag_v2.get(_PHOTOMETRIC) == 0
    )


def _mend_transparency(image: Image.Image) -> None:
    """Scale a PNG's transparent colour as Pillow scales its pixels; to be called before loading.

    Pillow leaves it in the file's own depth where that is not 8 bits; later releases scale 1 bit.
    """
    transparent = image.info.get("transparency")
    if not isinstance(image, PngImagePlugin.PngImageFile) or not image.tile:
        return
    raw = image.tile[0][3]
    if isinstance(transparent, int) and raw in _PNG_DEPTHS:
        image.info["transparency"] = min(transparent * _PNG_DEPTHS[raw], 255)
    elif isinstance(transparent, tuple) and raw == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
