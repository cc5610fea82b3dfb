"""Every option, stated once: the dataclasses are the single source of truth.

Checks, error messages, ``configs/default.yaml`` and ``docs/configuration.md`` follow from them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

from lit_buckets.config.frozen import FrozenMapping
from lit_buckets.config.options import Interval, Option, about, options_of

__all__ = [
    "BatchesConfig",
    "BucketsConfig",
    "Config",
    "DataConfig",
    "Integers",
    "LoaderConfig",
    "Names",
    "NormalizeConfig",
    "Paired",
    "SizeList",
    "SourceConfig",
    "Sources",
    "TransformConfig",
    "Transforms",
    "describe",
    "sections",
]


_LEAST_STD = 1e-4  # what is divided by it is finite in every floating type, float16 included


@dataclass(frozen=True)
class SourceConfig:
    """Where images come from."""

    path: str = field(
        metadata=about(
            "Folder, table, dataset or tar shards; a path, a pattern or a URL.", form="source"
        )
    )
    repeats: int = field(
        default=1, metadata=about("How often each image comes in an epoch.", Interval(1))
    )
    captions: str | None = field(
        default=".txt",
        metadata=about(
            "Suffix of the text files, or members of shards, with captions; null for none.",
            form="suffix",
        ),
    )
    kind: Literal["folder", "table", "imagefolder", "dataset", "shards"] | None = field(
        default=None, metadata=about("What the path is; null: found out from it.")
    )
    missing_caption: Literal["empty", "skip", "error"] = field(
        default="empty",
        metadata=about(
            "Images without a caption: keep them with an empty one, skip them, or stop."
        ),
    )
    include: Names | None = field(
        default=None,
        metadata=about("Patterns, as in .gitignore, of the files that are meant; null for all."),
    )
    exclude: Names | None = field(
        default=None,
        metadata=about("Patterns, as in .gitignore, of files and folders that are left out."),
    )
    follow_links: bool = field(
        default=False, metadata=about("Whether links may lead out of the folder.")
    )
    image_root: str | None = field(
        default=None,
        metadata=about(
            "Folder or URL that a table's paths begin at; null for the table's folder.", form="root"
        ),
    )
    image_column: str = field(
        default="auto",
        metadata=about(
            "Column of the images or their paths; of shards, the images' suffix.", form="name"
        ),
    )
    caption_column: str | None = field(
        default="auto", metadata=about("Column of the captions; null for none.", form="name")
    )
    height_column: str | None = field(
        default="auto",
        metadata=about("Column of heights in pixels, as displayed; null reads them.", form="name"),
    )
    width_column: str | None = field(
        default="auto",
        metadata=about("Column of widths in pixels, as displayed; null reads them.", form="name"),
    )
    columns: Names | None = field(
        default=None, metadata=about("Further columns that the batches carry; null for all.")
    )
    allow_outside: bool = field(
        default=False,
        metadata=about("Whether a table's paths, and links, may lead out of the images' folder."),
    )
    split: str | None = field(
        default=None, metadata=about("Which split of a dataset that has several.", form="name")
    )

    def __repr__(self) -> str:
        """The path, and what is not as by default."""
        changed = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        ]
        return f"SourceConfig({', '.join(changed)})"


Sources = tuple[SourceConfig, ...]
Integers = tuple[int, ...]
SizeList = tuple[tuple[int, int], ...]  # (height, width)
Names = tuple[str, ...]
Triple = tuple[float, float, float]
Transforms = tuple[FrozenMapping[Any], ...]
Paired = FrozenMapping[Literal["image", "labels"]]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images there are, and what happens to those that cannot be read."""

    train: Sources = field(metadata=about("Images to train on."))
    val: float | Sources | None = field(
        default=None,
        metadata=about(
            "Images to validate on: a share of the training images, or images of their own.",
            Interval(0, 1, open_low=True, open_high=True),
        ),
    )
    test: Sources | None = field(default=None, metadata=about("Images to test on."))
    predict: Sources | None = field(default=None, metadata=about("Images to predict on."))
    cache_dir: str = field(
        default=".lit_buckets",
        metadata=about("Folder for the table of image sizes; made if missing.", form="path"),
    )
    on_unreadable: Literal["skip", "error"] = field(
        default="skip",
        metadata=about(
            "What setup does with files that it cannot read: skip and list them, or stop."
        ),
    )
    on_error: Literal["replace", "raise"] = field(
        default="replace",
        metadata=about(
            "What training does with files that fail in decoding: replace them, or raise."
        ),
    )
    max_failures: int = field(
        default=100,
        metadata=about(
            "Files that may fail in decoding, on each rank, before one more stops the run.",
            Interval(0),
        ),
    )
    max_image_pixels: int = field(
        default=178956970,
        metadata=about("Largest image, in pixels, that is opened at all.", Interval(1)),
    )
    min_image_side: int = field(
        default=1,
        metadata=about(
            "Shortest side of an image, in pixels; setup leaves out what is smaller.", Interval(1)
        ),
    )
    max_image_ratio: float | None = field(
        default=None,
        metadata=about(
            "Longest image, as longer side over shorter; setup leaves out longer ones; null: none.",
            Interval(1),
        ),
    )
    verify: bool = field(
        default=False,
        metadata=about("Whether setup decodes every image once, and leaves out those that fail."),
    )


