"""Sequences that are no lists: each item is made when it is asked for."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TypeVar, overload

__all__ = ["Lazy", "checked"]

_T = TypeVar("_T")


class Lazy(Sequence[_T]):
    """A sequence whose items are made when they are asked for."""

    def __init__(self, length: int, get: Callable[[int], _T]) -> None:
        self._length = length
        self._get = get

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> list[_T]: ...
    def __getitem__(self, index: int | slice) -> _T | list[_T]:
        if isinstance(index, slice):
            return [self._get(i) for i in range(*index.indices(self._length))]
        return self._get(checked(index, self._length))


def checked(index: int, length: int) -> int:
    """The index counted from 0.

    Raises:
        IndexError: If it is out of range.
    """
    i = operator.index(index)
    if not -length <= i < length:
        raise IndexError(f"index {i} is out of range; there are {length}.")
    return i % length
