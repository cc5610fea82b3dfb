"""What is told of a plan is what the dataset will do."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, feather, parquet

from lit_buckets import plan_buckets
from lit_buckets.geometry import Size
from lit_buckets.placement import place
from lit_buckets.plan import ledger

side = st.integers(60, 900)
image_sizes = st.lists(st.tuples(side, side), max_size=20)


@settings(max_examples=100, deadline=None)
@given(
    image_sizes,
    st.sampled_from([("pad", "center"), ("stretch", "center")])
    | st.tuples(st.just("crop"), st.sampled_from(["center", "top", "bottom", "focus"])),
    st.booleans(),
    st.integers(0, 99),
)
def test_rows_are_what_the_pixels_will_be(sizes, how, upscale, seed):
    fit, crop = how
    plan = plan_buckets(sizes, upscale=upscale, min_images=2, small_bucket="exclude", fit=fit)
    focus = np.sort(np.random.default_rng(seed).uniform(-0.2, 1.2, (len(sizes), 2, 2)), axis=1)
    focus = np.where(np.arange(len(sizes))[:, None] % 3 == 2, np.nan, focus.reshape(-1, 4))
    table = ledger.rows(plan, crop=crop, focus=focus).to_pylist()
    assert [row["index"] for row in table] == list(range(len(sizes)))
    for index, row in enumerate(table):
        assert (row["height"], row["width"]) == sizes[index]
        assert row["left_out"] == plan.excluded.get(index)
        assert row["note"] == plan.noted.get(index)
        moved = plan.moved_from.get(index)
        assert row["moved_from"] == (moved and f"{moved.height}x{moved.width}")
        if index in plan.excluded:
            assert row["bucket_height"] is row["crop_top"] is row["crop_loss"] is None
            continue
        bucket = Size(*plan.bucket_sizes[plan.bucket_of[index]].tolist())
        found = place(Size(*sizes[index]), bucket, fit=fit, crop=crop, focus=focus[index])
        resized = found.resized
        assert (row["bucket_height"], row["bucket_width"]) == bucket
        assert (row["resized_height"], row["resized_width"]) == resized
        assert (row["crop_top"], row["crop_left"]) == found.crop_top_left
        assert (row["pad_top"], row["pad_left"]) == found.margin
        cut = 1 - bucket.height * bucket.width / (resized.height * resized.width)
        assert row["crop_loss"] == pytest.approx(cut if fit == "crop" else 0)
        growth = max(resized.height / sizes[index][0], resized.width / sizes[index][1]) - 1
        assert row["enlarged_by"] == pytest.approx(max(growth, 0))
        assert upscale or row["enlarged_by"] == 0 or fit == "stretch"


def test_a_random_crop_has_no_place():
    row = ledger.rows(plan_buckets([(600, 800)]), crop="random").to_pylist()[0]
    assert row["crop_top"] is row["crop_left"] is None
    assert row["resized_height"] == 448


def test_rows_in_every_format(tmp_path):
    plan = plan_buckets([(600, 800), (63, 64)], upscale=False, repeats=[2, 1])
    table = ledger.rows(plan, paths=["a.jpg", 'b "1", c.jpg'])
    readers = {"arrow": feather.read_table, "parquet": parquet.read_table, "csv": csv.read_csv}
    for suffix, read in readers.items():
        ledger.write_rows(table, tmp_path / f"plan.{suffix}")
        again = read(tmp_path / f"plan.{suffix}").to_pylist()
        for row, expected in zip(again, table.to_pylist(), strict=True):
            row = {name: None if value == "" else value for name, value in row.items()}
            assert row == expected
    with pytest.raises(ValueError, match=r"must end in one of \.arrow, \.csv, \.parquet"):
        ledger.write_rows(table, tmp_path / "plan.xlsx")


def test_the_summary_adds_up_and_is_plain():
    sizes = np.random.default_rng(0).integers(64, 2000, (300, 2))
    plan = plan_buckets(sizes, max_buckets=6, repeats=np.arange(300) % 3 + 1)
    told = ledger.summarize(plan)
    assert json.loads(json.dumps(told)) == told
    assert sum(bucket["images"] for bucket in told["buckets"]) == told["images"] == 300
    assert sum(bucket["samples"] for bucket in told["buckets"]) == told["samples"] == 600
    assert sum(part["samples"] for part in told["repeats"]) == 600
    means = [bucket["crop_loss"] * bucket["images"] for bucket in told["buckets"]]
    assert sum(means) / 300 == pytest.approx(told["crop_loss"]["mean"])
    assert [point["buckets"] for point in told["curve"]] == list(range(1, 13))
    assert ledger.summarize(plan_buckets([]))["samples"] == 0


def test_an_image_at_several_resolutions_has_a_row_for_each():
    plans = [
        plan_buckets([(512, 512), size], max_area=[65536, 16384], resolutions="all", repeats=[1, 2])
        for size in ((300, 300), (300, 600))
    ]
    table = ledger.rows(plans[0], paths=["a", "b"]).to_pylist()
    assert [row["path"] for row in table] == ["a", "a", "b", "b"]
    assert [row["bucket_width"] for row in table] == [256, 128, 256, 128]
    told = ledger.summarize(plans[0])
    assert told["images"] == 2
    assert told["resolutions"] == [{"area": 65536, "images": 2}, {"area": 16384, "images": 2}]
    paths = {"before_paths": ["a", "b"], "after_paths": ["a", "b"]}
    changed = as_rows(ledger.differences(*plans, **paths))
    assert [(image, what) for image, what, _, _ in changed] == [
        ("b", "size"), ("b (2)", "size"), ("b", "bucket"), ("b (2)", "bucket"),
    ]  # fmt: skip
    assert ledger.by_source(plans[0], [1, 0], ["x", "y"]) == [
        {"source": "x", "images": 2, "repeats": 2, "samples": 4},
        {"source": "y", "images": 2, "repeats": 1, "samples": 2},
    ]


def as_rows(table: pa.Table) -> list[tuple]:
    return [tuple(row.values()) for row in table.to_pylist()]


def test_differences_by_path():
    before = plan_buckets([(512, 512), (600, 800), (300, 300)], repeats=[1, 1, 2])
    after = plan_buckets([(300, 300), (512, 512), (64, 256)])
    paths = {"before_paths": ["a", "b", "c"], "after_paths": ["c", "a", "d"]}
    assert as_rows(ledger.differences(before, after, **paths)) == [
        ("c", "repeats", "2", "1"),
        ("b", "removed", "448x576", None),
        ("d", "added", None, "256x1024"),
    ]


def test_differences_by_index():
    sizes = [(512, 512), (600, 800)] + [(64, 65)] * 2
    before = plan_buckets(sizes)
    after = plan_buckets([(512, 512), (800, 600), *sizes[2:]], upscale=False, divisor=32)
    assert as_rows(ledger.differences(before, after)) == [
        ("1", "size", "600x800", "800x600"),
        ("1", "bucket", "448x576", "576x448"),
        ("2", "bucket", "512x512", "64x64"),
        ("3", "bucket", "512x512", "64x64"),
    ]
    assert ledger.differences(before, before).num_rows == 0
    with pytest.raises(ValueError, match="paths of one plan only"):
        ledger.differences(before, after, before_paths=["a"])


@settings(max_examples=100, deadline=None)
@given(image_sizes, image_sizes)
def test_plans_differ_exactly_where_their_hashes_do(sizes, others):
    plans = [plan_buckets(some, min_images=2) for some in (sizes, others)]
    assert (ledger.differences(*plans).num_rows == 0) == (plans[0].hash == plans[1].hash)
