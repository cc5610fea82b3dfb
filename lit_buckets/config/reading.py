"""From what a user gives to a plain mapping. It knows OmegaConf, as only `writing` does beside it.

Nothing is evaluated on the way: YAML is read by a safe loader, interpolation is refused before
anything could resolve it, and what comes out consists of mappings, lists and scalars.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError

from lit_buckets.config.text import expand_home, kind, problem, show
from lit_buckets.errors import ConfigError

__all__ = ["plain", "read"]

_DEEPEST = 16  # levels of nesting; a configuration has four
_KEY = re.compile(r"[^\s.\[\]=]+(?:\.[^\s.\[\]=]+|\[[0-9]{1,9}\])*")
_STEP = re.compile(r"[^.\[\]]+")


def read(config: object, overrides: object = ()) -> dict[str, Any]:
    """A configuration as a plain mapping, with the overrides put in; its keys are not checked.

    Args:
        config: Path to a YAML file, mapping, OmegaConf object, or (nested) dataclass.
        overrides: Strings of the form ``section.key=value``, applied in order.

    Returns:
        Nested dicts and lists of scalars.

    Raises:
        ConfigError: If the file cannot be read, the outermost value is no mapping, an override is
            malformed, or a value asks for interpolation.

    Example:
        >>> read({"batches": {"seed": 1}}, ["batches.seed=2", "data.train=/data/photos"])
        {'batches': {'seed': 2}, 'data': {'train': '/data/photos'}}
    """
    tree = _from_file(config) if isinstance(config, str | os.PathLike) else plain(config)
    if not isinstance(tree, dict):
        raise problem(
            "config",
            config,
            "must be a path, a mapping, an OmegaConf object or a Config",
            f"got {kind(tree)}",
            "Give at least {data: {train: /path/to/photos}}.",
        )
    for position, override in enumerate(_listed(overrides)):
        tree = _overridden(tree, override, f"overrides[{position}]")
    return tree


def plain(value: object, key: str = "", depth: int = _DEEPEST) -> Any:
    """A value without OmegaConf objects, dataclasses, tuples and path objects; nothing resolved.

    Args:
        value: Anything.
        key: Its dotted name, for messages.
        depth: Levels of nesting that it may have.

    Returns:
        Dicts, lists and scalars; objects of other types stay as they are.

    Raises:
        ConfigError: If a string holds an interpolation or stands for a missing value, or if
            nesting is too deep.
    """
    if depth == 0:
        rule, fix = f"must not be nested deeper than {_DEEPEST} levels", "Write plain sections."
        raise problem(key, value, rule, f"there are more than {_DEEPEST}", fix)
    if isinstance(value, str):
        return _literal(value, key)
    if isinstance(value, os.PathLike):
        return plain(os.fspath(value), key, depth - 1)
    if OmegaConf.is_config(value):
        return plain(OmegaConf.to_container(value, resolve=False), key, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(v, _below(key, name), depth - 1) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry, f"{key}[{i}]", depth - 1) for i, entry in enumerate(value)]
    return value


def _below(key: str, name: object) -> str:
    text = name if name and isinstance(name, str) else show(name)
    return f"{key}.{text}" if key else text


def _literal(value: str, key: str) -> str:
    if "${" in value:
        raise _interpolation(value, key)
    if value == "???":  # OmegaConf's mark
        rule, numbers = "must be set", "??? stands for a value that is missing"
        raise problem(key, value, rule, numbers, f"Set {key}, or leave it out for its default.")
    return value


def _interpolation(value: str, key: str) -> ConfigError:
    rule, numbers = "must be a plain value", 'it holds "${", and interpolation is never evaluated'
    return problem(key, value, rule, numbers, "Write the value itself.")


def _from_file(config: str | os.PathLike[str]) -> dict[str, Any]:
    path = Path(expand_home(os.fsdecode(config)))
    tree = plain(_yaml(_text(path), "config", str(path), "Correct that place in the file."))
    if isinstance(tree, dict):
        return tree
    raise problem(
        "config",
        str(path),
        "must hold a mapping of sections",
        "the file is empty" if tree is None else f"its outermost value is {kind(tree)}",
        "Write at least data: {train: /path/to/photos}.",
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        rule, numbers = "must be an existing YAML file", f"there is none at {path.absolute()}"
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or no name that a file can have
        rule, numbers = "must be a readable YAML file", getattr(error, "strerror", "") or str(error)
    raise problem("config", str(path), rule, numbers, "Correct the file or its path.")


def _yaml(text: str, key: str, shown: str, fix: str) -> Any:
    """Scalars, lists and dicts from YAML text; ``key``, ``shown`` and ``fix`` are for messages."""
    try:
        # a dotlist entry's value is any YAML, read safely; unlike OmegaConf.create, which reads a
        # string that comes out of the YAML a second time
        node = OmegaConf.from_dotlist([f"value={text}"])
        return OmegaConf.to_container(node, resolve=False)["value"]  # type: ignore[index, call-overload]
    except GrammarParseError as error:  # "${" that is not even an interpolation
        inner = str(error.full_key or "").removeprefix("value").lstrip(".")
        raise _interpolation("${", inner or key) from None
    except Exception as error:  # the parser and its constructors raise whatever they trip over
        raise problem(key, shown, "must be valid YAML", _reason(error), fix) from error


def _reason(error: Exception) -> str:
    """Where and why reading stopped, on one line."""
    mark, why = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is not None and why:
        return f"line {mark.line + 1}, column {mark.column + 1}: {why}".rstrip(".")
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _listed(overrides: object) -> Sequence[str]:
    if isinstance(overrides, Sequence) and not isinstance(overrides, str | bytes):
        for position, entry in enumerate(overrides):
            if not isinstance(entry, str):
                raise _malformed(f"overrides[{position}]", entry, f"got {kind(entry)}")
        return overrides
    rule, fix = "must be a list of strings", 'Write ["section.key=value"].'
    raise problem("overrides", overrides, rule, f"got {kind(overrides)}", fix)


def _malformed(where: str, override: object, numbers: str) -> ConfigError:
    rule, fix = "must have the form section.key=value", "Write for instance buckets.max_area=65536."
    return problem(where, override, rule, numbers, fix)


def _overridden(tree: dict[str, Any], override: str, where: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    key = key.strip()
    steps = _STEP.findall(key)
    if not equals:
        raise _malformed(where, override, 'it has no "="')
    if not _KEY.fullmatch(key) or len(steps) > _DEEPEST:
        raise _malformed(where, override, f"{show(key)} is not a dotted key")
    if "${" in text:
        raise _interpolation(text, key)
    value = plain(_yaml(text, key, text, "Put a text with special characters in quotes."), key)
    section = tree.get(key)
    if isinstance(section, dict) and isinstance(value, dict):
        value = section | value  # a whole section: the keys that the override does not name stay
    result: dict[str, Any] = _replaced(tree, steps, value, key)
    return result


def _replaced(node: Any, steps: Sequence[str], value: object, key: str, at: str = "") -> Any:
    """A copy of the tree with the value at the end of the steps.

    ``key`` is the whole key and ``at`` the part of it that leads to the node; both for messages.
    """
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(node, list):
        index = _index(node, step, value, key, at)
        changed = _replaced(node[index], rest, value, key, f"{at}[{index}]")
        return [*node[:index], changed, *node[index + 1 :]]
    if node is not None and not isinstance(node, dict):
        rule, numbers = "must lie in a mapping", f"{at} is {show(node)}, {kind(node)}"
        raise problem(key, value, rule, numbers, f"Write {at} as a mapping first.")
    branch = node or {}
    inner = _replaced(branch.get(step), rest, value, key, f"{at}.{step}" if at else step)
    return {**branch, step: inner}


def _index(node: Sequence[Any], step: str, value: object, key: str, at: str) -> int:
    if re.fullmatch("[0-9]{1,9}", step) and int(step) < len(node):
        return int(step)
    rule, numbers = "must name an entry of the list", f"{at} has {len(node)}, counted from 0"
    raise problem(key, value, rule, numbers, f"Write {at}[0] for the first.")
