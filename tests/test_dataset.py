"""Whole batches: every field tells of the picture that is there, wherever it was made."""

from __future__ import annotations

import logging
import pickle
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from lit_buckets.errors import DataError
from lit_buckets.geometry import Size
from lit_buckets.manifest import Manifest, read_failures
from lit_buckets.pixels.dataset import BucketDataset
from lit_buckets.pixels.decode import DecodeError
from lit_buckets.placement import resized_sizes
from lit_buckets.plan import BucketPlan, plan_buckets
from lit_buckets.sampler import BucketBatch, BucketBatchSampler
from lit_buckets.scan import scan
from lit_buckets.storage import Span

ORIENTATION = 0x0112


class FakeManifest:
    """Paths, captions and sizes of files in a folder."""

    def __init__(self, files: list[Path], sizes, **columns: list) -> None:
        self.files = files
        self.sizes = np.array(sizes, dtype=np.int32).reshape(-1, 2)
        self.extra = columns
        self.columns = tuple(columns)

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> str:
        return str(self.files[index])

    numbers: frozenset[str] = frozenset()

    def read(self, index: int) -> bytes:
        return self.files[index].read_bytes()

    def stamp(self, index: int) -> tuple[int, int]:
        status = self.files[index].stat()
        return status.st_size, status.st_mtime_ns

    def value(self, index: int, column: str) -> object:
        return self.extra[column][index]

    def beside(self, index: int, path: str) -> Span:
        return Span(str(self.files[index].parent / path))

    def caption(self, index: int) -> str:
        return f"caption {index}"


def noise(height: int, width: int, seed: int) -> Image.Image:
    shades = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(shades)


SIZES = [(64, 64), (80, 96), (96, 80), (64, 128), (70, 70), (128, 64), (64, 64), (100, 50)] * 3


@pytest.fixture
def manifest(tmp_path) -> FakeManifest:
    files = [tmp_path / f"{i:02d}.png" for i in range(len(SIZES))]
    for i, (file, size) in enumerate(zip(files, SIZES, strict=True)):
        noise(*size, seed=i).save(file)
    return FakeManifest(files, SIZES)


def plan_of(manifest: FakeManifest, **options) -> BucketPlan:
    return plan_buckets(manifest.sizes, max_area=64 * 64, divisor=16, **options)


def dataset(manifest: FakeManifest, **options) -> BucketDataset:
    return BucketDataset(**{"manifest": manifest, "plan": plan_of(manifest)} | options)


def batch_of(plan: BucketPlan, bucket: int = 0, epoch: int = 0, valid=None) -> BucketBatch:
    """All images of a bucket."""
    indices = np.flatnonzero(plan.bucket_of == bucket)
    valid = np.ones(len(indices), dtype=bool) if valid is None else np.array(valid)
    return BucketBatch(bucket, indices, valid, epoch, np.zeros_like(indices))


def one(index: int, plan: BucketPlan, epoch: int = 0, repetition: int = 0) -> BucketBatch:
    """A batch of a single image."""
    return BucketBatch(
        int(plan.bucket_of[index]),
        np.array([index]),
        np.array([True]),
        epoch,
        np.array([repetition]),
    )


