"""The plan's promises: every image in one bucket or named, limits kept, nothing by accident."""

from __future__ import annotations

import pickle
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_buckets import BucketPlan, geometry, plan_buckets
from lit_buckets.errors import DataError

side = st.one_of(st.integers(1, 300), st.integers(1, 5000))
image_sizes = st.lists(st.tuples(side, side), max_size=40)
rules = st.sampled_from(
    [
        {"rule": "fit"},
        {"rule": "fit", "upscale": False},
        {"rule": "fit", "max_buckets": 3},
        {"rule": "ladder"},
        {"rule": "ladder", "upscale": False},
        {"rule": "ladder", "max_buckets": 4},
        {"rule": "list", "sizes": [(512, 512), (256, 512), (512, 256), (128, 128)]},
        {"rule": "list", "sizes": "novelai", "upscale": False},
        {"rule": "list", "sizes": "novelai", "max_buckets": 3},
        {"rule": "native"},
        {"rule": "native", "trim": True},
        {"rule": "fit", "resolutions": "all"},
        {"rule": "fit", "resolutions": "all", "max_buckets": 7},
        {"rule": "ladder", "resolutions": "all", "upscale": False},
    ]
)
areas = st.sampled_from([256 * 256, 512 * 512, [512 * 512, 256 * 256, 128 * 128]])
options = st.fixed_dictionaries(
    {
        "max_area": areas,
        "divisor": st.sampled_from([16, 64]),
        "min_images": st.integers(1, 5),
        "small_bucket": st.sampled_from(["move", "keep", "exclude"]),
        "max_crop": st.sampled_from([0.0, 0.1, 0.25, 0.9]),
    }
)


def same_ratios(sizes, others) -> bool:
    """Whether two lists of sizes have the same aspect ratios, each as often."""
    return sorted(Fraction(*size) for size in sizes) == sorted(Fraction(*size) for size in others)


def buckets_by_image(plan: BucketPlan) -> list[tuple[int, int] | None]:
    """Each image's bucket size; None for those left out."""
    sizes = [tuple(size) for size in plan.bucket_sizes.tolist()]
    return [sizes[bucket] if bucket >= 0 else None for bucket in plan.bucket_of]


