"""What a table says of the crop: points and boxes, shares and pixels, and what cannot be meant."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lit_buckets.errors import DataError
from lit_buckets.manifest import Manifest
from lit_buckets.pixels import focus
from lit_buckets.pixels.focus import check_focus, focus_boxes, read_focus

BOX = ["left", "top", "right", "bottom"]


@pytest.fixture
def manifest_of(tmp_path):
    def make(count: int = 3, **columns) -> Manifest:
        table = pa.table(
            {
                "path": [f"{i}.jpg" for i in range(count)],
                "height": pa.array([100 * (i + 1) for i in range(count)]),
                "width": pa.array([400] * count),
                **columns,
            }
        )
        return Manifest.write(tmp_path / "manifest.arrow", table)

    return make


def test_points_and_boxes_in_either_unit():
    assert focus_boxes([0.2, 0.7], [100, 400], "share").tolist() == [0.7, 0.2, 0.7, 0.2]
    assert focus_boxes([80, 70], [100, 400], "pixels").tolist() == [0.7, 0.2, 0.7, 0.2]
    many = focus_boxes([[40, 10, 80, 50], [0, 0, 400, 200]], [[100, 400], [200, 400]], "pixels")
    assert many.tolist() == [[0.1, 0.1, 0.5, 0.2], [0, 0, 1, 1]]


def test_columns_of_all_images(manifest_of, monkeypatch):
    monkeypatch.setattr(focus, "_AT_ONCE", 2)
    manifest = manifest_of(x=[100, None, 300], y=[50.0, 60.0, 150.0])
    check_focus(manifest, ["x", "y"], "pixels")
    found = read_focus(manifest, ["x", "y"], "pixels")
    expected = [[0.5, 0.25] * 2, [0.3, np.nan] * 2, [0.5, 0.75] * 2]
    assert np.array_equal(found, expected, equal_nan=True)
    assert read_focus(manifest_of(0, x=pa.array([], pa.int64())), ["x"], "share").shape == (0, 4)


@pytest.mark.parametrize(
    ("names", "unit", "columns", "message"),
    [
        (
            ["x", "y"],
            "share",
            {"x": [0.5, 0.2, 350.0], "y": [0.5, 0.5, 20.0]},
            r"the focus of '2.jpg' lies outside of its image; x=350, y=20 \(share\) in an image of "
            r"300x400 pixels. Set transform.focus_unit=pixels, or correct the table.",
        ),
        (
            ["x", "y"],
            "pixels",
            {"x": [5, 2, 401], "y": [5, 5, 20]},
            r"'2.jpg' lies outside of its image; x=401, y=20 \(pixels\) .*focus_unit=share",
        ),
        (
            BOX,
            "pixels",
            # the last two are a width and a height
            {"left": [0, 200, 5], "top": [0, 10, 5], "right": [9, 50, 9], "bottom": [9, 50, 9]},
            r"the focus of '1.jpg' ends before it begins; left=200, top=10, right=50, bottom=50 "
            r".*Name columns as \[left, top, right, bottom\].",
        ),
        (
            ["x", "y"],
            "share",
            {"x": ["a", "b", "c"], "y": [0.1, 0.2, 0.3]},
            "column 'x' must hold numbers to be a focus; it holds string. Correct the table",
        ),
        (
            ["x", "y"],
            "share",
            {"x": [True, False, True], "y": [0.1, 0.2, 0.3]},
            "column 'x' must hold numbers to be a focus; it holds bool",
        ),
        (
            ["x", "y"],
            "pixels",
            {"x": [2**60, 2, 3], "y": [None, 5, 20]},
            r"'0.jpg' lies outside of its image; x=1.15292e\+18, y=null \(pixels\)",
        ),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(manifest_of, names, unit, columns, message):
    with pytest.raises(DataError, match=message):
        check_focus(manifest_of(**columns), names, unit)


def test_without_a_focus_in_any_image_all_are_cropped_at_the_centre(manifest_of):
    manifest = manifest_of(x=pa.nulls(3), y=pa.nulls(3))
    check_focus(manifest, ["x", "y"], "pixels")
    assert np.isnan(read_focus(manifest, ["x", "y"], "pixels")).all()


def test_a_box_may_reach_beyond_its_image(manifest_of):
    columns = {"left": [-5, None], "top": [-1, 1], "right": [9, 2], "bottom": [120, 3]}
    check_focus(manifest_of(2, **columns), BOX, "pixels")