@dataclass(frozen=True, kw_only=True)
class BucketsConfig:
    """Which sizes the batches have, and which image goes where."""

    rule: Literal["fit", "ladder", "list", "native"] = field(
        default="fit",
        metadata=about(
            "How sizes are found: each image's ratio, all maximal sizes, a list, or as they are."
        ),
    )
    max_area: int | Integers = field(
        default=262144,
        metadata=about(
            "Largest area of a bucket, in pixels; or several, one for each resolution.",
            Interval(1),
        ),
    )
    resolutions: Literal["largest", "all"] = field(
        default="largest",
        metadata=about(
            "Of several areas, an image comes at the largest that does not enlarge it, or at all."
        ),
    )
    divisor: int = field(
        default=64,
        metadata=about("Both sides of a bucket are multiples of this, in pixels.", Interval(1)),
    )
    min_side: int | None = field(
        default=None,
        metadata=about("Shortest side of a bucket, in pixels; null for one divisor.", Interval(1)),
    )
    max_side: int | None = field(
        default=None,
        metadata=about("Longest side of a bucket, in pixels; null for no limit.", Interval(1)),
    )
    sizes: Literal["sdxl", "pixart_512", "novelai"] | SizeList | None = field(
        default=None,
        metadata=about(
            "Sizes in pixels for the rule list: your own, or a published set.", Interval(1)
        ),
    )
    max_buckets: int | None = field(
        default=None,
        metadata=about(
            "At most so many buckets, the best for these images; null for no limit.", Interval(1)
        ),
    )
    upscale: bool = field(
        default=True,
        metadata=about("Whether an image may be enlarged; if not, it takes a smaller bucket."),
    )
    trim: bool = field(
        default=False,
        metadata=about(
            "With the rule native: whether images are cut to multiples of the divisor, or left out."
        ),
    )
    min_images: int = field(
        default=1,
        metadata=about("A bucket with fewer images than this is small.", Interval(1)),
    )
    small_bucket: Literal["move", "keep", "exclude"] = field(
        default="move",
        metadata=about(
            "Images of a small bucket: move to their next best bucket, keep their own, or exclude."
        ),
    )
    max_crop: float = field(
        default=0.25,
        metadata=about(
            "Largest crop loss, as a share of the resized image, at which an image is moved.",
            Interval(0, 1, open_high=True),
        ),
    )
    plan: str | None = field(
        default=None,
        metadata=about(
            "File of a saved plan for the training images, in place of what is above.", form="file"
        ),
    )


@dataclass(frozen=True, kw_only=True)
class BatchesConfig:
    """How images become batches, and in which order they come."""

    batch_size: int | None = field(
        default=8,
        metadata=about(
            "Images in a batch on each rank; null where max_pixels is set.", Interval(1)
        ),
    )
    max_pixels: int | None = field(
        default=None,
        metadata=about("Most pixels in a batch on each rank, in place of batch_size.", Interval(1)),
    )
    sync: Literal["same_bucket", "mixed", "strict"] = field(
        default="same_bucket",
        metadata=about(
            "A step's bucket on all ranks: the same but for left-overs, mixed, or strictly one."
        ),
    )
    short_batch: Literal["keep", "drop", "repeat"] = field(
        default="keep",
        metadata=about(
            "Batches that a bucket cannot fill: keep them short, drop them, or repeat images."
        ),
    )
    shuffle: bool = field(
        default=True, metadata=about("Whether training images come in a new order in each epoch.")
    )
    seed: int = field(
        default=0, metadata=about("Seed of the order and of all augmentation.", Interval(0))
    )
    largest_first: bool = field(
        default=True,
        metadata=about(
            "Whether the largest bucket comes first, so that too little memory shows at once."
        ),
    )
    on_change: Literal["error", "restart_epoch"] = field(
        default="error",
        metadata=about(
            "On resuming after a change of images, buckets or seed: stop, or begin the epoch anew."
        ),
    )