@settings(max_examples=400, deadline=None)
@given(image_sizes, options, rules)
def test_every_image_is_in_one_bucket_or_named(sizes, how, rule):
    if rule == {"rule": "native"}:
        sizes = [(h // 32 * 32 + 32, w // 32 * 32 + 32) for h, w in sizes]
    plan = plan_buckets(sizes, **how, **rule)
    assert set(np.flatnonzero(plan.bucket_of < 0).tolist()) == set(plan.excluded)
    assert plan.counts.sum() + len(plan.excluded) == len(plan)
    assert plan.images == len(sizes)
    rows = [plan.image_of(row) for row in range(len(plan))]
    assert sorted(set(rows)) == list(range(len(sizes)))
    assert [tuple(size) for size in plan.sizes.tolist()] == [tuple(sizes[image]) for image in rows]
    if "resolutions" not in rule:
        assert rows == list(range(len(sizes)))
    assert (plan.counts > 0).all()
    assert sorted(plan.members.tolist()) == sorted(set(range(len(plan))) - set(plan.excluded))
    if rule["rule"] != "list":
        assert (plan.bucket_sizes.prod(axis=1) <= np.max(how["max_area"])).all()
    if not rule.get("upscale", True) or rule["rule"] == "native":
        used = plan.bucket_of >= 0
        assert (plan.bucket_sizes[plan.bucket_of[used]] <= plan.sizes[used]).all()
    assert len(plan.bucket_sizes) <= rule.get("max_buckets", 99)
    assert (plan.bucket_sizes % how["divisor"] == 0).all()
    for index, wanted in plan.moved_from.items():
        assert plan.crop_loss[index] <= how["max_crop"]
        assert buckets_by_image(plan)[index] != wanted
        assert how["small_bucket"] != "keep"
    beyond = np.flatnonzero(plan.crop_loss > how["max_crop"]).tolist()
    small = plan.counts < how["min_images"] if how["small_bucket"] == "move" else plan.counts < 0
    stay = (
        np.flatnonzero(small[plan.bucket_of] & (plan.bucket_of >= 0)).tolist()
        if len(plan.counts)
        else []
    )
    assert set(plan.noted) == set(beyond) | set(stay)
    if how["small_bucket"] == "exclude":
        assert (plan.counts >= how["min_images"]).all()
    elif rule.get("upscale", True) and rule["rule"] != "native":
        assert not plan.excluded


@settings(max_examples=200, deadline=None)
@given(image_sizes, options, rules)
def test_transposing_the_images_transposes_the_plan(sizes, how, rule):
    turned_sizes = [size[::-1] for size in sizes]
    if "max_buckets" in rule and same_ratios(sizes, turned_sizes):
        return  # the same images again, for which one set of shapes is as good as its mirror image
    plan = plan_buckets(sizes, **how, **rule)
    turned = plan_buckets(turned_sizes, **how, **rule)
    for size, bucket, other in zip(
        plan.sizes.tolist(), buckets_by_image(plan), buckets_by_image(turned), strict=True
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


def test_a_limited_plan_cuts_less_than_any_other_rule_with_as_many_buckets():
    sizes = np.random.default_rng(1).integers(400, 2500, (400, 2))
    rules = [{"rule": "fit"}, {"rule": "ladder"}, {"rule": "list", "sizes": "novelai"}]
    area = {"max_area": 512 * 768}
    for other in (plan_buckets(sizes, **area, **rule) for rule in rules):
        number = len(other.bucket_sizes)
        ours = plan_buckets(sizes, **area, max_buckets=number)
        assert len(ours.bucket_sizes) <= number
        assert ours.crop_loss.mean() <= other.crop_loss.mean()


def test_the_curve_says_what_one_bucket_more_or_fewer_would_do():
    sizes = np.random.default_rng(1).integers(400, 2500, (200, 2))
    repeats = np.random.default_rng(2).integers(1, 4, 200)
    plan = plan_buckets(sizes, max_buckets=5, repeats=repeats)
    assert list(plan.curve) == list(range(1, 11))
    for number, loss in plan.curve.items():
        other = plan_buckets(sizes, max_buckets=number, repeats=repeats)
        assert np.average(other.crop_loss, weights=repeats) == pytest.approx(loss, abs=1e-3)
        assert other.curve[number] == loss
    assert not plan_buckets(sizes).curve


def test_repeats_count_when_buckets_are_few():
    sizes = [(512, 512)] * 3 + [(512, 1024)] * 2
    assert plan_buckets(sizes, max_buckets=1).bucket_sizes.tolist() == [[512, 512]]
    often = plan_buckets(sizes, max_buckets=1, repeats=[1, 1, 1, 2, 2])
    assert often.bucket_sizes.tolist() == [[384, 640]]


def test_several_areas_share_the_buckets_out_as_trying_all_shares_would():
    dice = np.random.default_rng(3)
    small, large = dice.integers(100, 400, (60, 2)), dice.integers(1200, 3000, (60, 2))
    sizes = np.concatenate([small, large])
    areas = [512 * 512, 1024 * 1024]
    plan = plan_buckets(sizes, max_area=areas, max_buckets=6)
    assert next(iter(plan.curve)) == 2
    first = plan_buckets(small, max_area=areas[0], max_buckets=5).curve
    second = plan_buckets(large, max_area=areas[1], max_buckets=5).curve
    for number in range(2, 7):
        best = min(first[k] + second[number - k] for k in range(1, number)) / 2
        assert plan.curve[number] == pytest.approx(best)


def test_of_several_areas_the_largest_that_needs_no_enlarging():
    sizes = [(1024, 1024), (1023, 1024), (512, 512), (500, 400), (100, 100), (2000, 2000)]
    plan = plan_buckets(sizes, max_area=[256 * 256, 1024 * 1024, 512 * 512])
    assert buckets_by_image(plan) == [
        (1024, 1024), (512, 512), (512, 512), (256, 256), (256, 256), (1024, 1024),
    ]  # fmt: skip


def test_without_enlarging_the_number_of_shapes_stays_bounded():
    sizes = np.random.default_rng(4).integers(64, 2000, (20_000, 2))
    plan = plan_buckets(sizes, upscale=False)
    shapes = plan_buckets(sizes).bucket_sizes
    assert len(plan.bucket_sizes) < 3 * len(shapes)
    assert not plan.excluded
    small = plan_buckets([(63, 800), (64, 64)], upscale=False)
    assert small.excluded == {
        0: "every bucket would enlarge its 63x800 pixels, and upscale is false"
    }
    assert buckets_by_image(small)[1] == (64, 64)


def test_native_takes_images_as_they_are_and_names_the_others():
    sizes = [(512, 448), (448, 512), (500, 512), (1024, 512), (64, 64)]
    plan = plan_buckets(sizes, rule="native", min_side=128)
    assert buckets_by_image(plan) == [(512, 448), (448, 512), None, None, None]
    assert (plan.crop_loss == 0).all()
    assert plan.excluded == {
        2: "its 500x512 pixels are no multiples of divisor=64",
        3: "its 1024x512 pixels are more than max_area=262144",
        4: "its 64x64 pixels are less than min_side=128",
    }


def test_native_may_trim_and_never_resizes():
    sizes = [(513, 500), (512, 448), (63, 900), (70, 1000), (600, 640)]
    plan = plan_buckets(sizes, rule="native", trim=True)
    assert buckets_by_image(plan) == [(512, 448), (512, 448), None, (64, 960), None]
    assert plan.excluded == {
        2: "its 63x900 pixels are less than divisor=64",
        4: "its 600x640 pixels are more than max_area=262144",
    }
    assert plan.resized(np.array([0, 1, 3])).tolist() == [[513, 500], [512, 448], [70, 1000]]
    assert plan.crop_loss[0] == pytest.approx(1 - 512 * 448 / (513 * 500))


def test_native_images_move_to_the_largest_bucket_inside_them():
    sizes = [(256, 256)] * 3 + [(128, 448)] * 3 + [(256, 320), (128, 192), (64, 64)]
    plan = plan_buckets(sizes, rule="native", min_images=2, max_crop=0.25)
    assert buckets_by_image(plan)[6:] == [(256, 256), (128, 192), (64, 64)]
    assert plan.moved_from == {6: (256, 320)}
    assert plan.crop_loss[6] == pytest.approx(0.2)
    assert list(plan.noted) == [7, 8]


def test_all_resolutions_by_hand():
    sizes = [(1024, 1024), (512, 512), (600, 400), (60, 60)]
    areas = [256 * 256, 512 * 512]
    plan = plan_buckets(sizes, max_area=areas, resolutions="all", repeats=[1, 2, 3, 4])
    rows = list(zip(plan.image.tolist(), buckets_by_image(plan), strict=True))
    assert rows == [
        (0, (512, 512)), (0, (256, 256)), (1, (512, 512)), (1, (256, 256)),
        (2, (576, 384)), (2, (320, 192)), (3, (512, 512)), (3, (256, 256)),
    ]  # fmt: skip
    assert plan.repeats.tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert plan.resolutions == {512 * 512: 4, 256 * 256: 4}
    kept = plan_buckets(sizes, max_area=areas, resolutions="all", upscale=False)
    rows = list(zip(kept.image.tolist(), buckets_by_image(kept), strict=True))
    assert rows == [
        (0, (512, 512)), (0, (256, 256)), (1, (512, 512)), (1, (256, 256)),
        (2, (576, 384)), (2, (320, 192)), (3, None),
    ]  # fmt: skip
    assert list(kept.excluded) == [6]
    left = plan_buckets(sizes, max_area=areas, resolutions="all", left_out={1: "broken"})
    assert left.image.tolist() == [0, 0, 1, 2, 2, 3, 3]
    assert left.excluded == {2: "broken"}


def test_all_resolutions_are_the_plans_of_each_area():
    sizes = np.random.default_rng(5).integers(40, 1500, (300, 2))
    areas = [512 * 512, 256 * 256, 128 * 128]
    plan = plan_buckets(sizes, max_area=areas, resolutions="all", divisor=32)
    buckets = buckets_by_image(plan)
    for place, area in enumerate(areas):
        alone = plan_buckets(sizes, max_area=area, divisor=32)
        assert buckets[place::3] == buckets_by_image(alone)


def test_a_list_may_have_one_ratio_in_several_sizes():
    sizes = [(2000, 2000), (300, 300), (100, 100)]
    shapes = [(512, 512), (256, 256), (128, 128)]
    plan = plan_buckets(sizes, rule="list", sizes=shapes)
    assert buckets_by_image(plan) == [(512, 512)] * 3
    plan = plan_buckets(sizes, rule="list", sizes=shapes, upscale=False, divisor=128)
    assert buckets_by_image(plan) == [(512, 512), (256, 256), None]


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_what_is_padded_or_stretched_is_not_cut(fit):
    sizes = [(512, 512)] * 50 + [(500, 2000), (400, 100)]
    plan = plan_buckets(sizes, min_images=8, max_crop=0.25, fit=fit)
    assert not plan.noted
    assert list(plan.moved_from) == [50, 51]
    assert (plan.crop_loss == 0).all()
    wanted = {"pad": [[128, 512], [512, 128]], "stretch": [[512, 512]] * 2}
    assert plan.resized(np.array([50, 51])).tolist() == wanted[fit]


def test_images_move_within_their_resolution():
    sizes = [(1024, 1024)] * 3 + [(512, 512)] * 3 + [(560, 500)]
    plan = plan_buckets(sizes, max_area=[512 * 512, 1024 * 1024], min_images=2)
    assert buckets_by_image(plan)[-1] == (512, 512)


@pytest.mark.parametrize("how", [{}, {"max_buckets": 1}, {"upscale": False}, {"min_images": 2}])
def test_images_that_shall_not_come_count_for_nothing(how):
    sizes = [(2000, 512)] * 9 + [(512, 512), (60, 60), (512, 512)]
    left_out = dict.fromkeys(range(9), "broken")
    plan = plan_buckets(sizes, left_out=left_out, **how)
    alone = plan_buckets(sizes[9:], **how)
    assert buckets_by_image(plan)[9:] == buckets_by_image(alone)
    assert plan.curve == alone.curve
    assert plan.excluded == left_out | {9 + i: reason for i, reason in alone.excluded.items()}


def test_panoramas_among_squares_are_not_cut_to_squares():
    sizes = [(512, 512)] * 50 + [(500, 2000)] * 2
    plan = plan_buckets(sizes, min_images=8, max_crop=0.25)
    assert buckets_by_image(plan)[-2:] == [(256, 1024)] * 2
    assert not plan.moved_from
    assert list(plan.noted) == [50, 51]
    assert plan.noted[50].startswith("stays: bucket 256x1024 has fewer than min_images=8 images")
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


def test_golden_hash_of_few_buckets():
    """The best shapes are the same on every platform, too: no sum depends on its order."""
    sizes = [(300 + 97 * k * k % 1901, 300 + 89 * k * k % 2003) for k in range(500)]
    plan = plan_buckets(sizes, max_buckets=9, max_area=[1024 * 1024, 512 * 512])
    assert plan.hash == GOLDEN_FEW


GOLDEN_FEW = "c97b381d8fbf4c48cbfd48ad8fcf5e1121ed7338ff05ce04d92480ce7b9c4c66"


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
        plan_buckets(sizes, max_area=[512 * 512, 256 * 256], resolutions="all"),
    ]
    assert len({base.hash, *(plan.hash for plan in others)}) == 7
    resized = plan_buckets([(70, 200)], rule="list", sizes=[(64, 192)])
    trimmed = plan_buckets([(70, 200)], rule="native", trim=True)
    assert trimmed.bucket_sizes.tolist() == resized.bucket_sizes.tolist()
    assert trimmed.hash != resized.hash
    padded, stretched = (
        plan_buckets([(70, 200)], rule="list", sizes=[(64, 192)], fit=fit)
        for fit in ("pad", "stretch")
    )
    assert len({plan.hash for plan in (resized, trimmed, padded, stretched)}) == 4
    untouched = plan_buckets([(64, 192)], rule="native").hash
    assert untouched == plan_buckets([(64, 192)], rule="list", sizes=[(64, 192)]).hash


@settings(max_examples=25, deadline=None)
@given(image_sizes, options, st.booleans(), rules)
def test_a_plan_comes_back_from_disk_as_it_was(tmp_path_factory, sizes, how, repeated, rule):
    repeats = np.arange(len(sizes)) % 3 + 1 if repeated else None
    plan = plan_buckets(sizes, **how, **rule, repeats=repeats, dataset="photos")
    file = tmp_path_factory.mktemp("plan") / "plan.arrow"
    plan.save(file)
    for again in (BucketPlan.open(file), pickle.loads(pickle.dumps(BucketPlan.open(file)))):
        assert again.hash == plan.hash
        for name in ("sizes", "bucket_sizes", "bucket_of", "counts", "members", "crop_loss"):
            assert np.array_equal(getattr(again, name), getattr(plan, name)), name
        assert (again.image is None) == (plan.image is None)
        assert again.image is None or np.array_equal(again.image, plan.image)
        assert (again.fit, again.resolutions) == (plan.fit, plan.resolutions)
        assert all(map(np.array_equal, again.strata, plan.strata))
        assert again.excluded == plan.excluded
        assert again.moved_from == plan.moved_from
        assert again.noted == plan.noted
        assert again.curve == plan.curve
        assert again.dataset == "photos"


def test_a_file_that_is_no_plan_is_refused(tmp_path):
    file = tmp_path / "plan.arrow"
    file.write_bytes(b"no plan")
    with pytest.raises(DataError, match="is not a plan"):
        BucketPlan.open(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "best"}, "rule='best' must be one of fit, ladder, list, native"),
        ({"small_bucket": "drop"}, "small_bucket='drop' must be one of move, keep, exclude"),
        ({"repeats": [1]}, "repeats must be 2 whole numbers"),
        ({"repeats": [1, 0]}, "with a least of 0"),
        ({"max_area": 100}, "no multiple of divisor=64 fits"),
        ({"max_area": []}, r"max_area=\[\] must be one area or several"),
        ({"fit": "fill"}, "fit='fill' must be one of crop, pad, stretch, native"),
        ({"resolutions": "each"}, "resolutions='each' must be one of largest, all"),
        ({"trim": True}, "trim=True is for images that keep their pixels; rule='fit' resizes"),
        ({"rule": "native", "resolutions": "all"}, "resolutions='all' needs sizes by area"),
        ({"rule": "list"}, "rule='list' and sizes=None do not go together"),
        ({"sizes": "sdxl"}, "rule='fit' and sizes='sdxl' do not go together"),
        ({"rule": "list", "sizes": "pixart_512"}, "256x928 is not. Set divisor=32"),
        ({"rule": "list", "sizes": []}, "there is none"),
        ({"max_buckets": 0}, "max_buckets=0 must be at least 1"),
        ({"max_buckets": 3, "upscale": False}, "max_buckets=3 needs images that take any"),
        ({"max_buckets": 3, "rule": "native"}, "max_buckets=3 needs images that take any"),
    ],
)
def test_arguments_out_of_range_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        plan_buckets([(64, 64), (64, 128)], **changes)


def test_moves_go_by_the_crop_loss_that_the_images_will_have():
    plan = plan_buckets([(512, 512)] * 3 + [(448, 576)], min_images=2)
    assert plan.moved_from == {3: (448, 576)}
    assert plan.crop_loss[3] == geometry.crop_loss([448, 576], [512, 512])
