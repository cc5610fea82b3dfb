"""Patterns with braces, as shells know them: ``set-{000..099}.tar``, ``{train,val}/*.tar``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from lit_buckets.errors import ConfigError

__all__ = ["without_braces"]

_BRACES = re.compile(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}")  # innermost, and with a choice in them
_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(\d{1,18}))?")


def without_braces(pattern: str) -> Iterator[str]:
    """All that a pattern means, in order; each is made when it is asked for, as many as there are.

    A range counts up or down, by a step if there is a third number, and with as many digits as its
    longer end if one of them begins with 0. Braces without a "," or ".." stand for themselves.

    Raises:
        ConfigError: If a brace is not closed, or holds two dots that make no range.

    Example:
        >>> list(without_braces("{a,b}-{08..10}.tar"))[:4]
        ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar']
    """
    opened, closed = pattern.count("{"), pattern.count("}")
    if opened != closed:
        raise ConfigError(
            f"path={pattern!r} must close each brace that it opens; it has {opened} of the one and "
            f"{closed} of the other. Write for instance {{000..099}}."
        )
    return _expanded(pattern)


def _expanded(pattern: str) -> Iterator[str]:
    braces = _BRACES.search(pattern)
    if braces is None:
        yield pattern
        return
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    for choice in _choices(braces[1], pattern):
        yield from _expanded(f"{before}{choice}{after}")


def _choices(inside: str, pattern: str) -> Iterable[str]:
    if "," in inside:
        return inside.split(",")
    numbers = _RANGE.fullmatch(inside)
    if numbers is None:
        raise ConfigError(
            f"path={pattern!r} must have two numbers in the braces of a range; {inside!r} are "
            f"none. Write for instance {{000..099}}."
        )
    first, last, step = int(numbers[1]), int(numbers[2]), max(1, int(numbers[3] or 1))
    padded = any(re.match(r"-?0\d", end) for end in numbers.group(1, 2))
    width = max(map(len, numbers.group(1, 2))) if padded else 0
    counted = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    return (f"{number:0{width}d}" for number in counted)