def assert_equal(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(found[name], value), name
        else:
            assert found[name] == value, name


def bucket_with(plan: BucketPlan, images: int) -> int:
    """A bucket of at least so many images."""
    return int(np.flatnonzero(plan.counts >= images)[0])


# -- what a batch is ---------------------------------------------------------------------------


def test_a_batch(manifest):
    data = dataset(manifest)
    assert len(data) == len(SIZES)
    for bucket, size in enumerate(data.plan.bucket_sizes.tolist()):
        batch = batch_of(data.plan, bucket)
        found = data[batch]
        count = len(batch.indices)
        assert list(found) == [
            "image",
            "caption",
            "index",
            "original_size",
            "crop_top_left",
            "target_size",
            "valid",
            "path",
        ]
        assert found["image"].dtype == torch.uint8
        assert tuple(found["image"].shape) == (count, 3, *size)
        assert found["image"].is_contiguous()
        assert found["index"].tolist() == batch.indices.tolist()
        assert found["original_size"].tolist() == manifest.sizes[batch.indices].tolist()
        assert found["target_size"].tolist() == [size] * count
        assert found["caption"] == [f"caption {i}" for i in batch.indices]
        assert found["path"] == [manifest.path(i) for i in batch.indices]
        assert found["valid"].tolist() == [True] * count
        for name in ("index", "original_size", "crop_top_left", "target_size"):
            assert found[name].dtype == torch.int64
        assert found["valid"].dtype == torch.bool


def test_further_columns_come_along(tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for i, file in enumerate(files):
        noise(64, 64, seed=i).save(file)
    columns = {
        "path": [str(file) for file in files],
        "height": [64] * 3,
        "width": [64] * 3,
        "score": [0.5, 0.25, 1.0],
        "label": [3, 1, 2],
        "good": [True, False, True],
        "artist": ["a", "b", None],
        "votes": [1, None, 3],
    }
    manifest = Manifest.write(tmp_path / "manifest.arrow", pa.table(columns))
    data = BucketDataset(manifest=manifest, plan=plan_of(manifest))
    found = data[batch_of(data.plan)]
    assert list(found)[-6:] == ["path", "score", "label", "good", "artist", "votes"]
    assert found["score"].tolist() == columns["score"]
    assert found["label"].dtype == torch.int64
    assert found["label"].tolist() == columns["label"]
    assert found["good"].tolist() == columns["good"]
    assert found["artist"] == columns["artist"]
    assert found["votes"] == columns["votes"]


def test_an_image_may_be_a_stretch_of_a_larger_file(tmp_path):
    contents = []
    for i in range(3):
        noise(64, 64, seed=i).save(tmp_path / "one.png")
        contents.append((tmp_path / "one.png").read_bytes())
    (tmp_path / "all.bin").write_bytes(b"".join(contents))
    lengths = [len(content) for content in contents]
    columns = {
        "path": [f"all.bin/{i}.png" for i in range(3)],
        "container": ["all.bin"] * 3,
        "offset": np.cumsum([0, *lengths[:2]]),
        "bytes": lengths,
        "height": [64] * 3,
        "width": [64] * 3,
    }
    sources = [{"root": str(tmp_path)}]
    manifest = Manifest.write(tmp_path / "manifest.arrow", pa.table(columns), sources=sources)
    found = BucketDataset(manifest=manifest, plan=plan_of(manifest))[batch_of(plan_of(manifest))]
    assert found["path"] == [str(tmp_path / f"all.bin/{i}.png") for i in range(3)]
    for i in range(3):
        assert np.array_equal(found["image"][i].permute(1, 2, 0), np.asarray(noise(64, 64, seed=i)))
    (tmp_path / "all.bin").write_bytes(contents[0])
    cut = BucketDataset(manifest=manifest, plan=plan_of(manifest), on_error="raise")
    with pytest.raises(DecodeError, match="bytes before what was to be read"):
        cut[batch_of(plan_of(manifest))]


def test_images_of_the_buckets_size_come_byte_by_byte(manifest):
    data = dataset(manifest)
    found = data[one(0, data.plan)]
    assert torch.equal(
        found["image"][0].permute(1, 2, 0), torch.from_numpy(np.array(noise(64, 64, 0)))
    )


def test_fillers_stay_invalid(manifest):
    data = dataset(manifest)
    bucket = bucket_with(data.plan, 3)
    valid = np.arange(data.plan.counts[bucket]) % 2 == 0
    assert data[batch_of(data.plan, bucket, valid=valid)]["valid"].tolist() == valid.tolist()


def test_images_that_are_left_out_do_not_count(manifest):
    plan = plan_of(manifest, min_images=5, small_bucket="exclude", max_crop=0.0)
    assert 0 < len(plan.excluded) < len(plan)
    assert len(dataset(manifest, plan=plan)) == len(plan) - len(plan.excluded)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "left"}, "crop='left' must be one of center, random, top, bottom, focus"),
        ({"focus_unit": "inches"}, "focus_unit='inches' must be one of share, pixels"),
        ({"focus": ["x", "y"]}, r"column 'x' is not among those of the manifest; they are \[\]"),
        ({"paired": {"depth": "image"}}, "column 'depth' is not among those of the manifest"),
        ({"interpolation": "cubic"}, "interpolation='cubic' must be one of"),
        ({"on_error": "skip"}, "on_error='skip' must be one of replace, raise"),
        ({"flip": 1.5}, "flip=1.5 must be a probability"),
        ({"plan": plan_buckets([[64, 64]])}, "the manifest has 24 images, the plan 1"),
    ],
)
def test_arguments_out_of_range_are_refused(manifest, options, message):
    with pytest.raises(ValueError, match=message):
        dataset(manifest, **options)


