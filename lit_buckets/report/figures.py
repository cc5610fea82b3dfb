"""The figures of a report: plain arrays in, inline SVG out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from lit_buckets.report.svg import Chart, Scale, Tick, compact, even_ticks, log_ticks

__all__ = [
    "MOST_BUCKETS",
    "MOST_POINTS",
    "SHADES",
    "bucket_bars",
    "loss_curve",
    "loss_histogram",
    "size_map",
]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

#: Buckets that a figure draws one by one, at most.
MOST_BUCKETS = 250
#: Above so many images a map of sizes shows how many there are, not each of them.
MOST_POINTS = 2_000
#: Shades of a density, from the palest on.
SHADES = 6

_CELLS = (56, 29)  # of a density, across and down
_RATIOS = ((1, 1), (4, 3), (3, 2), (2, 1), (3, 1), (4, 1), (6, 1), (10, 1), (20, 1), (50, 1))
_RATIOS_APART = 0.075  # least distance of two ratios' labels, as a share of the axis
_MOST_BARS_NAMED = 7
_BIN_WIDTHS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05)  # of a crop loss
_MOST_BINS = 40
_NEAR = 2  # how far beyond a curve's end a plan is still drawn, as a factor


def size_map(
    sizes: IntArray,
    bucket_sizes: IntArray,
    counts: IntArray,
    *,
    fates: Sequence[str] = (),
    names: Sequence[str] = (),
) -> Markup:
    """Where images and buckets lie: aspect ratio across, area upwards, both logarithmic.

    Args:
        sizes: (N, 2) image sizes, in pixels.
        bucket_sizes: (K, 2) bucket sizes, in pixels.
        counts: (K,) images in each bucket.
        fates: N classes, one for each image; used up to :data:`MOST_POINTS` images.
        names: N names to show when an image is pointed at; used likewise.

    Returns:
        A chart with a point for each image, or shaded cells where there are many, and with the
        :data:`MOST_BUCKETS` fullest buckets.
    """
    ratio, area = _ratio_and_area(np.concatenate([sizes, bucket_sizes]))
    x, y = _span(ratio, 1.15), _span(area, 1.3)
    chart = Chart(
        f"Aspect ratio and area of {len(sizes):,} images, and of {len(bucket_sizes):,} buckets.",
        x,
        y,
    )
    chart.axes(
        "aspect ratio, width : height",
        _ratio_ticks(x),
        "area, megapixels",
        [(value, f"{value:g}") for value in log_ticks(y.low, y.high)],
    )
    if len(sizes) > MOST_POINTS:
        _draw_density(chart, ratio[: len(sizes)], area[: len(sizes)], x, y)
    else:
        for place, (height, width) in enumerate(sizes.tolist()):
            chart.mark(
                "circle",
                f"point {fates[place] if fates else 'used'}",
                tip=f"{names[place] if names else place}: {height}x{width}",
                cx=chart.x(ratio[place]),
                cy=chart.y(area[place]),
                r=3,
            )
    radii = 2.5 + 4.5 * np.sqrt(counts / counts.max(initial=1))
    # the smallest are drawn last, so that none hides another
    for k in np.argsort(-counts, kind="stable")[:MOST_BUCKETS].tolist():
        height, width = bucket_sizes[k].tolist()
        across, up, r = chart.x(ratio[len(sizes) + k]), chart.y(area[len(sizes) + k]), radii[k]
        chart.mark(
            "path",
            "bucket",
            tip=f"bucket {height}x{width}: {counts[k]:,} images",
            d=f"M{across:.1f} {up - r:.1f}l{r:.1f} {r:.1f}l{-r:.1f} {r:.1f}l{-r:.1f} {-r:.1f}z",
        )
    return chart.markup()


def bucket_bars(bucket_sizes: IntArray, counts: IntArray, moved: IntArray) -> Markup:
    """How many images each bucket has, from portrait to landscape.

    Args:
        bucket_sizes: (K, 2) bucket sizes, in pixels.
        counts: (K,) images in each.
        moved: (K,) how many of them were moved there from a small bucket.

    Returns:
        A chart with a bar for each bucket, or for some neighbours where there are very many;
        those moved on top.
    """
    ratio, area = _ratio_and_area(bucket_sizes)
    order = np.lexsort((area, ratio))
    first = np.arange(0, len(order), max(-(-len(order) // MOST_BUCKETS), 1))
    last = np.append(first[1:], len(order)) - 1
    images, newcomers = (_sums(values[order], first) for values in (counts, moved))
    most = max(int(images.max(initial=1)), 1)
    chart = Chart(
        f"Images in each of {len(order):,} buckets.", Scale(0, max(len(first), 1)), Scale(0, most)
    )
    named = range(0, len(first), max(-(-len(first) // _MOST_BARS_NAMED), 1))
    names = [_size(bucket_sizes[k]) for k in order[first].tolist()]
    chart.axes(
        "buckets, from portrait to landscape",
        [(place + 0.5, names[place]) for place in named],
        "images",
        _counts(most),
    )
    for place, (total, new) in enumerate(zip(images.tolist(), newcomers.tolist(), strict=True)):
        until = f" to {_size(bucket_sizes[order[last[place]]])}" * bool(last[place] > first[place])
        tip = f"{names[place]}{until}: {total:,} images" + f", {new:,} of them moved" * bool(new)
        sides = chart.x(place + 0.1), chart.x(place + 0.9)
        for kind, low, high in (("bar", 0, total - new), ("bar moved", total - new, total)):
            if high > low:
                _draw_bar(chart, kind, tip, sides, (low, high))
    return chart.markup()


def loss_histogram(losses: FloatArray, name: str = "crop loss") -> Markup:
    """How much is cut from how many images.

    Args:
        losses: (M,) what images lose, in [0, 1).
        name: What to call it.

    Returns:
        A chart with bars of equal width, and a line at the mean.
    """
    largest = max(float(losses.max(initial=0.0)), 0.01)
    width = next((w for w in _BIN_WIDTHS if largest / w <= _MOST_BINS), _BIN_WIDTHS[-1])
    bins = math.floor(largest / width) + 1
    images = np.bincount((losses / width).astype(np.int64), minlength=bins)
    most = max(int(images.max(initial=1)), 1)
    mean = float(losses.mean()) if losses.size else 0.0
    chart = Chart(
        f"{name.capitalize()} of {len(losses):,} images: {mean:.1%} on average, "
        f"{largest:.1%} at most.",
        Scale(0, bins * width),
        Scale(0, most),
    )
    chart.axes(
        name,
        [(value, f"{value * 100:g}%") for value in even_ticks(0, bins * width, 8)],
        "images",
        _counts(most),
    )
    edges = chart.x(np.arange(bins + 1) * width)
    for place in np.flatnonzero(images).tolist():
        low, high = place * width, (place + 1) * width
        tip = f"{low * 100:g}% to {high * 100:g}%: {images[place]:,} images"
        sides = edges[place] + 0.5, edges[place + 1] - 0.5
        _draw_bar(chart, "bar", tip, sides, (0, int(images[place])))
    across = chart.x(mean)
    chart.mark("line", "level", x1=across, x2=across, y1=chart.y(0), y2=chart.y(most))
    side = "end" if mean > bins * width / 2 else "start"
    shift = -6 if side == "end" else 6
    chart.text(f"note {side}", across + shift, chart.y(most) + 12, f"mean {mean:.1%}")
    return chart.markup()


def loss_curve(
    curve: Mapping[int, float], shapes: int, loss: float, name: str = "crop loss"
) -> Markup:
    """What more or fewer shapes would lose, and what the plan does.

    Args:
        curve: Least mean loss by number of shapes, at least one point.
        shapes: How many shapes the plan has.
        loss: The mean loss of the plan.
        name: What to call it.

    Returns:
        A chart with a point for each number, and one for the plan if it is not far beyond them.
    """
    numbers, losses = np.array(list(curve)), np.array(list(curve.values()))
    near = shapes <= _NEAR * numbers.max()
    x = Scale(float(numbers.min()) - 0.5, float(max(numbers.max(), shapes if near else 0)) + 0.5)
    y = Scale(0, 1.05 * max(float(losses.max()), loss * near, 0.001))
    chart = Chart(
        f"Least mean {name} with {numbers.min()} to {numbers.max()} shapes: "
        f"{losses[0]:.1%} to {losses[-1]:.1%}. This plan has {shapes:,}: {loss:.1%}.",
        x,
        y,
    )
    chart.axes(
        "number of shapes",
        [(value, f"{value:g}") for value in even_ticks(x.low, x.high, 8) if value % 1 == 0],
        f"mean {name}",
        [(value, f"{value * 100:g}%") for value in even_ticks(0, y.high)],
    )
    across, up = chart.x(numbers), chart.y(losses)
    points = " ".join(f"{a:.1f},{u:.1f}" for a, u in zip(across, up, strict=True))
    chart.mark("polyline", "curve", points=points)
    for number, share, a, u in zip(numbers.tolist(), losses.tolist(), across, up, strict=True):
        tip = f"{number} shape{'s' * (number != 1)}: {share:.2%} at least"
        chart.mark("circle", "dot", tip=tip, cx=a, cy=u, r=3.5)
    if near:
        tip = f"this plan, {shapes} shape{'s' * (shapes != 1)}: {loss:.2%}"
        chart.mark("circle", "here", tip=tip, cx=chart.x(shapes), cy=chart.y(loss), r=6)
        side = "end" if x.share(shapes) > 0.5 else "start"
        chart.text(f"note {side}", chart.x(shapes), chart.y(loss) - 14, f"this plan, {loss:.1%}")
    return chart.markup()


def _counts(most: int) -> list[Tick]:
    return [(value, compact(value)) for value in even_ticks(0, most) if value % 1 == 0]


def _sums(values: IntArray, first: IntArray) -> IntArray:
    """Sums of stretches of values that begin at ``first``."""
    return np.add.reduceat(values, first) if len(first) else np.zeros(0, dtype=np.int64)


def _size(size: IntArray) -> str:
    height, width = size.tolist()
    return f"{height}x{width}"


def _draw_bar(
    chart: Chart,
    kind: str,
    tip: str,
    sides: tuple[FloatArray, FloatArray],
    ends: tuple[int, int],
) -> None:
    """A bar between two values, visible however few they are."""
    top, bottom = chart.y(ends[1]), chart.y(ends[0])
    top = np.minimum(top, bottom - 1.5)
    left, right = sides
    chart.mark("rect", kind, tip=tip, x=left, y=top, width=right - left, height=bottom - top)


def _draw_density(chart: Chart, ratio: FloatArray, area: FloatArray, x: Scale, y: Scale) -> None:
    across, up = (
        np.minimum((scale.share(values) * cells).astype(np.int64), cells - 1)
        for scale, values, cells in ((x, ratio, _CELLS[0]), (y, area, _CELLS[1]))
    )
    images = np.bincount(across * _CELLS[1] + up, minlength=_CELLS[0] * _CELLS[1])
    ratios, areas = (
        scale.values(np.arange(cells + 1) / cells)
        for scale, cells in zip((x, y), _CELLS, strict=True)
    )
    left, bottom = chart.x(ratios), chart.y(areas)
    depth = np.log(np.maximum(images, 1)) / math.log(max(int(images.max()), 2))
    for cell in np.flatnonzero(images).tolist():
        i, j = divmod(cell, _CELLS[1])
        shade = 1 + min(int(depth[cell] * SHADES), SHADES - 1)
        chart.mark(
            "rect",
            f"shade{shade}",
            tip=f"{images[cell]:,} images of {_as_ratio(math.sqrt(ratios[i] * ratios[i + 1]))}, "
            f"{areas[j]:.2g} to {areas[j + 1]:.2g} megapixels",
            x=left[i],
            y=bottom[j + 1],
            width=left[i + 1] - left[i],
            height=bottom[j] - bottom[j + 1],
        )


def _ratio_and_area(sizes: IntArray) -> tuple[FloatArray, FloatArray]:
    """Width / height, and megapixels."""
    return sizes[:, 1] / sizes[:, 0], sizes.prod(axis=1) / 1e6


def _span(values: FloatArray, margin: float) -> Scale:
    """A logarithmic scale with all the values inside, some factor from its ends."""
    low, high = float(values.min(initial=math.inf)), float(values.max(initial=0.0))
    if high <= 0:
        low = high = 1.0
    return Scale(low / margin, high * margin, log=True)


def _ratio_ticks(x: Scale) -> list[Tick]:
    """Familiar aspect ratios, those next to the square first, none too near another."""
    found: list[tuple[float, Tick]] = []
    for long, short in _RATIOS:
        for width, height in sorted({(long, short), (short, long)}):
            share = float(x.share(width / height))
            if 0 <= share <= 1 and all(abs(share - at) >= _RATIOS_APART for at, _ in found):
                found.append((share, (width / height, f"{width}:{height}")))
    return [tick for _, tick in sorted(found)]


def _as_ratio(ratio: float) -> str:
    return f"{ratio:.2f}:1" if ratio >= 1 else f"1:{1 / ratio:.2f}"
