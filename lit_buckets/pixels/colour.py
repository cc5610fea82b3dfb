"""Whatever colours a file holds, in 8-bit sRGB.

Profiles are converted by Little CMS, through Pillow, at about 20 ms for a million pixels: as long
as decoding takes. So what can wait is handed on as a function, to be called on the small picture;
a profile that means sRGB, as nearly all do, is found out once and then costs nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import torch
from PIL import Image, ImageChops, ImageCms

from lit_buckets.pixels.depth import deep_grey, is_deep

__all__ = ["Colour", "Conversion", "as_tensor", "over_background", "profile_of"]

Colour = tuple[int, int, int]
Conversion = Callable[[torch.Tensor], torch.Tensor]

_PROBE_STEPS = 9  # shades of each channel on which a profile is compared with sRGB
_SAME_COLOUR = 2  # of 255: what two writings of the sRGB profile may differ by


def over_background(
    image: Image.Image, background: Colour, *, icc: bool = True
) -> tuple[Image.Image, Conversion | None]:
    """The picture of 8 bits in each channel, transparent pixels filled.

    Args:
        image: A loaded picture of any mode.
        background: Red, green and blue under transparent pixels.
        icc: Whether its profile, if it has one, is converted to sRGB.

    Returns:
        The picture, mode L or RGB; and what makes sRGB of it, as of any resized picture of it,
        ``None`` if it is sRGB.
    """
    colour, alpha = _split_alpha(image)
    profile = image.info.get("icc_profile") if icc else None
    if colour.mode == "LAB":
        return _applied(_from_lab(), colour), None
    if colour.mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        colour = ImageChops.invert(colour)  # Pillow takes every CMYK JPEG for Adobe's, inverted
    if colour.mode not in ("L", "RGB", "CMYK") or (colour.mode == "CMYK" and not profile):
        colour = colour.convert("RGB")
    if alpha is None and colour.mode != "CMYK":
        return colour, profile_of(profile, colour.mode)
    transform = _transform(bytes(profile), colour.mode) if profile else None
    rgb = colour.convert("RGB") if transform is None else _applied(transform, colour)
    if alpha is None:
        return rgb, None
    canvas = Image.new("RGB", rgb.size, tuple(background))
    canvas.paste(rgb, mask=alpha)
    return canvas, None


def profile_of(profile: bytes | None, mode: str) -> Conversion | None:
    """What makes sRGB of pixels, uint8 (C, H, W).

    Args:
        profile: The file's ICC profile, if it counts.
        mode: ``"L"`` for one channel, ``"RGB"`` for three.

    Returns:
        A function to uint8 (3, H, W); ``None`` if they are sRGB as they are.
    """
    transform = _transform(bytes(profile), mode) if profile else None
    if transform is not None:
        return partial(_converted, transform)
    return _repeated if mode == "L" else None


def as_tensor(image: Image.Image) -> torch.Tensor:
    """uint8 (C, H, W) of a picture of mode L or RGB, with its channels last in memory."""
    pixels = np.array(image)  # a copy: what Pillow lends cannot be written
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)


def _repeated(grey: torch.Tensor) -> torch.Tensor:
    return grey.expand(3, -1, -1)


def _converted(transform: ImageCms.ImageCmsTransform, pixels: torch.Tensor) -> torch.Tensor:
    channels_last = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    image = Image.fromarray(channels_last[..., 0] if pixels.shape[0] == 1 else channels_last)
    return as_tensor(_applied(transform, image))


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The picture without its alpha, of 8 bits in each channel; and its alpha, mode L, if any."""
    if is_deep(image):
        return deep_grey(image)
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


# -- profiles ----------------------------------------------------------------------------------


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
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
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