# -- the three sizes ---------------------------------------------------------------------------


SHADE = 0.2  # how much red and green rise from one pixel of the file to the next


def save_coordinates(file: Path, size: Size, orientation: int) -> None:
    """A JPEG whose displayed pixels tell their own column in red, and their row in green."""
    y, x = np.mgrid[: size.height, : size.width]
    shades = np.zeros((*size, 3), dtype=np.uint8)
    shades[..., 0], shades[..., 1] = (SHADE * (x + 0.5)).round(), (SHADE * (y + 0.5)).round()
    image = Image.fromarray(shades)
    undo = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    for step in undo[orientation]:
        image = image.transpose(step)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image.save(file, quality=98, subsampling=0, exif=exif)


@pytest.fixture(scope="module")
def coordinates(tmp_path_factory) -> FakeManifest:
    """In every EXIF orientation, landscape and portrait, with sides that no JPEG scale divides."""
    folder = tmp_path_factory.mktemp("coordinates")
    sizes = [size for _ in range(8) for size in (Size(403, 1001), Size(909, 305))]
    files = [folder / f"{i:02d}.jpg" for i in range(len(sizes))]
    for i, (file, size) in enumerate(zip(files, sizes, strict=True)):
        save_coordinates(file, size, i // 2 + 1)
    focus = {"left": 0.1, "top": 0.1, "right": 0.3, "bottom": 0.25}
    return FakeManifest(files, sizes, **{name: [at] * len(sizes) for name, at in focus.items()})


@pytest.mark.parametrize(
    ("fit", "crop"),
    [
        *(("crop", crop) for crop in ("center", "random", "top", "bottom", "focus")),
        ("pad", "center"),
        ("stretch", "center"),
    ],
)
@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("bucket", [(96, 96), (64, 128), (160, 48)])
def test_the_three_sizes_are_those_of_the_picture_that_the_model_sees(
    coordinates, fit, crop, flip, bucket
):
    plan = plan_buckets(coordinates.sizes, rule="list", sizes=[bucket], divisor=16, fit=fit)
    focus = coordinates.columns if crop == "focus" else ()
    data = BucketDataset(manifest=coordinates, plan=plan, crop=crop, focus=focus, flip=flip)
    found = data[batch_of(plan)]
    assert found["original_size"].tolist() == coordinates.sizes.tolist()
    assert found["target_size"].tolist() == [list(bucket)] * len(coordinates)
    corners = set()
    for place in range(len(coordinates)):
        original, (top, left), target = (
            found[name][place].tolist()
            for name in ("original_size", "crop_top_left", "target_size")
        )
        image = found["image"][place].double().numpy()
        inside = found["mask"][place, 0] if "mask" in found else torch.ones(bucket).bool()
        (first, last), (start, stop) = (
            (line[0], line[-1] + 1)
            for line in (inside.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
        )
        part = image[:2, first:last, start:stop]
        # from the batch's own numbers alone: which pixel of the file each pixel shows
        height, width = resized_sizes(original, target, fit).tolist()
        down = (top + np.arange(last - first) + 0.5) * original[0] / height
        across = (left + np.arange(stop - start) + 0.5) * original[1] / width
        across = original[1] - across if flip else across  # red falls in a mirrored picture
        for expected, shades, scale in (
            (across, part[0].mean(axis=0), original[1] / width),
            (down, part[1].mean(axis=1), original[0] / height),
        ):
            off = (shades / SHADE - expected) / scale  # in pixels of the batch
            assert abs(off[2:-2].mean()) < 0.5
            assert np.abs(off[2:-2]).mean() < 0.5 + 2.5 / scale  # less than half a shade beyond
        corners.add((top, left))
    if fit == "crop":
        assert corners != {(0, 0)}


# -- randomness is a function ------------------------------------------------------------------


def jitter(image, sample):
    """Draws from all three global generators, and writes a caption."""
    shift = int(torch.randint(0, 9, ())) + random.randrange(9) + int(np.random.randint(9))  # noqa: NPY002
    sample["caption"] += f" shifted by {shift}"
    return image + shift


COLOUR = v2.Compose(
    [v2.ColorJitter(0.5, 0.5, 0.5), v2.RandomErasing(p=0.5), v2.RandomVerticalFlip(0.5)]
)


def as_it_is(batch):
    return batch


@pytest.mark.parametrize("transform", [None, jitter, COLOUR], ids=["none", "own", "torchvision"])
def test_samples_depend_on_nothing_but_their_key(manifest, transform):
    data = dataset(manifest, crop="random", flip=0.5, transform=transform, seed=3)
    repeated = plan_of(manifest, repeats=[1 + i % 2 for i in range(len(SIZES))])
    alone = {}
    for world_size, batch_size, workers in ((1, 3, 0), (2, 2, 2)):
        for rank in range(world_size):
            batches = BucketBatchSampler(
                repeated, batch_size=batch_size, num_replicas=world_size, rank=rank, seed=world_size
            )
            drawn = list(batches)
            options = {"multiprocessing_context": "fork"} if workers else {}
            loader = DataLoader(
                data,
                batch_size=None,
                sampler=drawn,
                num_workers=workers,
                collate_fn=as_it_is,
                **options,
            )
            for batch, found in zip(drawn, loader, strict=True):
                for place, index in enumerate(batch.indices.tolist()):
                    sample = {
                        name: value[place] for name, value in found.items() if name != "valid"
                    }
                    same = alone.setdefault((index, int(batch.repetition[place])), sample)
                    assert_equal(sample, same)
    assert len(alone) == int(repeated.repeats.sum())


def test_epochs_seeds_and_repetitions_differ(manifest):
    large = manifest.sizes.prod(axis=1).argmax()
    for transform, options in ((jitter, {}), (None, {"crop": "random", "flip": 0.5})):
        data = dataset(manifest, transform=transform, **options)
        other = dataset(manifest, transform=transform, seed=1, **options)
        plan = data.plan
        images = [data[one(large, plan, epoch)]["image"] for epoch in range(12)]
        images += [data[one(large, plan, 0, repetition)]["image"] for repetition in range(1, 12)]
        images += [other[one(large, plan, epoch)]["image"] for epoch in range(12)]
        assert len({image.numpy().tobytes() for image in images}) > 4


def test_flips_come_as_often_as_asked(manifest):
    data = dataset(manifest, flip=0.25)
    upright = dataset(manifest)[one(0, data.plan)]["image"]
    flipped = 0
    for epoch in range(400):
        image = data[one(0, data.plan, epoch)]["image"]
        assert torch.equal(image, upright) or torch.equal(image, upright.flip(-1))
        flipped += not torch.equal(image, upright)
    assert 65 <= flipped <= 135


def draw() -> list:
    """From all global generators."""
    return [torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()]  # noqa: NPY002


@pytest.mark.parametrize("transform", [None, jitter])
def test_global_generators_are_neither_read_nor_changed(manifest, transform):
    data = dataset(manifest, crop="random", flip=0.5, transform=transform)
    images = []
    for seed in (0, 1):
        drawn = []
        for load in (False, True):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            torch.randn(1), np.random.randn(), random.gauss(0, 1)  # noqa: NPY002 - keeps a spare
            if load:
                images.append(data[one(3, data.plan)]["image"])
            drawn.append([*draw(), random.gauss(0, 1)])
        assert drawn[0] == drawn[1]
    assert torch.equal(*images)


def test_a_transform_that_fails_leaves_the_generators_too(manifest):
    def fail(image, sample):
        raise RuntimeError("no")

    state = random.getstate()
    data = dataset(manifest, transform=fail)
    with pytest.raises(RuntimeError, match="no"):
        data[one(0, data.plan)]
    assert random.getstate() == state


# -- transforms --------------------------------------------------------------------------------


def test_a_transform_sees_the_sample(manifest):
    seen = []

    def look(image, sample):
        seen.append((tuple(image.shape), image.is_contiguous(), dict(sample)))
        return image

    data = dataset(manifest, transform=look)
    data[one(3, data.plan)]
    size = Size(*data.plan.bucket_sizes[data.plan.bucket_of[3]].tolist())
    shape, contiguous, sample = seen[0]
    assert shape == (3, *size)
    assert contiguous
    assert sample == {
        "index": 3,
        "caption": "caption 3",
        "original_size": (64, 128),
        "crop_top_left": sample["crop_top_left"],
        "target_size": size,
        "path": manifest.path(3),
    }


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda image, sample: image[:, 1:], r"shape \(3, 63, 64\) .*must keep uint8 and shape"),
        (lambda image, sample: image.float() / 255, r"torch.float32 .*must keep uint8"),
        (lambda image, sample: image[:1], r"shape \(1, 64, 64\)"),
        (lambda image, sample: None, r"returned NoneType for '.*00.png', not an image"),
        (v2.Resize(32), r"shape \(3, 32, 32\)"),
    ],
)
def test_a_transform_that_would_break_the_batch_is_refused(manifest, transform, message):
    data = dataset(manifest, transform=transform)
    with pytest.raises(ValueError, match=message):
        data[one(0, data.plan)]


