"""Text in whatever script, on lines of a given width."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from PIL import ImageFont

__all__ = ["Font", "clip", "font_for", "wrap"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_ELLIPSIS = "…"
_NOWHERE = "\U0010ffff"  # no character: what is drawn for it stands for a missing glyph

# The first that the system has is the usual one. The others are looked for where it lacks a glyph:
# Chinese, Japanese and Korean first, then further scripts and signs.
_USUAL = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "LiberationSans-Regular.ttf")
_OTHERS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "NotoEmoji-Regular.ttf",
    "Symbola.ttf",
    "seguisym.ttf",
)


def font_for(text: str, size: int) -> Font:
    """The font of this system that lacks the fewest characters of a text.

    Args:
        text: Whatever shall be drawn. What no font has is drawn as an empty box.
        size: Height of the letters, in pixels.

    Returns:
        The usual font, unless another one has more; Pillow's own where the system has none.
    """
    usual = next(
        (font for name in _USUAL if (font := _system_font(name, size)) is not None),
        ImageFont.load_default(size),
    )
    missing = _missing(usual, text)
    for name in _OTHERS if missing else ():
        font = _system_font(name, size)
        if font is not None and (lacks := _missing(font, text)) < missing:
            usual, missing = font, lacks
    return usual


def wrap(text: str, font: Font, width: int, most: int) -> list[str]:
    """A text on lines.

    Args:
        text: White space of any kind counts as one space; control characters are left out.
        font: What it is drawn with.
        width: Of a line, in pixels. Words that are longer are broken.
        most: How many lines there may be; the last one ends in "…" if the text goes on.

    Returns:
        At most so many lines; none for an empty text.
    """
    lines: list[str] = []
    rest = _plain(text)
    while rest and len(lines) < most:
        length = _fitting(rest, font, width)
        if length < len(rest) and (space := rest.rfind(" ", 0, length + 1)) > 0:
            length = space
        lines.append(rest[:length].rstrip())
        rest = rest[length:].lstrip()
    if rest:
        lines[-1] = clip(f"{lines[-1]} {rest}", font, width)
    return lines


def clip(text: str, font: Font, width: int) -> str:
    """A text on one line, its end replaced by "…" where it is longer than ``width`` pixels."""
    text = _plain(text)
    if font.getlength(text) <= width:
        return text
    room = width - int(font.getlength(_ELLIPSIS)) - 1
    return text[: _fitting(text, font, room)].rstrip() + _ELLIPSIS


def _plain(text: str) -> str:
    """One line without anything that is not drawn."""
    joined = " ".join(text.split())
    return "".join(c for c in joined if unicodedata.category(c) not in ("Cc", "Cs", "Cn", "Co"))


def _fitting(text: str, font: Font, width: int) -> int:
    """How many characters fit; at least one, so that there is an end to it."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle]) <= width:
            low = middle
        else:
            high = middle - 1
    return low


@lru_cache(maxsize=64)
def _system_font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _missing(font: Font, text: str) -> int:
    return sum(_lacks(font, character) for character in set(text) if not character.isspace())


@lru_cache(maxsize=4096)
def _lacks(font: Font, character: str) -> bool:
    drawn, nothing = font.getmask(character), font.getmask(_NOWHERE)
    return drawn.size == nothing.size and bytes(drawn) == bytes(nothing)
