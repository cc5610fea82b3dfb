"""Transforms of torchvision by name: which there are, and whether their parameters are right.

What can be named are the subclasses of ``Transform`` that ``torchvision.transforms.v2`` exports;
what they can be given are numbers, texts, true, false, null, lists of these, and other
transforms by name. What a parameter takes is read off torchvision's own annotations, so the names
and parameters are those of the installed release. No callable, class or tensor can be named: a
transform that needs one cannot be either.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import cache
from importlib import import_module
from numbers import Number
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lit_buckets.config.frozen import FrozenMapping, frozen
from lit_buckets.config.text import kind, problem, show

__all__ = ["check_transforms", "make_transforms", "transform_names"]

_WORDS: dict[Any, str] = {
    float: "a number",
    int: "an integer",
    str: "a string",
    bool: "true or false",
    NoneType: "null",
}
_REQUIRED = inspect.Parameter.empty
#: What torchvision documents and takes, but does not annotate.
_UNANNOTATED: dict[tuple[str, str], tuple[Any, ...]] = {
    ("RandomErasing", "value"): (Literal["random"], Sequence[float])
}


def check_transforms(value: object, key: str) -> tuple[FrozenMapping[Any], ...]:
    """A list of transforms as it stands in a configuration, each checked and made once.

    Args:
        value: What was given.
        key: Its dotted name, for messages.

    Returns:
        The same, as tuples and frozen mappings.

    Raises:
        ConfigError: If it is no list of mappings with a ``name``, or if a name, a parameter or a
            parameter's value is none that torchvision has.

    Example:
        >>> check_transforms([{"name": "ColorJitter", "brightness": 0.2}], "augment")
        (FrozenMapping({'name': 'ColorJitter', 'brightness': 0.2}),)
    """
    make_transforms(value, key)
    return tuple(frozen(value))


def make_transforms(value: object, key: str = "transform.augment") -> list[Any]:
    """The transforms that a list in a configuration names.

    Args:
        value: Mappings, each with a ``name`` and the parameters of that transform.
        key: Dotted name of the list, for messages.

    Returns:
        Transforms of ``torchvision.transforms.v2``, in the order of the list.

    Raises:
        ConfigError: As :func:`check_transforms`.

    Example:
        >>> make_transforms([{"name": "RandomAdjustSharpness", "sharpness_factor": 2}])
        [RandomAdjustSharpness(p=0.5, sharpness_factor=2)]
    """
    if not isinstance(value, list | tuple):
        fix = f"Write {key}=[{{name: ColorJitter, brightness: 0.2}}]."
        raise problem(key, value, "must be a list of transforms", f"got {kind(value)}", fix)
    return [_made(entry, f"{key}[{position}]") for position, entry in enumerate(value)]


@cache
def transform_names() -> tuple[str, ...]:
    """Names of all transforms that need no more than plain values.

    Example:
        >>> "RandomRotation" in transform_names(), "Lambda" in transform_names()
        (True, False)
    """
    module = _v2()
    return tuple(
        name for name in dir(module) if _is_transform(getattr(module, name)) and _is_plain(name)
    )


@cache
def _v2() -> ModuleType:
    """Imported where a transform is named: torch takes seconds, and most have none."""
    return import_module("torchvision.transforms.v2")


def _is_transform(value: object) -> bool:
    base = _v2().Transform
    return isinstance(value, type) and issubclass(value, base) and value is not base


def _is_plain(name: str) -> bool:
    """Whether what must be given to a transform can be."""
    needed = [
        parameter
        for parameter in inspect.signature(getattr(_v2(), name)).parameters.values()
        if parameter.default is _REQUIRED and parameter.kind is not parameter.VAR_POSITIONAL
    ]
    return {parameter.name for parameter in needed} <= _parameters(name).keys()


@cache
def _parameters(name: str) -> dict[str, tuple[tuple[Any, ...], Any]]:
    """What each parameter that takes plain values may be, and its default."""
    cls = getattr(_v2(), name)
    hints = get_type_hints(cls.__init__)
    found = {}
    for parameter in inspect.signature(cls).parameters.values():
        hint = hints.get(parameter.name, type(parameter.default))
        accepted = _accepted(hint) + _UNANNOTATED.get((name, parameter.name), ())
        if accepted:
            found[parameter.name] = accepted, parameter.default
    return found


def _accepted(hint: Any) -> tuple[Any, ...]:
    """The members of an annotation that a plain value may belong to."""
    union = get_origin(hint) in (Union, UnionType)
    members = [m for member in get_args(hint) for m in _accepted(member)] if union else [hint]
    members = [float if member is Number else member for member in members]
    if enums := [member for member in members if _is_enum(member)]:
        # its members are written as texts; other texts, and numbers of old, mean nothing more
        members = [*enums, *(member for member in members if member is NoneType)]
    elif float in members:
        members = [member for member in members if member is not int]
    return tuple(m for m in members if m in _WORDS or _is_enum(m) or _is_list(m) or _is_literal(m))


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Enum)


def _is_literal(hint: Any) -> bool:
    return get_origin(hint) is Literal


def _is_list(hint: Any) -> bool:
    return hint is Sequence or get_origin(hint) in (list, tuple, Sequence)


def _holds_transforms(hint: Any) -> bool:
    return _is_list(hint) and any(get_origin(entry) is Callable for entry in get_args(hint))


def _made(value: object, key: str) -> Any:
    """One transform from its mapping."""
    if not isinstance(value, Mapping):
        fix = f"Write {key}={{name: ColorJitter, brightness: 0.2}}."
        raise problem(key, value, "must be a mapping {name, ...}", f"got {kind(value)}", fix)
    name = _checked_name(value.get("name"), f"{key}.name")
    known = _parameters(name)
    given = {parameter: entry for parameter, entry in value.items() if parameter != "name"}
    for parameter, entry in given.items():
        if parameter not in known:
            raise _unknown_parameter(name, parameter, entry, key)
    for parameter, (accepted, default) in known.items():
        if default is _REQUIRED and parameter not in given:
            rule, numbers = "must be set", f"{name} has no default for it"
            fix = f"Set {key}.{parameter} to {_words(accepted)}."
            raise problem(f"{key}.{parameter}", None, rule, numbers, fix)
    arguments = {
        parameter: _argument(known[parameter][0], entry, f"{key}.{parameter}")
        for parameter, entry in given.items()
    }
    if "fill" in arguments:
        arguments["fill"] = _of_images(arguments["fill"])
    try:
        return getattr(_v2(), name)(**arguments)
    except Exception as error:  # constructors check what annotations cannot say
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise problem(
            key, value, "is refused by torchvision", why, "Correct its parameters."
        ) from None


def _of_images(fill: Any) -> dict[Any, Any]:
    """A colour for images alone; masks get 0, and so do label maps, where `NO_LABEL` follows."""
    return {import_module("torchvision.tv_tensors").Image: fill, "others": 0}


def _checked_name(name: object, key: str) -> str:
    names = transform_names()
    if isinstance(name, str) and name in names:
        return name
    if name is None:
        rule, numbers = "must be set", f"torchvision.transforms.v2 has {len(names)} transforms"
        raise problem(key, name, rule, numbers, f"Set {key}=ColorJitter, for instance.")
    if isinstance(name, str) and _is_transform(getattr(_v2(), name, None)):
        rule, numbers = "needs what cannot be written here", "it takes a function, type or tensor"
        raise problem(key, name, rule, numbers, "Give it in Python, as train_transform.")
    numbers = f"there are {len(names)} in torchvision.transforms.v2"
    near = _nearest(name, names)
    fix = f"Set {key}={near}." if near else f"Set {key}=ColorJitter, for instance."
    raise problem(key, name, "is not a transform that can be named", numbers, fix)


def _unknown_parameter(name: str, parameter: object, value: object, key: str) -> Exception:
    text = parameter if isinstance(parameter, str) and parameter else show(parameter)
    names = tuple(_parameters(name))
    numbers = f"it has {', '.join(names)}" if names else "it has none"
    near = _nearest(parameter, names)
    fix = f"Did you mean {key}.{near}?" if near else f"Leave out {text[:80]}."
    return problem(f"{key}.{text}", value, f"is not a parameter of {name}", numbers, fix)


def _nearest(name: object, names: Iterable[str]) -> str | None:
    lowered = {known.lower(): known for known in names}
    close = difflib.get_close_matches(str(name)[:80].lower(), lowered, n=1) if name else []
    return lowered[close[0]] if close else None


def _argument(accepted: tuple[Any, ...], value: object, key: str) -> Any:
    """A value as its transform takes it."""
    _check_finite(value, key)
    for hint in accepted:
        if _holds_transforms(hint) and isinstance(value, list | tuple):
            return make_transforms(value, key)
        if _fits(hint, value):
            return hint(value) if _is_enum(hint) else value
    raise problem(
        key, value, f"must be {_words(accepted)}", f"got {kind(value)}", f"Correct {key}."
    )


def _check_finite(value: object, key: str) -> None:
    """Refuse what torchvision would calculate with, though nothing comes of it."""
    if isinstance(value, float) and not math.isfinite(value):
        numbers = "nan is not a number" if math.isnan(value) else f"{value} has no end"
        raise problem(key, value, "must be finite", numbers, f"Correct {key}.")
    if isinstance(value, list | tuple):
        for position, entry in enumerate(value):
            _check_finite(entry, f"{key}[{position}]")


def _fits(hint: Any, value: object) -> bool:
    if _is_literal(hint):
        return isinstance(value, str) and value in get_args(hint)
    if _is_enum(hint):
        return isinstance(value, str) and value in {member.value for member in hint}
    if _is_list(hint):
        return isinstance(value, list | tuple) and _entries_fit(hint, value)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, int | float if hint is float else hint)


def _entries_fit(hint: Any, values: Sequence[object]) -> bool:
    entries = [entry for entry in get_args(hint) if entry is not ...]
    if get_origin(hint) is tuple and ... not in get_args(hint):
        pairs = zip(entries, values, strict=True) if len(entries) == len(values) else None
        return pairs is not None and all(_fits(entry, value) for entry, value in pairs)
    return all(_fits(entries[0] if entries else float, value) for value in values)


def _words(accepted: tuple[Any, ...]) -> str:
    """What a parameter may be, such as "a number, a list of numbers or null"."""
    words = list(dict.fromkeys(word for hint in accepted for word in _names_of(hint)))
    if "a list of numbers" in words:
        words = [word for word in words if word != "a list of integers"]
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else words[0]


def _names_of(hint: Any) -> list[str]:
    if _is_literal(hint):
        return [str(choice) for choice in get_args(hint)]
    if _is_enum(hint):
        return [str(member.value) for member in hint]
    if not _is_list(hint):
        return [_WORDS[hint]]
    if _holds_transforms(hint):
        return ["a list of transforms"]
    entries = get_args(hint)
    count = f"{len(entries)} " if get_origin(hint) is tuple and ... not in entries else ""
    return [f"a list of {count}{'integers' if int in entries else 'numbers'}"]
