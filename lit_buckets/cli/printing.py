"""What commands print. Names and captions in it may hold anything: nothing of it is interpreted."""

from __future__ import annotations

import rich
from rich.text import Text

from lit_buckets.config.text import printable

__all__ = ["plain", "say"]


def plain(text: str) -> Text:
    """A text without markup, its control characters escaped."""
    return Text(printable(text))


def say(text: str) -> None:
    """Print a line, as long as it is."""
    rich.get_console().print(plain(text), soft_wrap=True)
