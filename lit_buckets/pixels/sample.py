"""One sample: the picture of a row of the manifest in its bucket, and all that is known of it.

place ──▶ decode ──▶ to_bucket ──▶ image                        ─┐
(sizes     paired images       ──▶ as the image was              ├─▶ Sample
alone)     the same way            captions, sizes, columns     ─┘
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt
import torch
from torchvision.tv_tensors import Image, Mask

from lit_buckets import storage
from lit_buckets.errors import DataError
from lit_buckets.geometry import Size, same_ratio
from lit_buckets.headers import MAX_IMAGE_PIXELS
from lit_buckets.keyed import uniforms
from lit_buckets.pixels.decode import Colour, Decoded, DecodeError, decode, unopened
from lit_buckets.pixels.focus import FocusUnit, focus_boxes
from lit_buckets.pixels.jpeg import Quality
from lit_buckets.pixels.labels import decode_labels
from lit_buckets.pixels.resize import Interpolation
from lit_buckets.pixels.stored import Stored
from lit_buckets.pixels.transforms import labels_to_bucket, mask_of, to_bucket
from lit_buckets.placement import Crop, Fit, Placement, place

__all__ = ["TENSORS", "Images", "Kind", "Sample", "SampleReader", "becomes_tensor"]

Kind = Literal["image", "labels"]

#: Fields of every sample that become tensors of int64 in a batch: a row, and pairs of pixels.
TENSORS = ("index", "original_size", "crop_top_left", "target_size")


def becomes_tensor(value: Any, dtype: torch.dtype | None = None) -> bool:
    """Whether torch makes a tensor of a value, of its own type or of a given one.

    Example:
        >>> becomes_tensor(3), becomes_tensor("three"), becomes_tensor(2**63)
        (True, False, False)
    """
    try:
        torch.as_tensor(value, dtype=dtype)
    except (OverflowError, RuntimeError, TypeError, ValueError):
        return False
    return True


class Images(Protocol):
    """What is asked of a manifest."""

    @property
    def sizes(self) -> npt.NDArray[Any]:
        """(N, 2) displayed heights and widths, in pixels."""

    def __len__(self) -> int:
        """N."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of further columns."""

    @property
    def numbers(self) -> frozenset[str]:
        """Those of them that hold numbers or booleans, none of them missing."""

    def path(self, index: int, /) -> str:
        """Path of an image, for people."""

    def read(self, index: int, /) -> bytes:
        """Content of an image's file."""

    def stamp(self, index: int, /) -> tuple[int, int]:
        """Its length in bytes and time of last change, as they are now."""

    def value(self, index: int, column: str, /) -> Any:
        """Its value in a further column; None where it has none."""

    def caption(self, index: int, /) -> str:
        """Caption of an image; "" where it has none."""

    def beside(self, index: int, path: str, /) -> storage.Span:
        """Where the bytes of a file lie that is named relative to the root of an image's source."""