def with_scores(manifest: FakeManifest, score: float) -> None:
    manifest.extra, manifest.columns = {"score": [score] * len(manifest)}, ("score",)
    manifest.numbers = frozenset(["score"])


def dropping(image, sample):
    del sample["caption"]
    return image


def setting(name, value):
    return lambda image, sample: (image, {**sample, name: value})


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (dropping, "eval_transform dropped 'caption' from the sample of '.*00.png'"),
        (lambda image, sample: (image, None), "returned NoneType beside the image for '.*00.png'"),
        (setting("score", "high"), "eval_transform made 'high' of the score of '.*00.png'; it was"),
        (setting("score", None), "made None of the score of '.*00.png'"),
        (setting("score", 2**63), "made 9223372036854775808 of the score of"),
        (setting("index", "first"), "made 'first' of the index of"),
        (setting("target_size", 64), r"made 64 of the target_size of .*; it was Size\(height="),
        (setting("target_size", torch.ones(2)), "made tensor.* of the target_size of"),
    ],
)
def test_a_transform_that_spoils_a_field_is_named(manifest, transform, message):
    with_scores(manifest, 0.5)
    data = dataset(manifest, transform=transform, transform_name="eval_transform")
    with pytest.raises(DataError, match=message):
        data[one(0, data.plan)]


