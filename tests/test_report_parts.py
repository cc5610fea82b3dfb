"""What a report is made of: its numbers, lists, figures and thumbnails, without a browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections import Counter
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from conftest import paint
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lit_buckets import (
    BucketBatchSampler,
    BucketDataset,
    BucketPlan,
    Manifest,
    plan_buckets,
    scan,
)
from lit_buckets.pixels.sample import SampleReader
from lit_buckets.report import facts, figures, listing
from lit_buckets.report.html import page
from lit_buckets.report.losses import curve_of, loss_of, spread_of
from lit_buckets.report.svg import HEIGHT, WIDTH
from lit_buckets.report.thumbnails import Thumbnail, greatest_losses

side = st.integers(16, 3000)
image_sizes = st.lists(st.tuples(side, side), max_size=30)


def manifest_of(tmp_path, sizes, *, refused=0, sources=({"root": ""},), **columns) -> Manifest:
    """A manifest of images that are nowhere, and some refused files behind them."""
    sizes = [*sizes, *[(0, 0)] * refused]
    images = len(sizes) - refused
    table = {
        "path": [f"{number}.jpg" for number in range(len(sizes))],
        "height": pa.array([height for height, _ in sizes], pa.int32()),
        "width": pa.array([width for _, width in sizes], pa.int32()),
        "reason": pa.array([""] * images + ["torn"] * refused, pa.string()),
    }
    return Manifest.write(tmp_path / "manifest.arrow", pa.table(table | columns), sources=sources)


# -- numbers ---------------------------------------------------------------------------------------


def test_the_arithmetic_of_sources(tmp_path):
    manifest = manifest_of(
        tmp_path,
        [(64, 64)] * 6,
        refused=1,
        sources=[{"root": "/a"}, {"root": "/b"}],
        source=pa.array([0, 0, 0, 1, 1, 1, 1], pa.int16()),
        repeats=pa.array([2, 2, 2, 1, 1, 5, 1], pa.int32()),
    )
    plan = plan_buckets(manifest.sizes, repeats=manifest.repeats, left_out={1: "it failed"})
    told = [
        (*each[:4], [(part["images"], part["repeats"], part["samples"]) for part in each.parts])
        for each in facts.source_sums(manifest, plan)
    ]
    assert told == [
        ("/a", 0, 3, 1, [(2, 2, 4)]),
        ("/b", 1, 3, 0, [(2, 1, 2), (1, 5, 5)]),
    ]
    assert listing.common_root(manifest) == "/"


@pytest.mark.parametrize(
    ("roots", "common"),
    [
        (["/data/a"], "/data/a/"),
        (["/data/ab", "/data/ac"], "/data/"),
        (["s3://bucket/x", "s3://bucket/x/y"], "s3://bucket/x/"),
        (["/data", ""], ""),
    ],
)
def test_the_root_of_all_sources(tmp_path, roots, common):
    sources = [{"root": root} for root in roots]
    assert listing.common_root(manifest_of(tmp_path, [(64, 64)], sources=sources)) == common


def test_other_numbers_of_ranks_are_counted_as_their_samplers_do():
    sizes = np.random.default_rng(0).integers(64, 900, (300, 2))
    keywords = {"batch_size": 4, "sync": "mixed", "short_batch": "repeat"}
    plan = plan_buckets(sizes, max_buckets=5)
    rows = facts.on_ranks(BucketBatchSampler(plan, num_replicas=3, rank=1, **keywords))
    assert [row.ranks for row in rows] == [1, 2, 3, 4, 8, 16, 32, 64]
    assert [row.ranks for row in rows if row.chosen] == [3]
    for row in rows:
        sampler = BucketBatchSampler(plan, num_replicas=row.ranks, **keywords)
        assert row.account == sampler.accounting()


def test_a_curve_of_the_plans_own_shapes():
    sizes = np.random.default_rng(1).integers(200, 900, (200, 2))
    plan = plan_buckets(sizes, repeats=np.arange(200) % 3 + 1)
    loss = loss_of(plan)
    curve = curve_of(loss, plan).points
    losses = list(curve.values())
    assert list(curve) == list(range(1, len(curve) + 1))
    assert losses == sorted(losses, reverse=True)
    own = curve_of(loss, plan).mean
    assert own == pytest.approx(np.average(plan.crop_loss, weights=plan.repeats))
    assert losses[-1] <= own  # the rule fit rounds sides, and cuts more
    # a limited plan chooses from more shapes
    for count in (1, 3, 6):
        limited = plan_buckets(sizes, repeats=plan.repeats, max_buckets=count)
        assert curve_of(loss_of(limited), limited).points is limited.curve
        assert limited.curve[count] <= curve[count] + 1e-9


@pytest.mark.parametrize(
    ("keywords", "why"),
    [
        ({"max_area": [512 * 512, 64 * 64]}, "no one curve"),
        ({"rule": "native", "divisor": 1}, "keep their pixels"),
    ],
)
def test_where_there_is_no_curve(keywords, why):
    plan = plan_buckets([(512, 512), (100, 90)], **keywords)
    curve = curve_of(loss_of(plan), plan)
    assert not curve.points
    assert why in curve.note


# -- lists -----------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(image_sizes, st.sampled_from(["keep", "drop"]), st.booleans())
def test_each_image_is_listed_once_with_what_the_plan_says(tmp_path_factory, sizes, short, upscale):
    manifest = manifest_of(tmp_path_factory.mktemp("list"), sizes, refused=2)
    plan = plan_buckets(
        sizes, min_images=2, small_bucket="exclude", max_crop=0.1, upscale=upscale, divisor=128
    )
    sampler = BucketBatchSampler(plan, batch_size=3, short_batch=short)
    lists = listing.listings(manifest, sampler, listing.fates_of(sampler), plan.crop_loss)
    rows = {row[0]: (each.fate, row) for each in lists for row in each.rows}
    assert sum(len(each.rows) for each in lists) == len(rows) == len(sizes) + 2
    assert all(each.total == len(each.rows) > 0 for each in lists)
    visits = sampler.visits()
    for image in range(len(sizes)):
        fate, (_, height, width, *bucket, loss, scale, why) = rows[f"{image}.jpg"]
        assert (height, width) == sizes[image]
        if image in plan.excluded:
            assert fate == "left_out"
            assert bucket == [None, None]
            assert plan.excluded[image] in why
            continue
        assert bucket == plan.bucket_sizes[plan.bucket_of[image]].tolist()
        assert loss == pytest.approx(plan.crop_loss[image], abs=1e-4)
        assert scale == pytest.approx((plan.resized(image) / plan.sizes[image]).max(), abs=1e-3)
        assert (fate == "never") == (visits[image] == 0)
        assert ("moved from" in why) == (image in plan.moved_from)
        assert plan.noted.get(image, "") in why
    assert rows[f"{len(sizes)}.jpg"] == ("refused", [f"{len(sizes)}.jpg", *[None] * 6, "torn"])


def test_lists_are_bounded_in_rows_and_bytes(tmp_path, monkeypatch):
    manifest = manifest_of(tmp_path, [(64, 64 + number) for number in range(50)], refused=9)
    sampler = BucketBatchSampler(plan_buckets(manifest.sizes), batch_size=4)
    given = (manifest, sampler, listing.fates_of(sampler), sampler.plan.crop_loss)
    monkeypatch.setattr(listing, "MOST_ROWS", 5)
    refused, used = listing.listings(*given)
    assert (refused.total, len(refused.rows), used.total, len(used.rows)) == (9, 5, 50, 5)
    losses = [row[5] for row in used.rows]
    assert losses == pytest.approx(sorted(sampler.plan.crop_loss, reverse=True)[:5], abs=1e-4)
    monkeypatch.setattr(listing, "MOST_BYTES", 100)
    assert all(len(json.dumps(each.rows)) <= 110 for each in listing.listings(*given))


# -- figures ---------------------------------------------------------------------------------------


def marks(svg: str, kind: str) -> list[ElementTree.Element]:
    return [e for e in ElementTree.fromstring(svg).iter() if kind in e.get("class", "").split()]


def total(elements: list[ElementTree.Element]) -> int:
    tips = [e.get("data-tip") for e in elements]
    return sum(int(re.search(r"([\d,]+) images", tip)[1].replace(",", "")) for tip in tips)


def inside(svg: str) -> bool:
    """Whether every mark lies within the drawing."""
    horizontal = [("x",), ("x1",), ("x2",), ("cx",), ("x", "width")]
    vertical = [("y",), ("y1",), ("y2",), ("cy",), ("y", "height")]
    return all(
        -0.1 <= sum(float(e.get(name)) for name in names) <= end
        for e in list(ElementTree.fromstring(svg).iter())[1:]
        for kinds, end in ((horizontal, WIDTH + 0.1), (vertical, HEIGHT + 0.1))
        for names in kinds
        if set(names) <= set(e.keys())
    )


@settings(max_examples=60, deadline=None)
@given(image_sizes)
def test_figures_hold_every_image_and_bucket(sizes):
    plan = plan_buckets(sizes, min_images=2)
    sampler = BucketBatchSampler(plan, batch_size=2)
    moved = np.array([each.moved for each in facts.bucket_sums(sampler, plan.crop_loss)], dtype=int)
    drawing = figures.size_map(plan.sizes, plan.bucket_sizes, plan.counts)
    assert len(marks(drawing, "point")) == len(sizes)
    assert len(marks(drawing, "bucket")) == len(plan.bucket_sizes)
    bars = figures.bucket_bars(plan.bucket_sizes, plan.counts, moved)
    # a bar with images that were moved comes in two pieces, each with the whole bucket's words
    assert {e.get("data-tip") for e in marks(bars, "bar")} == {
        f"{height}x{width}: {count:,} images" + f", {new:,} of them moved" * bool(new)
        for (height, width), count, new in zip(
            plan.bucket_sizes.tolist(), plan.counts, moved, strict=True
        )
    }
    losses = figures.loss_histogram(plan.crop_loss)
    assert total(marks(losses, "bar")) == len(sizes)
    assert all(map(inside, (drawing, bars, losses)))
    curve = curve_of(loss_of(plan), plan).points
    if curve:
        drawing = figures.loss_curve(curve, len(plan.bucket_sizes), plan.crop_loss.mean())
        assert len(marks(drawing, "dot")) == len(curve)
        assert inside(drawing)


def test_many_images_and_buckets_are_drawn_in_sums():
    sizes = np.random.default_rng(0).integers(64, 3000, (5000, 2))
    plan = plan_buckets(sizes, divisor=8)
    assert len(plan.bucket_sizes) > figures.MOST_BUCKETS
    drawing = figures.size_map(plan.sizes, plan.bucket_sizes, plan.counts)
    cells = [e for shade in range(1, 7) for e in marks(drawing, f"shade{shade}")]
    assert total(cells) == 5000
    assert not marks(drawing, "point")
    assert len(marks(drawing, "bucket")) == figures.MOST_BUCKETS
    bars = marks(figures.bucket_bars(plan.bucket_sizes, plan.counts, plan.counts * 0), "bar")
    assert total(bars) == 5000
    assert len(bars) <= figures.MOST_BUCKETS


def test_bars_are_in_proportion():
    drawing = figures.bucket_bars(
        np.array([[64, 64], [64, 128], [128, 64]]), np.array([50, 100, 20]), np.array([0, 50, 0])
    )
    heights = [(e.get("data-tip")[:6], float(e.get("height"))) for e in marks(drawing, "bar")]
    unit = dict(heights)["128x64"] / 20
    told = [(name, round(height / unit)) for name, height in heights]
    assert told == [("128x64", 20), ("64x64:", 50), ("64x128", 50), ("64x128", 50)]


# -- thumbnails ------------------------------------------------------------------------------------


def shots_of(manifest: Manifest, plan: BucketPlan, count: int = 24) -> list[Thumbnail]:
    reader = SampleReader(manifest=manifest)
    return greatest_losses(plan, plan.crop_loss, count, reader)


@pytest.mark.parametrize("crop", ["center", "bottom", "focus"])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", "native"])
def test_the_frame_is_where_the_dataset_puts_the_picture(tmp_path, fit, crop):
    paint(tmp_path / "images", 14)
    found = scan(tmp_path / "images", cache_dir=tmp_path / "cache")
    manifest = Manifest.write(
        tmp_path / "manifest.arrow",
        found.table.append_column("x", [[0.9] * 14]).append_column("y", [[0.2] * 14]),
        sources=found.sources,
    )
    keywords = {"max_area": 64**2, "max_buckets": 2, "fit": fit}
    if fit == "native":
        keywords = {"rule": "native", "trim": True}
    plan = plan_buckets(manifest.sizes, divisor=32, **keywords)
    focus = ("x", "y") if crop == "focus" else ()
    dataset = BucketDataset(manifest=manifest, plan=plan, crop=crop, focus=focus)
    losses = loss_of(plan).values
    shots = greatest_losses(plan, losses, 6, dataset.reader)
    assert [shot.loss for shot in shots] == sorted(losses, reverse=True)[:6]
    samples = {}
    for batch in BucketBatchSampler(plan, batch_size=1):
        samples[int(batch.indices[0])] = dataset[batch]
    for shot in shots:
        sample, (left, top, width, height) = samples[shot.image], shot.frame
        resized = shot.placement.resized
        assert sample["target_size"][0].tolist() == [height, width]
        assert shot.view[2:] == (max(width, resized.width), max(height, resized.height))
        if fit == "pad":
            down, across = np.nonzero(sample["mask"][0, 0].numpy())
            assert (-left, -top) == (across.min(), down.min())
            assert resized == (down.max() - down.min() + 1, across.max() - across.min() + 1)
            assert shot.loss == pytest.approx(1 - sample["mask"].double().mean().item())
        else:
            assert sample["crop_top_left"][0].tolist() == [top, left]


def test_a_thumbnail_is_the_whole_picture(tmp_path):
    paint(tmp_path / "images", 14)
    manifest = scan(tmp_path / "images", cache_dir=tmp_path / "cache")
    plan = plan_buckets(manifest.sizes, max_area=64 * 64, divisor=32, max_buckets=2)
    for shot in shots_of(manifest, plan, 6):
        head, content = shot.picture.split(",")
        assert head == "data:image/webp;base64"
        picture = Image.open(io.BytesIO(base64.b64decode(content)))
        assert max(picture.size) == 360
        height, width = shot.original
        assert picture.width / picture.height == pytest.approx(width / height, rel=0.01)
        # the colours of the picture, place by place
        whole = Image.open(manifest.path(shot.image)).resize(picture.size)
        assert np.abs(np.asarray(whole, int) - np.asarray(picture, int)).mean() < 12


def test_a_file_that_fails_shows_its_reason(tmp_path):
    folder = paint(tmp_path / "images", 4, sizes=[(64, 200)])
    manifest = scan(folder, cache_dir=tmp_path / "cache")
    files = sorted(folder.iterdir())
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:60])
    Image.new("RGB", (50, 60)).save(files[2])
    plan = plan_buckets(manifest.sizes, rule="list", sizes=[[64, 64]])
    shots = shots_of(manifest, plan)
    assert [bool(shot.picture) for shot in shots] == [False, False, False, True]
    reasons = [shot.reason for shot in shots]
    assert "No such file" in reasons[0]
    assert reasons[1]
    assert "it is 60x50 pixels now" in reasons[2]
    assert not reasons[3]


def test_images_that_lose_nothing_are_not_shown(tmp_path):
    folder = paint(tmp_path / "images", 4, sizes=[(64, 64)])
    manifest = scan(folder, cache_dir=tmp_path / "cache")
    assert shots_of(manifest, plan_buckets(manifest.sizes)) == []


# -- the page --------------------------------------------------------------------------------------


def test_a_page_stands_alone_and_is_a_function(tmp_path):
    manifest = manifest_of(tmp_path, [(500, 900), (512, 512), (60, 700)], refused=1)
    sampler = BucketBatchSampler(plan_buckets(manifest.sizes), batch_size=2)
    told = {"buckets": {"sizes": None, "max_area": 262144}}
    document = page(manifest, sampler, settings=told)
    assert document == page(manifest, sampler, settings=told)
    assert "buckets.max_area" in document
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', document)[1])
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", document, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    addresses = set(re.findall(r"https?://[^\"' ]+", document))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert not re.search(r"<(link|iframe|object|embed)|@import|url\(|\sstyle=|\son\w+=", document)


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "'><b>{{ 7 * 7 }}", "<!--"])
def test_nothing_of_a_name_is_markup(tmp_path, name):
    sizes = [(60, 700)] * 3
    manifest = manifest_of(
        tmp_path,
        sizes,
        path=[name, "a", "b"],
        caption=[name] * 3,
        sources=[{"root": f"/{name}"}],
    )
    plan = plan_buckets(sizes, rule="list", sizes=[[64, 64]], left_out={2: name})
    document = page(manifest, BucketBatchSampler(plan, batch_size=2), name=name)
    assert name not in document
    assert unescape(document).count(name) >= 3  # as a heading, a file and a caption
    tags = Counter(re.findall(r"<(/?script|b)\b", document))
    assert tags == {"script": 2, "/script": 2}


@pytest.mark.parametrize(
    "keywords",
    [
        {"max_area": [512 * 512, 128 * 128], "resolutions": "all"},
        {"rule": "native", "divisor": 64, "trim": True},
        {"upscale": False},
        {"max_buckets": 1},
        {"left_out": dict.fromkeys(range(4), "it failed")},
    ],
)
def test_every_kind_of_plan_has_a_page(tmp_path, keywords):
    sizes = [(500, 900), (512, 512), (60, 700), (70, 65)]
    manifest = manifest_of(tmp_path, sizes)
    plan = plan_buckets(sizes, **keywords)
    document = page(manifest, BucketBatchSampler(plan, batch_size=2))
    assert "<h1>4 images in" in document
    data = json.loads(re.search(r'id="data">(.*?)</script>', document, re.DOTALL)[1])
    assert sum(each["total"] for each in data["lists"]) == len(plan)
    assert len(data["buckets"]) == len(plan.bucket_sizes)


def test_no_images_make_a_page_too(tmp_path):
    document = page(manifest_of(tmp_path, []), BucketBatchSampler(plan_buckets([]), batch_size=2))
    assert "<h1>0 images in 0 shapes</h1>" in document


@pytest.mark.parametrize(
    ("fit", "name", "scale"),
    [("crop", "crop loss", 1.6), ("pad", "padding", 0.8), ("stretch", "stretch", 1.6)],
)
def test_a_page_says_what_images_lose(tmp_path, fit, name, scale):
    manifest = manifest_of(tmp_path, [(40, 80), (64, 64)])
    plan = plan_buckets(manifest.sizes, rule="list", sizes=[[64, 64]], fit=fit)
    sampler = BucketBatchSampler(plan, batch_size=1)
    document = page(manifest, sampler)
    loss = loss_of(plan)
    assert loss.values.tolist() == [0.5, 0]
    assert spread_of(loss, plan).startswith(f"{name.capitalize()}: at most 25.0% in half of the")
    assert loss.meaning in document
    assert f"<h2>{name.capitalize()}</h2>" in document
    data = json.loads(re.search(r'id="data">(.*?)</script>', document, re.DOTALL)[1])
    assert data["loss"] == name
    assert [row[5:7] for each in data["lists"] for row in each["rows"]] == [[0.5, scale], [0, 1]]
    buckets = {
        number.label: number.value
        for number in facts.the_numbers(manifest, sampler, loss)["Buckets"]
    }
    assert buckets[f"mean {name}"] == "25.0%"
    assert buckets["enlarged"] == str(int(scale > 1))