class Sample(NamedTuple):
    """An image and the other fields of its batch, for this image alone."""

    image: torch.Tensor  #: uint8 (3, H, W)
    fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SampleReader:
    """Reads samples of a manifest.

    Attributes:
        manifest: Paths, captions and sizes of the images.
        crop: Which part of a resized picture is kept.
        focus: Columns that tell what the crop ``"focus"`` is to keep, [x, y] or
            [left, top, right, bottom].
        focus_unit: Unit of these columns.
        flip: Probability that a picture is mirrored left to right.
        quality: How much larger a JPEG is decoded than it will be.
        interpolation: How pictures are resized.
        icc: Whether colours are converted to sRGB where a file has a profile.
        background: Red, green and blue under transparent pixels and of padding.
        paired: Columns that hold paths of paired images, and whether each is an image or labels.
        max_image_pixels: Largest image that is decoded at all, in pixels.

    Raises:
        ValueError: If a value is out of its range.
    """

    manifest: Images
    crop: Crop = "center"
    focus: Sequence[str] = ()
    focus_unit: FocusUnit = "share"
    flip: float = 0.0
    quality: Quality = "balanced"
    interpolation: Interpolation = "bicubic"
    icc: bool = True
    background: Colour = (255, 255, 255)
    paired: Mapping[str, Kind] = field(default_factory=dict)
    max_image_pixels: int = MAX_IMAGE_PIXELS

    def __post_init__(self) -> None:
        for name, choices in (
            ("crop", get_args(Crop)),
            ("focus_unit", get_args(FocusUnit)),
            ("quality", get_args(Quality)),
            ("interpolation", get_args(Interpolation)),
        ):
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"{name}={value!r} must be one of {', '.join(choices)}.")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip={self.flip} must be a probability, from 0 to 1.")
        for name in (*self.focus, *self.paired):
            if name not in self.manifest.columns:
                raise ValueError(
                    f"column {name!r} is not among those of the manifest; they are "
                    f"{list(self.manifest.columns)}. Correct its name."
                )

    def read(self, index: int, bucket: Size, key: int, *, fit: Fit = "crop") -> Sample:
        """One sample.

        Args:
            index: Row of the manifest.
            bucket: Size of the result, in pixels.
            key: What everything random depends on.
            fit: How the picture gets its bucket's size; see :func:`lit_buckets.placement.place`.

        Returns:
            The sample. Beside the batch's fields and the further columns, it has ``mask``, a
            ``Mask`` bool (1, H, W), where pictures are padded, and paired images in their
            columns: an ``Image`` uint8 (3, H, W), or a ``Mask`` int64 (H, W) of labels.

        Raises:
            DecodeError: If the file or one of its paired images fails, or its size is no longer
                the manifest's.
        """
        original = self._original(index)
        flip, *uniform = uniforms(key, 3).tolist()
        placement = self.placement(index, bucket, fit=fit, uniforms=uniform, flip=flip < self.flip)
        image = to_bucket(
            self._stored(index, placement.resized),
            placement,
            interpolation=self.interpolation,
            background=self.background,
        )
        fields = {
            "index": index,
            "caption": self.manifest.caption(index),
            "original_size": original,
            "crop_top_left": placement.crop_top_left,
            "target_size": bucket,
            "path": self.manifest.path(index),
            **{name: self.manifest.value(index, name) for name in self.manifest.columns},
        }
        if fit == "pad":
            fields["mask"] = Mask(mask_of(placement))
        for column, kind in self.paired.items():
            fields[column] = self._pair(index, column, kind, original, placement)
        return Sample(image, fields)

    def placement(
        self,
        index: int,
        bucket: Size,
        *,
        fit: Fit = "crop",
        uniforms: Sequence[float] = (0.5, 0.5),
        flip: bool = False,
    ) -> Placement:
        """Where a picture lies in its bucket.

        Args:
            index: Row of the manifest.
            bucket: Size of the bucket, in pixels.
            fit: How the picture gets its bucket's size, as in :func:`lit_buckets.placement.place`.
            uniforms: Place of a random crop, as there.
            flip: Whether the result is mirrored left to right.

        Returns:
            The placement.
        """
        return place(
            self._original(index),
            bucket,
            fit=fit,
            crop=self.crop,
            focus=self._focus(index) if self.focus else None,
            uniforms=uniforms,
            flip=flip,
        )

    def whole(self, index: int, wanted: Size) -> Decoded:
        """The whole picture of an image, whatever size its file has now.

        Args:
            index: Row of the manifest.
            wanted: Size that it will be resized to, in pixels; it is decoded not much larger than
                that where its format allows it.

        Returns:
            The picture, and the size of the file.

        Raises:
            DecodeError: If the file fails.
        """
        path = self.manifest.path(index)
        try:
            content = self.manifest.read(index)
        except (OSError, ValueError) as error:
            raise unopened(path, error) from None
        return self._decoded(content, path, wanted)

    def _original(self, index: int) -> Size:
        return Size(*self.manifest.sizes[index].tolist())

    def _focus(self, index: int) -> npt.NDArray[np.float64]:
        values = [self.manifest.value(index, name) for name in self.focus]
        given = [np.nan if value is None else value for value in values]
        return focus_boxes(given, self._original(index), self.focus_unit)

    def _stored(self, index: int, wanted: Size) -> Stored:
        """The picture of an image that has the size that the manifest says."""
        picture, original = self.whole(index, wanted), self._original(index)
        if picture.original != original:
            raise _changed(self.manifest.path(index), picture.original, original)
        return picture.stored

    def _decoded(self, content: bytes, name: str, wanted: Size) -> Decoded:
        return decode(
            content,
            name=name,
            wanted=wanted,
            quality=self.quality,
            icc=self.icc,
            background=self.background,
            max_image_pixels=self.max_image_pixels,
        )

    # -- paired images ---------------------------------------------------------------------------

    def _pair(
        self, index: int, column: str, kind: Kind, original: Size, placement: Placement
    ) -> torch.Tensor:
        """A paired image, put into the bucket as its image is."""
        name = self.manifest.value(index, column)
        try:
            content = self._read_beside(index, name)
            read = self._paired_labels if kind == "labels" else self._paired_image
            return read(content, str(name), original, placement)
        except DecodeError as error:
            path = self.manifest.path(index)
            # not lasting: what is remembered of a file is forgotten when that very file changes
            raise DecodeError.of(
                path, f"its {column} {name!r} fails: {error.reason}", lasting=False
            ) from None

    def _read_beside(self, index: int, name: Any) -> bytes:
        if not name:
            raise DecodeError.of("", "the table names none")
        try:
            return storage.read(self.manifest.beside(index, str(name)))
        except (OSError, ValueError, DataError) as error:
            raise unopened(str(name), error) from None

    def _paired_image(
        self, content: bytes, name: str, original: Size, placement: Placement
    ) -> torch.Tensor:
        picture = self._decoded(content, name, placement.resized)
        _check_ratio(picture.original, original)
        return Image(
            to_bucket(
                picture.stored,
                placement,
                interpolation=self.interpolation,
                background=self.background,
            )
        )

    def _paired_labels(
        self, content: bytes, name: str, original: Size, placement: Placement
    ) -> torch.Tensor:
        labels = decode_labels(content, name=name, max_image_pixels=self.max_image_pixels)
        _check_ratio(Size(*labels.shape), original)
        return Mask(labels_to_bucket(labels, placement))


def _changed(path: str, found: Size, expected: Size) -> DecodeError:
    reason = (
        f"changed since the setup pass: it is {found.height}x{found.width} pixels, "
        f"not {expected.height}x{expected.width}"
    )
    message = f"{path!r} {reason}. Run the setup pass again."
    # not lasting: that pass will take it with its new size
    return DecodeError(message, path=path, reason=reason, lasting=False)


def _check_ratio(found: Size, original: Size) -> None:
    if not same_ratio(found, original):
        raise DecodeError.of(
            "",
            f"it has {found.height}x{found.width} pixels, which is not the shape of its image of "
            f"{original.height}x{original.width}",
        )
