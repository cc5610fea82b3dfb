"""The plan's promises: every image in one bucket or named, limits kept, nothing by accident."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_buckets import BucketPlan, geometry, plan_buckets
from lit_buckets.errors import DataError

side = st.one_of(st.integers(1, 300), st.integers(1, 5000))
image_sizes = st.lists(st.tuples(side, side), max_size=40)
options = st.fixed_dictionaries(
    {
        "max_area": st.sampled_from([256 * 256, 512 * 512]),
        "divisor": st.sampled_from([16, 64]),
        "min_images": st.integers(1, 5),
        "small_bucket": st.sampled_from(["move", "keep", "exclude"]),
        "max_crop": st.sampled_from([0.0, 0.1, 0.25, 0.9]),
    }
)


def buckets_by_image(plan: BucketPlan) -> list[tuple[int, int] | None]:
    """Each image's bucket size; None for those left out."""
    sizes = [tuple(size) for size in plan.bucket_sizes.tolist()]
    return [sizes[bucket] if bucket >= 0 else None for bucket in plan.bucket_of]


@settings(max_examples=200, deadline=None)
@given(image_sizes, options)
def test_every_image_is_in_one_bucket_or_named(sizes, how):
    plan = plan_buckets(sizes, **how)
    assert set(np.flatnonzero(plan.bucket_of < 0).tolist()) == set(plan.excluded)
    assert plan.counts.sum() + len(plan.excluded) == len(sizes) == len(plan)
    assert (plan.counts > 0).all()
    assert sorted(plan.members.tolist()) == sorted(set(range(len(sizes))) - set(plan.excluded))
    assert (plan.bucket_sizes.prod(axis=1) <= how["max_area"]).all()
    assert (plan.bucket_sizes % how["divisor"] == 0).all()
    for index, wanted in plan.moved_from.items():
        assert plan.crop_loss[index] <= how["max_crop"]
        assert buckets_by_image(plan)[index] != wanted
        assert how["small_bucket"] != "keep"
    if how["small_bucket"] == "exclude":
        assert (plan.counts >= how["min_images"]).all()
    else:
        assert not plan.excluded


@settings(max_examples=200, deadline=None)
@given(image_sizes, options)
def test_transposing_the_images_transposes_the_plan(sizes, how):
    plan = plan_buckets(sizes, **how)
    turned = plan_buckets([size[::-1] for size in sizes], **how)
    for size, bucket, other in zip(
        sizes, buckets_by_image(plan), buckets_by_image(turned), strict=True
    ):
        # a square image may lie just between a size and the same size turned
        if size[0] != size[1]:
            assert (bucket and bucket[::-1]) == other
    assert set(plan.excluded) == set(turned.excluded)
    assert set(plan.moved_from) == set(turned.moved_from)


@settings(max_examples=100, deadline=None)
@given(image_sizes, st.tuples(side, side))
def test_one_image_more_never_changes_the_bucket_of_others(sizes, more):
    before = plan_buckets(sizes, small_bucket="keep", min_images=3)
    after = plan_buckets([*sizes, more], small_bucket="keep", min_images=3)
    assert buckets_by_image(after)[:-1] == buckets_by_image(before)


def test_panoramas_among_squares_are_not_cut_to_squares():
    sizes = [(512, 512)] * 50 + [(500, 2000)] * 2
    plan = plan_buckets(sizes, min_images=8, max_crop=0.25)
    assert buckets_by_image(plan)[-2:] == [(256, 1024)] * 2
    assert not plan.moved_from
    left = plan_buckets(sizes, min_images=8, max_crop=0.25, small_bucket="exclude")
    assert list(left.excluded) == [50, 51]
    assert left.excluded[50].startswith("bucket 256x1024 has fewer than min_images=8 images")
    assert (left.bucket_of[:50] == 0).all()


def test_each_image_moves_to_its_own_next_best():
    # 576x448 has two images: one nearer to 512x512, one nearer to 640x384
    sizes = [(512, 512)] * 5 + [(640, 400)] * 5 + [(560, 470), (600, 440)]
    plan = plan_buckets(sizes, min_images=3)
    assert buckets_by_image(plan)[-2:] == [(512, 512), (640, 384)]
    assert plan.moved_from == {10: (576, 448), 11: (576, 448)}


def test_golden_hash():
    """A hash must not change from version to version or platform, or no run can be resumed."""
    sizes = [(600, 800), (800, 600), (1080, 1920), (512, 512), (4000, 300)]
    assert plan_buckets(sizes).hash == GOLDEN
    assert plan_buckets(sizes, repeats=[1] * 5).hash == GOLDEN
    code = (
        "import numpy as np, lit_buckets; "
        f"print(lit_buckets.plan_buckets(np.array({sizes}, dtype='>i4')).hash)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == GOLDEN


GOLDEN = "9afbcd007bfae493b9372b34d6e2445d2b133f3a3394dd04632496d36cc899de"


def test_the_hash_changes_when_training_would_and_only_then():
    sizes = [(600, 800), (800, 600), (1080, 1920)]
    base = plan_buckets(sizes)
    assert plan_buckets(sizes, min_images=1, max_crop=0.9, dataset="x").hash == base.hash
    others = [
        plan_buckets(sizes, max_area=256 * 256),
        plan_buckets(sizes, repeats=[1, 2, 1]),
        plan_buckets(sizes[::-1]),
        plan_buckets(sizes[:2]),
        plan_buckets([*sizes[:2], (1081, 1920)]),  # another crop
    ]
    assert len({base.hash, *(plan.hash for plan in others)}) == 6


@settings(max_examples=25, deadline=None)
@given(image_sizes, options, st.booleans())
def test_a_plan_comes_back_from_disk_as_it_was(tmp_path_factory, sizes, how, repeated):
    repeats = np.arange(len(sizes)) % 3 + 1 if repeated else None
    plan = plan_buckets(sizes, **how, repeats=repeats, dataset="photos")
    file = tmp_path_factory.mktemp("plan") / "plan.arrow"
    plan.save(file)
    for again in (BucketPlan.open(file), pickle.loads(pickle.dumps(BucketPlan.open(file)))):
        assert again.hash == plan.hash
        for name in ("sizes", "bucket_sizes", "bucket_of", "counts", "members", "crop_loss"):
            assert np.array_equal(getattr(again, name), getattr(plan, name)), name
        assert all(map(np.array_equal, again.strata, plan.strata))
        assert again.excluded == plan.excluded
        assert again.moved_from == plan.moved_from
        assert again.dataset == "photos"


def test_a_file_that_is_no_plan_is_refused(tmp_path):
    file = tmp_path / "plan.arrow"
    file.write_bytes(b"no plan")
    with pytest.raises(DataError, match="is not a plan"):
        BucketPlan.open(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "best"}, "rule='best' must be one of fit"),
        ({"small_bucket": "drop"}, "small_bucket='drop' must be one of move, keep, exclude"),
        ({"repeats": [1]}, "repeats must be 2 whole numbers"),
        ({"repeats": [1, 0]}, "with a least of 0"),
        ({"max_area": 100}, "no multiple of divisor=64 fits"),
    ],
)
def test_arguments_out_of_range_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        plan_buckets([(64, 64), (64, 128)], **changes)


def test_moves_go_by_the_crop_loss_that_the_images_will_have():
    plan = plan_buckets([(512, 512)] * 3 + [(448, 576)], min_images=2)
    assert plan.moved_from == {3: (448, 576)}
    assert plan.crop_loss[3] == geometry.crop_loss([448, 576], [512, 512])
