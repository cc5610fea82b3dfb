"""Charts as inline SVG: scales, a frame with axes, and marks on it.

A mark says what it is by its class; the page's style sheet gives it a colour, so that one drawing
serves light, dark and paper. Text is escaped by the XML library, whatever it holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

__all__ = ["HEIGHT", "WIDTH", "Chart", "Scale", "Tick", "compact", "even_ticks", "log_ticks"]

FloatArray = npt.NDArray[np.float64]
Tick = tuple[float, str]  #: a value and what to write beside it

WIDTH, HEIGHT = 560, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 30, 50  # room for axes around the plot


@dataclass(frozen=True)
class Scale:
    """A straight line of pixels that stands for a stretch of values.

    Attributes:
        low: The value at the beginning.
        high: The value at the end, larger.
        log: Whether equal steps are equal factors.

    Example:
        >>> Scale(1, 100, log=True).share([1, 10, 100]).tolist()
        [0.0, 0.5, 1.0]
    """

    low: float
    high: float
    log: bool = False

    def share(self, values: npt.ArrayLike) -> FloatArray:
        """Where values lie, from 0 at the beginning to 1 at the end."""
        low, high, some = (np.asarray(v, dtype=np.float64) for v in (self.low, self.high, values))
        if self.log:
            low, high, some = np.log(low), np.log(high), np.log(some)
        return np.asarray((some - low) / (high - low))

    def values(self, shares: npt.ArrayLike) -> FloatArray:
        """The values at these shares of the way."""
        some = np.asarray(shares, dtype=np.float64)
        if self.log:
            return np.asarray(self.low * (self.high / self.low) ** some)
        return np.asarray(self.low + (self.high - self.low) * some)


class Chart:
    """A plot with a horizontal and a vertical axis, drawn mark by mark.

    Args:
        label: What the chart shows, in a sentence, for those who cannot see it.
        x: The horizontal scale, from left to right.
        y: The vertical scale, from bottom to top.
    """

    def __init__(self, label: str, x: Scale, y: Scale) -> None:
        self._x, self._y = x, y
        self._root = ElementTree.Element(
            "svg",
            {
                "class": "chart",
                "viewBox": f"0 0 {WIDTH} {HEIGHT}",
                "role": "img",
                "aria-label": label,
            },
        )

    def axes(
        self, x_title: str, x_ticks: Sequence[Tick], y_title: str, y_ticks: Sequence[Tick]
    ) -> None:
        """Draw both axes, with a line across the plot at each tick of the vertical one."""
        bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
        for value, text in y_ticks:
            y = self.y(value)
            self.mark("line", "grid", x1=_LEFT, x2=right, y1=y, y2=y)
            self.text("tick end", _LEFT - 8, y + 4, text)
        self.mark("line", "axis", x1=_LEFT, x2=right, y1=bottom, y2=bottom)
        for number, (value, text) in enumerate(x_ticks):
            x = self.x(value)
            self.mark("line", "axis", x1=x, x2=x, y1=bottom, y2=bottom + 4)
            # narrow screens have room for every other one
            self.text("tick middle" + " minor" * (number % 2), x, bottom + 19, text)
        self.text("title", 0, 14, y_title)
        self.text("title end", right, HEIGHT - 6, x_title)

    def x(self, values: npt.ArrayLike) -> FloatArray:
        """Pixels from the left."""
        return _LEFT + self._x.share(values) * (WIDTH - _LEFT - _RIGHT)

    def y(self, values: npt.ArrayLike) -> FloatArray:
        """Pixels from the top."""
        return HEIGHT - _BOTTOM - self._y.share(values) * (HEIGHT - _TOP - _BOTTOM)

    def mark(self, tag: str, kind: str, *, tip: str = "", **attributes: object) -> None:
        """Draw an element.

        Args:
            tag: Its SVG tag.
            kind: Its classes.
            tip: What to say of it when it is pointed at.
            attributes: Its further attributes; numbers are rounded to a tenth of a pixel.
        """
        given = {"class": kind} | {name: _text(value) for name, value in attributes.items()}
        ElementTree.SubElement(self._root, tag, given | ({"data-tip": tip} if tip else {}))

    def text(self, kind: str, x: float | FloatArray, y: float | FloatArray, content: str) -> None:
        """Write a line of text."""
        place = {"class": kind, "x": _text(x), "y": _text(y)}
        ElementTree.SubElement(self._root, "text", place).text = content

    def markup(self) -> Markup:
        """The drawing, escaped and ready to stand in a page."""
        return Markup(ElementTree.tostring(self._root, encoding="unicode"))


def even_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values in even steps of 1, 2 or 5 times a power of ten.

    Example:
        >>> even_ticks(0, 37, 4), even_ticks(1, 9)
        ([0.0, 10.0, 20.0, 30.0], [2.0, 4.0, 6.0, 8.0])
    """
    if high <= low:
        return [low]
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values for a logarithmic scale: 1, 2 and 5, 1 and 3, or 1 times powers of ten.

    Example:
        >>> log_ticks(0.02, 30), log_ticks(3, 12)
        ([0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0], [5.0, 10.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        every = [float(f"{factor}e{power}") for power in powers for factor in factors]
        found = [value for value in every if low * 0.999 <= value <= high * 1.001]
        if len(found) <= most + 1:
            return found
    return found[:: -(-len(found) // most)]


def compact(number: float) -> str:
    """A number in few characters.

    Example:
        >>> [compact(n) for n in (0, 0.05, 950, 1500, 20_000, 3_400_000)]
        ['0', '0.05', '950', '1.5k', '20k', '3.4M']
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def _text(value: object) -> str:
    if isinstance(value, float | np.floating | np.ndarray):
        return f"{float(value):.1f}".removesuffix(".0")
    return str(value)
