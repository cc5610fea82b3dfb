"""A mapping as the value of an option: like all of a configuration, it cannot change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

__all__ = ["FrozenMapping", "frozen"]

V = TypeVar("V")


class FrozenMapping(Mapping[str, V]):
    """A mapping that cannot change, so that a configuration has a hash.

    Its values must have one, too. It equals any mapping of the same items.

    Example:
        >>> FrozenMapping({"p": 0.5}) == {"p": 0.5}
        True
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, V] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: str) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"FrozenMapping({self._items!r})"


def frozen(value: Any) -> Any:
    """Lists as tuples, mappings as :class:`FrozenMapping`, scalars plain, all the way down.

    Example:
        >>> frozen({"scale": [0.5, 1]})
        FrozenMapping({'scale': (0.5, 1)})
    """
    if isinstance(value, Mapping):
        return FrozenMapping({name: frozen(entry) for name, entry in value.items()})
    if isinstance(value, list | tuple):
        return tuple(frozen(entry) for entry in value)
    plain = next((cls for cls in (bool, int, float, str) if isinstance(value, cls)), None)
    return value if plain is None else plain(value)