@dataclass(frozen=True, kw_only=True)
class NormalizeConfig:
    """Means and standard deviations of one's own, for values from 0 to 1."""

    mean: Triple = field(
        metadata=about("What is subtracted from red, green and blue.", Interval(0, 1))
    )
    std: Triple = field(metadata=about("What the rest is divided by.", Interval(_LEAST_STD, 1)))


@dataclass(frozen=True, kw_only=True)
class TransformConfig:
    """What happens to the pixels."""

    fit: Literal["crop", "pad", "stretch"] = field(
        default="crop",
        metadata=about(
            "How images get their bucket's size: cover it and be cropped, be padded, or stretched."
        ),
    )
    crop: Literal["center", "random", "top", "bottom", "focus"] = field(
        default="center", metadata=about("Which part of a resized image the crop keeps.")
    )
    focus: Names | None = field(
        default=None,
        metadata=about(
            "Columns that tell what the crop focus keeps: [x, y] or [left, top, right, bottom]."
        ),
    )
    focus_unit: Literal["share", "pixels"] = field(
        default="share",
        metadata=about("Unit of these columns: shares of the displayed image's sides, or pixels."),
    )
    quality: Literal["fast", "balanced", "exact"] = field(
        default="balanced",
        metadata=about(
            "JPEGs are decoded at a scale of 1, 1.25 times what they are resized to, or in full."
        ),
    )
    interpolation: Literal["bicubic", "bilinear", "lanczos", "area", "nearest"] = field(
        default="bicubic", metadata=about("How images are resized; all but nearest antialiased.")
    )
    icc: bool = field(
        default=True,
        metadata=about("Whether colours become sRGB where a file's profile says they are others."),
    )
    background: tuple[int, int, int] = field(
        default=(255, 255, 255),
        metadata=about(
            "Colour under transparent pixels and of padding: red, green, blue.", Interval(0, 255)
        ),
    )
    flip: float = field(
        default=0.0,
        metadata=about(
            "Probability that a training image is mirrored left to right.", Interval(0, 1)
        ),
    )
    augment: Transforms = field(
        default=(),
        metadata=about(
            "Transforms of torchvision v2 for training images, by name with their parameters."
        ),
    )
    paired: Paired = field(
        default=FrozenMapping(),
        metadata=about(
            "Columns that hold paths of paired images, and whether each is an image or labels."
        ),
    )
    normalize: Literal["minus_one_one", "zero_one", "imagenet"] | NormalizeConfig | None = field(
        default="minus_one_one",
        metadata=about(
            "Pixels on the device: -1 to 1, 0 to 1, ImageNet's or own statistics; null for bytes."
        ),
    )
    channels_last: bool = field(
        default=False,
        metadata=about("Whether images on the device lie in memory with their channels last."),
    )


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """How batches are loaded."""

    num_workers: int = field(
        default=4,
        metadata=about(
            "Processes on each rank that load images; 0 loads in the rank's own.", Interval(0)
        ),
    )
    prefetch_factor: int = field(
        default=2,
        metadata=about(
            "Batches that each worker holds ready; unused without workers.", Interval(1)
        ),
    )
    pin_memory: bool | None = field(
        default=None,
        metadata=about(
            "Whether batches lie in pinned memory; null: where there is an accelerator."
        ),
    )
    persistent_workers: bool = field(
        default=True,
        metadata=about("Whether workers live on between epochs; unused without workers."),
    )
    multiprocessing_context: Literal["fork", "spawn", "forkserver"] | None = field(
        default=None,
        metadata=about(
            "How workers are started; null for the platform's way; unused without workers."
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole configuration; checked only as it comes out of :func:`load_config`."""

    data: DataConfig
    buckets: BucketsConfig = field(default_factory=BucketsConfig)
    batches: BatchesConfig = field(default_factory=BatchesConfig)
    transform: TransformConfig = field(default_factory=TransformConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)


def sections() -> dict[str, Any]:
    """The sections of a configuration and their dataclasses.

    Example:
        >>> list(sections())
        ['data', 'buckets', 'batches', 'transform', 'loader']
    """
    return get_type_hints(Config)


def describe() -> list[Option]:
    """Every option of a configuration, in order, those of a single source left out.

    Example:
        >>> [option.key for option in describe() if option.required]
        ['data.train']
    """
    return [o for name, cls in sections().items() for o in options_of(cls, name).values()]
