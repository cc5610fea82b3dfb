"""Sets of bucket sizes, and which of a set an image takes. Exact integers, no torch.

An image takes the size that keeps most of it. How much a crop to a size keeps depends on two
aspect ratios alone, the smaller over the larger, before the resized image is rounded to whole
pixels. Sizes are compared by that: the quotient of two integer products, equal for equal
fractions, so no choice hangs on a rounding error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lit_buckets import geometry

__all__ = ["PUBLISHED", "distinct", "ladder", "nearest", "one_per_ratio", "published"]

IntArray = npt.NDArray[np.int64]

_CHUNK_CELLS = 1 << 22  # image-size pairs compared at once

# The portrait half of the 40 sizes in appendix I of the SDXL paper (Podell et al. 2023,
# doi:10.48550/arXiv.2307.01952), the square, and the landscape half: not quite its mirror image.
_SDXL = (
    *((512, 2048), (512, 1984), (512, 1920), (512, 1856), (576, 1792), (576, 1728), (576, 1664)),
    *((640, 1600), (640, 1536), (704, 1472), (704, 1408), (704, 1344), (768, 1344), (768, 1280)),
    *((832, 1216), (832, 1152), (896, 1152), (896, 1088), (960, 1088), (960, 1024), (1024, 1024)),
    *((1024, 960), (1088, 960), (1088, 896), (1152, 896), (1152, 832), (1216, 832), (1280, 768)),
    *((1344, 768), (1408, 704), (1472, 704), (1536, 640), (1600, 640), (1664, 576), (1728, 576)),
    *((1792, 576), (1856, 512), (1920, 512), (1984, 512), (2048, 512)),
)

#: Published sets by name, and where each is from.
PUBLISHED = {
    "sdxl": "SDXL (Podell et al. 2023, doi:10.48550/arXiv.2307.01952), appendix I: 40 sizes near "
    "1024 x 1024; PixArt-alpha at 1024 has the same",
    "pixart_512": "PixArt-alpha (Chen et al. 2023, doi:10.48550/arXiv.2310.00426) at 512: those "
    "of sdxl with sides halved",
    "novelai": "NovelAI Improvements on Stable Diffusion (2022): the largest sizes within "
    "512 x 768 with sides of 256 to 1024 in steps of 64, and 512 x 512",
}


def published(name: str) -> IntArray:
    """A published set of sizes.

    Args:
        name: A key of :data:`PUBLISHED`.

    Returns:
        (K, 2) sizes, in pixels, in rising order of height, then width.

    Raises:
        ValueError: If there is no set of this name.

    Example:
        >>> len(published("sdxl")), published("novelai")[0].tolist()
        (40, [256, 1024])
    """
    if name not in PUBLISHED:
        raise ValueError(f"sizes={name!r} is no published set; there are {', '.join(PUBLISHED)}.")
    if name == "novelai":
        sides = np.arange(256, 1025, 64)
        other = np.minimum(512 * 768 // sides // 64 * 64, 1024)
        half = np.stack([sides, other], axis=1)
        return np.unique(np.concatenate([half, half[:, ::-1], [[512, 512]]]), axis=0)
    return np.unique(np.array(_SDXL) // (2 if name == "pixart_512" else 1), axis=0)


def ladder(
    *, max_area: int, divisor: int, min_side: int | None = None, max_side: int | None = None
) -> IntArray:
    """All maximal sizes: neither side can grow by one divisor without breaking a limit.

    Args:
        max_area: Largest area, in pixels.
        divisor: Every side is a multiple of it, in pixels.
        min_side: No side is shorter, in pixels.
        max_side: No side is longer, in pixels.

    Returns:
        (K, 2) sizes, in pixels, in rising order of height; with each its transpose.

    Raises:
        ValueError: If the limits leave no size at all.

    Example:
        >>> ladder(max_area=6 * 64 * 64, divisor=64).tolist()
        [[64, 384], [128, 192], [192, 128], [384, 64]]
    """
    budget, shortest, longest = geometry.cells(max_area, divisor, min_side, max_side)
    height = np.arange(shortest, min(longest, budget // shortest) + 1)
    width = np.minimum(budget // height, longest)
    grows = (height < longest) & ((height + 1) * width <= budget)
    return np.stack([height, width], axis=1)[~grows] * divisor


def nearest(sizes: npt.ArrayLike, shapes: npt.ArrayLike, *, enlarge: bool = True) -> IntArray:
    """The shape that keeps most of each image.

    Of shapes that keep as much, the squarest is taken, then the largest, then the tallest: so
    transposed images take transposed shapes, but for a square image that is just between a shape
    and its transpose.

    Args:
        sizes: (N, 2) image sizes, in pixels.
        shapes: (K, 2) shapes, in pixels.
        enlarge: Whether an image may be smaller than its shape.

    Returns:
        (N,) indices of shapes; -1 where every shape would enlarge the image, or there is none.

    Example:
        >>> nearest([[600, 800], [500, 500]], [[512, 512], [512, 768]]).tolist()
        [1, 0]
    """
    images = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
    shape = np.asarray(shapes, dtype=np.int64).reshape(-1, 2)
    found = np.full(len(images), -1, dtype=np.int64)
    if not len(shape):
        return found
    order = _by_preference(shape)
    height, width = shape[order].T
    step = max(1, _CHUNK_CELLS // len(shape))
    for begin in range(0, len(images), step):
        image_height, image_width = images[begin : begin + step, :, None].transpose(1, 0, 2)
        down, across = image_height * width, image_width * height
        kept = np.minimum(down, across) / np.maximum(down, across)
        if not enlarge:
            kept[(image_height < height) | (image_width < width)] = -1
        best = kept.argmax(axis=1)
        some = kept[np.arange(len(kept)), best] >= 0
        found[begin : begin + step] = np.where(some, order[best], -1)
    return found


def largest_inside(sizes: npt.ArrayLike, shapes: npt.ArrayLike) -> IntArray:
    """The shape with the most pixels that can be cut from each image as it is.

    Of shapes with as many pixels, the squarest is taken, then the tallest.

    Args:
        sizes: (N, 2) image sizes, in pixels.
        shapes: (K, 2) shapes, in pixels.

    Returns:
        (N,) indices of shapes; -1 where none lies inside the image, or there is none.

    Example:
        >>> largest_inside([[600, 800], [500, 500]], [[512, 512], [512, 768]]).tolist()
        [1, -1]
    """
    images = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
    shape = np.asarray(shapes, dtype=np.int64).reshape(-1, 2)
    found = np.full(len(images), -1, dtype=np.int64)
    open_ = np.arange(len(images))
    squareness = shape.min(axis=1, initial=2**62) / shape.max(axis=1, initial=1)
    for index in np.lexsort((-shape[:, 0], -squareness, -shape.prod(axis=1))).tolist():
        inside = (images[open_] >= shape[index]).all(axis=1)
        found[open_[inside]] = index
        open_ = open_[~inside]
    return found


def distinct(sizes: IntArray) -> tuple[IntArray, IntArray]:
    """Distinct sizes in rising order of height, then width, and which of them each size is.

    Args:
        sizes: (N, 2) sizes, in pixels.

    Returns:
        (U, 2) distinct sizes and (N,) indices into them.

    Example:
        >>> [part.tolist() for part in distinct(np.array([[64, 128], [64, 64], [64, 128]]))]
        [[[64, 64], [64, 128]], [1, 0, 1]]
    """
    base = int(sizes[:, 1].max(initial=0)) + 1
    keys, which = np.unique(sizes[:, 0] * base + sizes[:, 1], return_inverse=True)
    return np.stack(np.divmod(keys, base), axis=1), which.reshape(-1)


def one_per_ratio(shapes: IntArray) -> IntArray:
    """The largest shape of each aspect ratio.

    Args:
        shapes: (K, 2) shapes, in pixels.

    Returns:
        (U, 2) distinct shapes, no two of one aspect ratio.

    Example:
        >>> one_per_ratio(np.array([[64, 64], [128, 128], [64, 128]])).tolist()
        [[128, 128], [64, 128]]
    """
    largest_first = shapes[np.argsort(-shapes[:, 0], kind="stable")]
    reduced = largest_first // np.gcd(largest_first[:, 0], largest_first[:, 1])[:, None]
    first = np.unique(reduced, axis=0, return_index=True)[1]
    return largest_first[first]


def _by_preference(shapes: IntArray) -> IntArray:
    squareness = shapes.min(axis=1) / shapes.max(axis=1)
    return np.lexsort((-shapes[:, 0], -shapes.prod(axis=1), -squareness))