def test_a_transform_may_change_numbers(manifest):
    with_scores(manifest, 0.5)
    for value, expected in ((2, [2]), ([1, 2], [[1, 2]]), (torch.ones(2), [[1, 1]])):
        data = dataset(manifest, transform=setting("score", value))
        assert data[one(0, data.plan)]["score"].tolist() == expected


def test_what_cannot_become_a_tensor_is_named(manifest):
    with_scores(manifest, 2**63)
    data = dataset(manifest)
    with pytest.raises(DataError, match=r"column 'score' must hold numbers .* it holds 92233720"):
        data[one(0, data.plan)]


# -- failures ----------------------------------------------------------------------------------


def spoil(manifest: FakeManifest, *indices: int) -> None:
    for index in indices:
        content = manifest.files[index].read_bytes()
        manifest.files[index].write_bytes(content[: len(content) // 2])


def test_a_failure_is_replaced_from_its_batch(manifest, caplog):
    data = dataset(manifest, crop="random", flip=0.5)
    bucket = bucket_with(data.plan, 3)
    batch = batch_of(data.plan, bucket)
    whole = data[batch]
    bad, good = int(batch.indices[0]), int(batch.indices[1])
    spoil(manifest, bad)
    with caplog.at_level(logging.WARNING, "lit_buckets"):
        found = data[batch]
        again = data[batch]
    assert found["valid"].tolist() == [False] + [True] * (len(batch.indices) - 1)
    assert_equal(found, again)
    rest = [{name: batch[name][1:] for name in batch} for batch in (found, whole)]
    assert_equal(*rest)
    # every field tells of the picture that stands there
    assert found["index"][0] == good
    assert found["caption"][0] == f"caption {good}"
    assert found["path"][0] == manifest.path(good)
    assert torch.equal(found["image"][0], whole["image"][1])
    assert len(caplog.records) == 1
    assert manifest.path(bad) in caplog.text
    assert "truncated" in caplog.text


def test_a_valid_sample_is_preferred_to_a_filler(manifest):
    data = dataset(manifest)
    bucket = bucket_with(data.plan, 3)
    count = int(data.plan.counts[bucket])
    batch = batch_of(data.plan, bucket, valid=[False] * (count - 1) + [True])
    spoil(manifest, int(batch.indices[0]))
    found = data[batch]
    assert found["index"][0] == batch.indices[-1]
    assert found["valid"].tolist() == [False] * (count - 1) + [True]
    spoil(manifest, int(batch.indices[-1]))
    found = data[batch]
    assert found["index"][0] == found["index"][-1] == batch.indices[1]
    assert not found["valid"].any()


def test_a_batch_that_fails_altogether_gets_another_image_of_its_bucket(manifest):
    data = dataset(manifest)
    bucket = bucket_with(data.plan, 3)
    batch = batch_of(data.plan, bucket)
    spoil(manifest, *batch.indices[:-1].tolist())
    first = batch_of(data.plan, bucket)._replace(
        indices=batch.indices[:2], valid=batch.valid[:2], repetition=batch.repetition[:2]
    )
    found = data[first]
    assert found["index"].tolist() == [int(batch.indices[-1])] * 2
    assert found["valid"].tolist() == [False, False]
    assert_equal(found, dataset(manifest)[first])


def test_a_bucket_that_fails_altogether_is_filled_from_another(manifest):
    data = dataset(manifest)
    bucket = bucket_with(data.plan, 3)
    batch = batch_of(data.plan, bucket)
    spoil(manifest, *batch.indices.tolist())
    found = data[batch]
    assert found["image"].shape[2:] == tuple(data.plan.bucket_sizes[bucket])
    assert not found["valid"].any()
    assert not set(found["index"].tolist()) & set(batch.indices.tolist())


def test_a_dataset_that_fails_altogether_stops_the_run(manifest):
    data = dataset(manifest)
    spoil(manifest, *range(len(manifest)))
    with pytest.raises(DataError, match=r"none of the \d+ images can be decoded; '.*truncated"):
        data[batch_of(data.plan, 0)]


def test_too_many_failures_stop_the_run(manifest):
    data = dataset(manifest, max_failures=2)
    spoil(manifest, 0, 6, 8)
    data[one(0, data.plan)]
    data[one(0, data.plan)]  # the same file does not count twice
    data[one(6, data.plan)]
    with pytest.raises(DataError, match=r"3 files failed .* more than max_failures=2; the last is"):
        data[one(8, data.plan)]


def test_raise_stops_at_the_first(manifest):
    data = dataset(manifest, on_error="raise")
    spoil(manifest, 0)
    with pytest.raises(DecodeError, match=r"00.png"):
        data[one(0, data.plan)]


def test_errors_of_workers_keep_their_type(manifest):
    spoil(manifest, 0)
    data = dataset(manifest, on_error="raise")
    loader = DataLoader(
        data,
        batch_size=None,
        sampler=[one(0, data.plan)],
        num_workers=1,
        multiprocessing_context="fork",
    )
    with pytest.raises(DecodeError, match=r"00.png"):
        next(iter(loader))


def test_an_image_that_changed_its_size_fails(manifest, tmp_path, caplog):
    noise(32, 32, 0).save(manifest.files[0])
    memory = tmp_path / "failed.jsonl"
    data = dataset(manifest, failures_file=memory)
    assert not data[one(0, data.plan)]["valid"].any()
    assert "changed since the setup pass: it is 32x32 pixels, not 64x64" in caplog.text
    assert not memory.exists()  # the next setup pass takes it with its new size


def test_a_missing_image_fails_and_is_not_remembered(manifest, tmp_path, caplog):
    manifest.files[0].unlink()
    memory = tmp_path / "failed.jsonl"
    data = dataset(manifest, failures_file=memory)
    assert not data[one(0, data.plan)]["valid"].any()
    assert "No such file" in caplog.text
    assert not memory.exists()


def test_failures_are_remembered_once_by_all_processes(manifest, tmp_path, caplog):
    memory = tmp_path / "cache" / "failed.jsonl"
    spoil(manifest, 0, 6)
    for epoch in range(2):
        # a new dataset each time, as each worker has one
        data = dataset(manifest, failures_file=memory)
        data[one(0, data.plan, epoch)]
        data[one(6, data.plan, epoch)]
    assert memory.read_bytes().count(b"\n") == 2
    failures = read_failures(memory.parent)
    assert list(failures) == [manifest.path(0), manifest.path(6)]
    failure, status = failures[manifest.path(0)], manifest.files[0].stat()
    assert (failure.bytes, failure.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert "truncated" in failure.reason
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 2


def test_a_memory_that_cannot_be_written_stops_nothing(manifest, tmp_path, caplog):
    spoil(manifest, 0)
    data = dataset(manifest, failures_file=tmp_path)  # a folder
    assert not data[one(0, data.plan)]["valid"].any()
    assert "does not remember" in caplog.text


# -- processes ---------------------------------------------------------------------------------


def test_a_dataset_pickles_to_next_to_nothing(tmp_path):
    count = 20_000
    table = pa.table(
        {
            "path": [f"{i}.jpg" for i in range(count)],
            "height": pa.array([64] * count, pa.int32()),
            "width": pa.array([64] * count, pa.int32()),
        }
    )
    manifest = Manifest.write(tmp_path / "manifest.arrow", table)
    plan_of(manifest).save(tmp_path / "plan.arrow")
    plan = BucketPlan.open(tmp_path / "plan.arrow")
    data = BucketDataset(manifest=manifest, plan=plan, failures_file=tmp_path / "failed.jsonl")
    pickled = pickle.dumps(data)
    assert len(pickled) < 3000
    copy = pickle.loads(pickled)
    assert len(copy) == count
    assert copy.manifest.path(7) == manifest.path(7)


def test_with_the_real_setup_pass(tmp_path, manifest, caplog):
    folder = manifest.files[0].parent
    (folder / "03.txt").write_text("noise")
    cache = tmp_path / "cache"
    options = {"cache_dir": cache, "workers": 1, "progress": False}
    scanned = scan(folder, **options)
    plan = plan_of(scanned)
    data = BucketDataset(
        manifest=scanned, plan=plan, failures_file=scanned.file.parent / "failed.jsonl"
    )
    seen = []
    for batch in BucketBatchSampler(plan, batch_size=4):
        found = data[batch]
        seen += found["index"][found["valid"]].tolist()
    assert sorted(seen) == list(range(len(SIZES)))
    assert data[one(3, plan)]["caption"] == ["noise"]
    spoil(manifest, 5)
    assert not data[one(5, plan)]["valid"].any()
    again = scan(folder, **options)
    assert list(again.failed(read_failures(cache))) == [5]
