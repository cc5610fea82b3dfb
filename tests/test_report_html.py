"""The report in a browser: what a user sees, clicks and types."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import paint
from PIL import Image

from lit_buckets import BucketBatchSampler, BucketDataModule, Manifest, plan_buckets
from lit_buckets.report.html import write_page
from lit_buckets.report.listing import FATES

HOSTILE = "<img src=x onerror=alert(1)>.jpg"
CAPTION = "</script><script>alert(2)</script> & a <b>caption</b>"
SCREENS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 375, "height": 700}},
    "dark phone": {"color_scheme": "dark", "viewport": {"width": 375, "height": 700}},
}


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window; CI must have it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        yield playwright.chromium.launch(executable_path=found, args=arguments)


@pytest.fixture
def look(browser):
    """Open a file on a screen; whatever a page complains about fails the test at its end."""
    contexts, wrong = [], []

    def open_(file: Path, screen: str = "light"):
        contexts.append(browser.new_context(**SCREENS[screen]))
        page = contexts[-1].new_page()
        page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: asked.url[:5] in ("file:", "data:") or wrong.append(asked))
        page.set_default_timeout(5_000)
        page.goto(file.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture(scope="module")
def module(tmp_path_factory) -> BucketDataModule:
    """Images of every fate: left out, cropped beyond the limit, staying, moved; refused files."""
    root = tmp_path_factory.mktemp("report")
    paint(root / "often", 60)
    once = root / "once"
    for name, count, size in (
        ("flat", 14, (40, 170)),
        ("near", 3, (75, 85)),
        ("tiny", 2, (20, 20)),
        ("wide", 2, (64, 900)),
    ):
        paint(once / name, count, sizes=[size])
    Image.new("RGB", (640, 100), (30, 90, 160)).save(once / HOSTILE)
    (once / HOSTILE).with_suffix(".txt").write_text(CAPTION)
    (once / "broken.jpg").write_bytes(b"no image at all")
    dm = BucketDataModule(
        {
            "data": {
                "train": [{"path": str(root / "often"), "repeats": 3}, {"path": str(once)}],
                "cache_dir": str(root / "cache"),
            },
            "buckets": {
                "rule": "list",
                "sizes": [[64, 64], [60, 68], [48, 80], [80, 48], [32, 128]],
                "divisor": 4,
                "min_images": 12,
                "max_crop": 0.3,
                "upscale": False,
            },
        }
    )
    dm.prepare_data()
    dm.setup("fit")
    return dm


@pytest.fixture(scope="module")
def report(module, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    module.write_report(file, ranks=2)
    return file


def files_of(page) -> list[str]:
    return page.locator("#image-list tbody th span").all_text_contents()


def column(page, number: int, list_: str = "image-list") -> list[str]:
    cells = page.locator(f"#{list_} tbody tr > :nth-child({number}) > span")
    return cells.all_text_contents()


def status(page) -> str:
    return page.locator("#image-list .status").text_content()


def background(page) -> int:
    rgb = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    return sum(map(int, re.findall(r"\d+", rgb)[:3]))


@pytest.mark.parametrize("screen", SCREENS)
def test_it_reads_well_on_every_screen(report, look, screen):
    page = look(report, screen)
    assert page.locator("h1").text_content() == "82 images in 4 shapes"
    assert (background(page) < 200) == screen.startswith("dark")
    beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(beyond) == 0
    smallest = """Math.min(...[...document.querySelectorAll(".chart .tick")].filter(
        (text) => text.checkVisibility()).map((text) => text.getBoundingClientRect().height))"""
    assert page.evaluate(smallest) >= 10
    for chart in page.locator(".chart").all():
        box, panel = chart.bounding_box(), chart.locator("..").bounding_box()
        assert box["x"] >= panel["x"]
        assert box["x"] + box["width"] <= panel["x"] + panel["width"]


@pytest.mark.parametrize("screen", SCREENS)
def test_it_is_accessible(report, look, screen):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(look(report, screen))
    assert not found.violations_count, found.generate_report()


def test_the_numbers_are_those_of_the_plan(module, report, look):
    page = look(report)
    labels = page.locator(".numbers dt").all_text_contents()
    values = page.locator(".numbers dd").evaluate_all("all => all.map(dd => dd.firstChild.data)")
    told = dict(zip(labels, values, strict=True))
    loss = module.plan.crop_loss[module.plan.bucket_of >= 0]
    account = BucketBatchSampler(module.plan, batch_size=8, num_replicas=2).accounting()
    assert told["sized"] == "82"
    assert told["used"] == "80"
    assert (told["left out"], told["refused"], told["moved"]) == ("2", "1", "3")
    assert told["mean crop loss"] == f"{loss.mean():.1%}"
    assert told["samples"] == str(account.samples) == "200"
    assert told["steps"] == str(account.rounds)
    assert told["batches full"] == f"{account.fullness:.0%}"
    rows = page.locator("#epoch tbody tr").all_inner_texts()
    assert [row.split()[-4:] for row in rows[:2]] == [["x", "3", "=", "180"], ["x", "1", "=", "20"]]
    assert column(page, 3, "bucket-list") == [str(count) for count in module.plan.counts.tolist()]


@pytest.mark.parametrize("screen", ["light", "phone"])
def test_names_and_captions_stay_text(report, look, screen):
    page = look(report, screen)
    assert f"once/{HOSTILE}" in files_of(page)
    assert HOSTILE in page.locator(".thumbnails .path").all_text_contents()
    assert CAPTION in page.locator(".thumbnails .caption").all_text_contents()
    page.locator("circle[data-tip*=onerror]").hover(force=True)
    assert HOSTILE in page.locator("#tip").text_content()
    assert page.locator("body img, body b:not(fieldset b), [onerror]").count() == 0
    assert page.locator("script").count() == 2


def test_lists_are_filtered_searched_sorted_and_turned(report, look):
    page = look(report)
    choices = page.locator(".fates label").all_text_contents()
    assert choices == [
        "all 83",
        "refused 1",
        "left out 2",
        "cropped beyond the limit 3",
        "stays in a small bucket 9",
        "moved 3",
        "others 65",
    ]
    assert status(page) == "1–50 of 83"  # noqa: RUF001
    first = files_of(page)
    page.get_by_role("button", name="Next page").first.click()
    assert status(page) == "51–83 of 83"  # noqa: RUF001
    assert len({*first, *files_of(page)}) == 83

    page.get_by_label("cropped beyond the limit").check(force=True)
    assert status(page) == "1–3 of 3, from 83"  # noqa: RUF001
    assert files_of(page)[2] == f"once/{HOSTILE}"  # from the most cropped on
    assert all("more than max_crop=0.3" in why for why in column(page, 7))

    search = page.locator("#image-list input[type=search]")
    search.fill("WIDE 900")
    assert files_of(page) == ["once/wide/image_0000.png", "once/wide/image_0001.png"]
    search.fill("onerror")
    assert files_of(page) == [f"once/{HOSTILE}"]
    search.fill("no such thing")
    assert status(page) == "none, from 83"
    search.fill("")
    page.get_by_label("all 83").check(force=True)

    sizes = page.locator("#image-list").get_by_role("button", name="size", exact=True)
    for order, first_size in (("ascending", "20x20"), ("descending", "100x640")):
        sizes.click()
        assert page.locator("#image-list [aria-sort]").nth(2).get_attribute("aria-sort") == order
        assert column(page, 3)[0] == first_size
    page.get_by_role("button", name="Last page").click()
    assert column(page, 3)[-1] == ""  # what has no size is last in either order
    sizes.click()
    assert files_of(page) == first

    page.locator("#bucket-list input").fill("80x48")
    assert column(page, 1, "bucket-list") == ["80x48"]


def test_keys_are_enough(report, look):
    page = look(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.get_by_label("all 83").focus()
    page.keyboard.press("ArrowRight")
    assert status(page) == "1–1 of 1, from 83"  # noqa: RUF001
    page.keyboard.press("Tab")
    page.keyboard.type("broken")
    assert files_of(page) == ["once/broken.jpg"]
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#image-list [aria-sort=ascending] button").text_content() == "file"


def test_the_theme_can_be_chosen(report, look):
    page = look(report, "dark")
    button = page.locator("#theme")
    assert background(page) < 200
    button.click()
    assert button.text_content() == "Theme: light"
    assert background(page) > 600
    page.reload()
    assert background(page) > 600
    button.click()
    button.click()
    assert button.text_content() == "Theme: system"
    assert background(page) < 200


def test_on_paper(report, look):
    page = look(report, "dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#image-list tbody tr").count() == 83
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#image-list tbody tr").count() == 50
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_phone_shows_images_as_cards(report, look):
    page = look(report, "phone")
    row = page.locator("#image-list tbody tr", has_text=HOSTILE)
    assert row.bounding_box()["width"] <= 375
    assert row.locator("td").last.bounding_box()["y"] > row.locator("th").bounding_box()["y"]
    assert (
        page.locator("#image-list .scroll").evaluate("box => box.scrollWidth - box.clientWidth")
        == 0
    )


@pytest.mark.slow
def test_a_million_images_make_a_small_page(tmp_path, look):
    """Most of them in the lists: what a page holds is bounded, and it says so."""
    count = 1_000_000
    rng = np.random.default_rng(0)
    area, ratio = np.exp(rng.normal(13.5, 1, count)), np.exp(rng.normal(0, 0.5, count))
    sizes = np.stack([np.sqrt(area / ratio), np.sqrt(area * ratio)], axis=1).astype(int) + 16
    refused = rng.random(count) < 0.1
    folder = "a/rather/long/name/of/a/folder/" * 4
    manifest = Manifest.write(
        tmp_path / "manifest.arrow",
        pa.table(
            {
                "path": [f"{folder}{number}.jpg" for number in range(count)],
                "height": pa.array(np.where(refused, 0, sizes[:, 0]), pa.int32()),
                "width": pa.array(np.where(refused, 0, sizes[:, 1]), pa.int32()),
                "reason": pa.array(np.where(refused, "cut short: 12 bytes are missing", "")),
            }
        ),
    )
    plan = plan_buckets(
        manifest.sizes,
        upscale=False,
        min_images=10_000,
        max_crop=0.1,
        left_out=dict.fromkeys(range(0, 200_000, 3), "it failed in decoding"),
    )
    sampler = BucketBatchSampler(plan, batch_size=64, num_replicas=8, short_batch="drop")
    write_page(tmp_path / "report.html", manifest, sampler)
    assert (tmp_path / "report.html").stat().st_size < 15e6
    page = look(tmp_path / "report.html")
    assert page.locator(".chart").first.locator("circle").count() == 0
    assert 300 < page.locator(".chart").first.locator("rect").count() < 2_000
    assert page.locator("h1").text_content().startswith(f"{len(manifest):,} images in ")
    notes = page.locator("#images > .aside").all_text_contents()
    assert any(f"of {refused.sum():,} are listed" in note for note in notes)
    page.locator("#image-list input[type=search]").fill("123.jpg moved")
    assert files_of(page)
    assert set(column(page, 2)) == {FATES["moved"]}
