"""Contact sheets: what is drawn where, in whatever script."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import paint
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lit_buckets import BucketDataModule
from lit_buckets.contact import draw_batch, write_sheets
from lit_buckets.contact.frame import MARGIN, PAPER, Sample, draw_picture
from lit_buckets.contact.lettering import clip, font_for, wrap
from lit_buckets.geometry import Offset, Size, cover

TEXTS = [
    "",
    "short",
    "a caption that goes on and on, " * 20,
    "WithoutAnySpaceToBreakAt" * 20,
    "木に座っているコアラ",
    "صورة لطائر على غصن",
    "two\nlines\tand a tab",
    "emoji 🦉 and \x00\x1b[31m control",
]

ARROW = np.zeros((40, 80, 3), dtype=np.uint8)  # nothing of it looks the same mirrored
ARROW[:, :20] = (255, 0, 0)
ARROW[:10, 20:] = (0, 255, 0)


def arrow() -> Image.Image:
    return Image.fromarray(ARROW)


def datamodule(folder, cache, **sections) -> BucketDataModule:
    config = {
        "data": {"train": str(folder), "cache_dir": str(cache)},
        "buckets": {"max_area": 64 * 64, "divisor": 16, "max_buckets": 2},
        "batches": {"batch_size": 5},
        "loader": {"num_workers": 0},
    }
    dm = BucketDataModule(config | sections)
    dm.prepare_data()
    dm.setup("fit")
    return dm


@pytest.fixture(scope="module")
def captioned(tmp_path_factory):
    folder = paint(tmp_path_factory.mktemp("captioned"), len(TEXTS))
    for file, text in zip(sorted(folder.glob("*.png")), TEXTS, strict=True):
        if text:
            file.with_suffix(".txt").write_text(text)
    return folder


# -- one picture ----------------------------------------------------------------------------------


def test_the_sample_lies_where_it_was_cut_and_the_rest_is_faded():
    sample = Sample(ARROW[:, 30:70], arrow(), Size(40, 80), Offset(0, 30))
    drawn = np.asarray(draw_picture(sample, Size(40, 80)))
    assert drawn.shape == (40 + 2 * MARGIN, 80 + 2 * MARGIN, 3)
    inside = drawn[MARGIN : MARGIN + 40, MARGIN : MARGIN + 80]
    assert (inside[:, 30:70] == ARROW[:, 30:70]).all()
    faded = inside[1:39, :20].astype(int)  # marks lie in the first and last row
    assert (faded[..., 0] > 200).all()  # red, with more paper than red
    assert (np.abs(faded - PAPER).max(axis=-1) < 150).all()
    assert (drawn[:, 0] == PAPER).all()  # no mark leaves the margin
    marks = np.argwhere((drawn == (214, 60, 40)).all(axis=-1))
    assert {int(x) for y, x in marks if y < MARGIN} == {MARGIN + 30, MARGIN + 69}


def test_pictures_stand_on_the_floor_of_their_room():
    sample = Sample(ARROW, arrow(), Size(40, 80), Offset(0, 0))
    drawn = np.asarray(draw_picture(sample, Size(160, 160)))
    assert (drawn[: MARGIN + 60] == PAPER).all(axis=-1).mean() > 0.95
    assert tuple(drawn[MARGIN + 159, MARGIN]) == (255, 0, 0)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("flip", [False, True])
def test_whether_a_sample_is_mirrored_is_seen(fit, flip):
    resized = {"crop": Size(40, 80), "pad": Size(20, 40), "stretch": Size(40, 40)}[fit]
    whole = np.asarray(arrow().resize((resized.width, resized.height)))
    whole = whole[:, ::-1] if flip else whole
    pixels = np.full((40, 40, 3), 255, dtype=np.uint8)
    if fit == "pad":
        pixels[10:30] = whole
    else:
        pixels[:] = whole[:, -40:] if fit == "crop" else whole
    sample = Sample(pixels, arrow(), resized, Offset(0, 40 if fit == "crop" else 0))
    assert sample.mirrored == flip
    assert sample.crop_loss == (0.5 if fit == "crop" else 0)
    assert sample.padding == (0.5 if fit == "pad" else 0)


@pytest.mark.parametrize("crop", ["center", "random", "top", "bottom"])
def test_real_samples_lie_where_the_batch_says(images, tmp_path, crop):
    """Drawn at their own size, the surroundings go on where the sample ends."""
    transform = {"crop": crop, "flip": 0.5}
    dm = datamodule(images, tmp_path, transform=transform)
    batch = next(iter(dm.loader("train", num_workers=0)))
    for place in range(len(batch["index"])):
        original, target = (
            Size(*batch[k][place].tolist()) for k in ("original_size", "target_size")
        )
        file = Image.open(batch["path"][place])
        resized = Size(*cover(original, target).tolist())
        offset = Offset(*batch["crop_top_left"][place].tolist())
        pixels = batch["image"][place].permute(1, 2, 0).numpy()
        sample = Sample(pixels, file, resized, offset)
        whole = np.asarray(file.resize((resized.width, resized.height)), dtype=int)
        whole = whole[:, ::-1] if sample.mirrored else whole
        cut = whole[offset.top :, offset.left :][: target.height, : target.width]
        assert np.abs(cut - pixels).mean() < 3


# -- pages ----------------------------------------------------------------------------------------


def test_a_page_for_each_batch(captioned, tmp_path):
    dm = datamodule(captioned, tmp_path / "cache")
    total = len(dm.loader("train", num_workers=0))
    files = write_sheets(dm, tmp_path / "sheets", batches=99, epoch=1)
    assert len(files) == total
    assert [file.name for file in files[:1]] == ["train-epoch1-batch0001.png"]
    for file in files:
        page = Image.open(file)
        assert page.width <= 1440
        assert len(page.getcolors(2**24)) > 20


def test_a_file_that_has_gone_is_still_drawn(tmp_path):
    folder = paint(tmp_path / "gone", 4)
    dm = datamodule(folder, tmp_path / "cache", batches={"batch_size": 4})
    batch = next(iter(dm.loader("train", num_workers=0)))
    for file in folder.iterdir():
        file.unlink()
    assert draw_batch(dm, batch, title="gone").height > 300


def test_strips_and_single_samples(tmp_path):
    folder = paint(tmp_path / "strips", 3, [(4, 900), (900, 4)])
    config = {"buckets": {"max_area": 64 * 64, "divisor": 16}, "batches": {"batch_size": 1}}
    dm = datamodule(folder, tmp_path / "cache", **config)
    for batch in dm.loader("train", num_workers=0):
        page = draw_batch(dm, batch, title="a title that is longer than the page " * 9)
        assert 640 <= page.width <= 1440


# -- letters --------------------------------------------------------------------------------------


@given(text=st.text(max_size=300), width=st.integers(20, 400), most=st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_lines_fit_and_nothing_is_lost_that_has_room(text, width, most):
    font = font_for(text, 14)
    lines = wrap(text, font, width, most)
    assert len(lines) <= most
    wide = font.getlength("M" * 3)
    for line in lines:
        assert font.getlength(line) <= max(width, wide)
        font.getmask(line)
    whole = wrap(text, font, width, 10_000)
    if len(whole) <= most:
        assert lines == whole
        assert "".join("".join(lines).split()) == "".join(
            "".join(wrap(text, font, 10**6, 1)).split()
        )


@pytest.mark.parametrize("text", TEXTS)
def test_every_script_is_drawn(text):
    font = font_for(text, 14)
    assert len(wrap(text, font, 200, 3)) <= 3
    assert font.getlength(clip(text, font, 200)) <= 200


def test_words_stay_whole_where_they_can():
    font = font_for("", 14)
    lines = wrap("seven small words on several short lines", font, 100, 9)
    assert " ".join(lines) == "seven small words on several short lines"
    assert wrap("one two three four five six", font, 60, 1)[0].endswith("…")


def test_without_any_font_of_the_system(monkeypatch):
    from lit_buckets.contact import lettering

    monkeypatch.setattr(lettering, "_system_font", lambda name, size: None)
    font = font_for("木 plain", 14)
    assert wrap("木 plain", font, 100, 2)
