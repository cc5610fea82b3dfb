"""How a value is written in a message, and the one form that every message takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from lit_buckets.errors import ConfigError

__all__ = ["expand_home", "kind", "printable", "problem", "show"]

_LONGEST = 200  # characters of a value in a message: a path must still fit
_MOST_ENTRIES = 8
_BARE = re.compile(r"[^\s\"'{}\[\],#&*!|<>%@`:?=-]([^\s\"'{}\[\],#]*[^\s\"'{}\[\],#:])?")
_NOT_TEXT = re.compile(
    r"(?i)true|false|yes|no|on|off|y|n|null|~|\.\.\.|[-+.]*\d[-+.\w:]*|[-+]?\.(inf|nan)"
)


def problem(key: str, value: object, rule: str, numbers: str, fix: str) -> ConfigError:
    """An error in the form ``<dotted.key>=<value> <rule broken>; <the numbers>. <one fix>``.

    Args:
        key: Full dotted name of what is wrong.
        value: What was given.
        rule: What the value breaks, such as "must be at least 1".
        numbers: The facts that show it, such as "0 < 1".
        fix: One sentence with its full stop or question mark: what to write instead.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> print(problem("loader.num_workers", -1, "must be at least 0", "-1 < 0", "Set it to 0."))
        loader.num_workers=-1 must be at least 0; -1 < 0. Set it to 0.
    """
    return ConfigError(printable(f"{_cut(key)}={show(value)} {rule}; {numbers}. {fix}"))


def printable(message: str) -> str:
    """A message of which nothing writes to a terminal, whatever file names and keys it holds."""
    return "".join(c if c.isprintable() else _escaped(c) for c in message)


def show(value: object) -> str:
    """A value as YAML would write it on one line; long ones are cut, control characters escaped.

    Example:
        >>> show({"path": "/data/photos", "repeats": "8", "captions": None})
        '{path: /data/photos, repeats: "8", captions: null}'
    """
    return _cut(_flow(value, depth=3))


def kind(value: object) -> str:
    """What sort of value this is, in a user's words.

    Example:
        >>> kind("8"), kind(True), kind(8.0)
        ('a string', 'a boolean', 'a decimal number')
    """
    names = (
        (bool, "a boolean"),  # before int, of which it is a subclass
        (int, "an integer"),
        (float, "a decimal number"),
        (str, "a string"),
        (Mapping, "a mapping"),
        (list | tuple, "a list"),
        (type(None), "null"),
    )
    return next((name for cls, name in names if isinstance(value, cls)), _type_name(value))


def expand_home(path: str) -> str:
    """The path with a leading ``~`` replaced by the home folder; unchanged if there is none."""
    try:
        return str(Path(path).expanduser())
    except (RuntimeError, ValueError):  # "~somebody" who does not exist: a name like any other
        return path


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _type_name(value: object) -> str:
    return f"an object of type {type(value).__name__}"


def _flow(value: object, depth: int) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int):  # Python refuses to print an integer of thousands of digits
        return f"{value:d}" if value.bit_length() < 512 else f"<{value.bit_length()} bits>"
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, Mapping):
        pairs = (f"{_flow(name, 0)}: {_flow(entry, depth - 1)}" for name, entry in value.items())
        return "{" + _first(pairs, len(value), depth) + "}"
    if isinstance(value, list | tuple):
        entries = (_flow(entry, depth - 1) for entry in value)
        return "[" + _first(entries, len(value), depth) + "]"
    return f"<{type(value).__name__}>"


def _first(written: Iterator[str], count: int, depth: int) -> str:
    """The first entries; dots for the rest, and for all of them where nesting goes too deep."""
    shown = _MOST_ENTRIES if depth > 0 else 0
    rest = ["..."] if count > shown else []
    return ", ".join([*islice(written, shown), *rest])


def _quoted(text: str) -> str:
    """Text, in quotes where YAML would otherwise read something else."""
    if text.isprintable() and _BARE.fullmatch(text) and not _NOT_TEXT.fullmatch(text):
        return text
    return json.dumps(text[: _LONGEST + 1], ensure_ascii=not text.isprintable())
