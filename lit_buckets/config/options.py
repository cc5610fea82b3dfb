"""What an option is: its key, type, range, default and meaning, read off a dataclass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lit_buckets.config.frozen import FrozenMapping
from lit_buckets.config.text import show

__all__ = ["Form", "Interval", "Option", "about", "options_of"]

_MOST = 2**63 - 1  # what the 64-bit integers behind sizes, seeds and indices hold


@dataclass(frozen=True)
class Interval:
    """Numbers between two bounds; an open bound is not itself among them."""

    low: float
    high: float = _MOST
    open_low: bool = False
    open_high: bool = False

    def broken_by(self, value: float) -> tuple[str, str] | None:
        """The rule that a value breaks and the comparison that shows it; None if it lies inside.

        Example:
            >>> Interval(0, 1, open_high=True).broken_by(1)
            ('must be less than 1', '1 >= 1')
        """
        if not (value > self.low if self.open_low else value >= self.low):
            words, sign = ("more than", "<=") if self.open_low else ("at least", "<")
            bound = self.low
        elif not (value < self.high if self.open_high else value <= self.high):
            words, sign = ("less than", ">=") if self.open_high else ("at most", ">")
            bound = self.high
        else:
            return None
        numbers = f"{show(value)} {sign} {bound}" if value == value else "nan is not a number"
        return f"must be {words} {bound}", numbers

    def __str__(self) -> str:
        if self.high == _MOST:
            return f">= {self.low}"
        low, high = "<" if self.open_low else "<=", "<" if self.open_high else "<="
        return f"{self.low} {low} x {high} {self.high}"


#: A source of images, an existing folder or file, the path of a folder to be, the end of a file
#: name, any name.
Form = Literal["source", "root", "file", "path", "suffix", "name"]


def about(
    meaning: str, interval: Interval | None = None, form: Form | None = None
) -> dict[str, Any]:
    """Metadata of a dataclass field that is an option, as :func:`options_of` reads it.

    Args:
        meaning: One sentence with the unit.
        interval: Numbers that it may take, where it takes numbers.
        form: What a string stands for.

    Returns:
        A mapping for ``dataclasses.field(metadata=...)``.
    """
    return {"help": meaning, "interval": interval, "form": form}


@dataclass(frozen=True)
class Option:
    """What there is to know about one key.

    Attributes:
        key: Full dotted name, such as ``buckets.divisor``.
        hint: Type of its checked value.
        default: The checked value of a key that is not set; ``dataclasses.MISSING`` if it must be.
        help: Meaning and unit, one sentence.
        interval: Numbers that it may take, where it takes numbers.
        form: What a string stands for.
    """

    key: str
    hint: Any
    default: Any
    help: str
    interval: Interval | None
    form: Form | None

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is dataclasses.MISSING

    @property
    def optional(self) -> bool:
        """Whether null is a value."""
        return NoneType in get_args(self.hint)

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types that a value may have beside null, the members of a union apart."""
        union = get_origin(self.hint) in (Union, UnionType)
        members = get_args(self.hint) if union else (self.hint,)
        return tuple(member for member in members if member is not NoneType)

    @property
    def type(self) -> str:
        """Type in words, such as "an integer or null"."""
        names = [name for member in self.kinds for name in _names(member)]
        names += ["null"] if self.optional else []
        return ", ".join(names[:-1]) + " or " + names[-1] if len(names) > 1 else names[0]


def options_of(section: Any, prefix: str) -> dict[str, Option]:
    """The options of one dataclass by name, their keys beginning with ``prefix``.

    Example:
        >>> @dataclass
        ... class Loader:
        ...     workers: int = dataclasses.field(default=4, metadata=about("Processes."))
        >>> options_of(Loader, "loader")["workers"].key
        'loader.workers'
    """
    hints = get_type_hints(section)
    return {
        f.name: Option(f"{prefix}.{f.name}", hints[f.name], f.default, **f.metadata)
        for f in dataclasses.fields(section)
    }


def _names(hint: Any) -> tuple[str, ...]:
    if get_origin(hint) is Literal:
        return tuple(get_args(hint))
    if dataclasses.is_dataclass(hint):
        return (f"a mapping {{{', '.join(f.name for f in dataclasses.fields(hint))}}}",)
    if get_origin(hint) is FrozenMapping:
        return (f"a mapping of names to {' or '.join(get_args(get_args(hint)[0]))}",)
    if hint not in _NAMES and get_origin(hint) is tuple and ... in get_args(hint):
        return ("a path", "a mapping {path, ...}", "a list of these")
    return _NAMES[hint]


_NAMES: dict[Any, tuple[str, ...]] = {
    bool: ("true", "false"),
    int: ("an integer",),
    float: ("a number",),
    str: ("a string",),
    tuple[int, int, int]: ("a list of three integers",),
    tuple[float, float, float]: ("a list of three numbers",),
    tuple[int, ...]: ("a list of integers",),
    tuple[str, ...]: ("a list of names",),
    tuple[FrozenMapping[Any], ...]: ("a list of mappings {name, ...}",),
    tuple[tuple[int, int], ...]: ("a list of [height, width]",),
}
