"""From a plain mapping to a checked configuration, or to the error that names the first mistake."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

from lit_buckets.config.augmentation import check_transforms
from lit_buckets.config.contradictions import check_batches, check_buckets, check_transform
from lit_buckets.config.frozen import FrozenMapping
from lit_buckets.config.options import Option, options_of
from lit_buckets.config.schema import (
    Config,
    DataConfig,
    Integers,
    Names,
    NormalizeConfig,
    Paired,
    SizeList,
    SourceConfig,
    Sources,
    Transforms,
    Triple,
    describe,
    sections,
)
from lit_buckets.config.source_checks import NOTHING, check_source, not_a_folder
from lit_buckets.config.text import expand_home, kind, problem, show
from lit_buckets.errors import ConfigError
from lit_buckets.storage import is_remote

__all__ = ["build", "build_sources"]

T = TypeVar("T")


def build(tree: Mapping[Any, Any]) -> Config:
    """A configuration in which every value is of its type, in its range, and fits the others.

    Args:
        tree: Sections by name; what is left out, or is null, takes its defaults.

    Returns:
        The configuration; its ``data`` entries are tuples of sources.

    Raises:
        ConfigError: At the first key, value, folder or pair of values that is wrong.
    """
    classes = sections()
    _check_names(tree, list(classes), "")
    for name, cls in classes.items():
        _check_names(_mapping(cls, tree.get(name), name), list(options_of(cls, name)), name)
    # the sources last: a folder is looked for only if nothing else is wrong
    data = classes.pop("data")
    parts = {name: _section(cls, tree.get(name), name) for name, cls in classes.items()}
    check_buckets(parts["buckets"])
    check_batches(parts["batches"], parts["buckets"])
    check_transform(parts["transform"], parts["buckets"])
    return Config(data=_section(data, tree.get("data"), "data"), **parts)


def build_sources(value: object, key: str) -> Sources:
    """Sources from a path, a mapping or a list of these, each checked; ``key`` is for messages."""
    return _sources(options_of(DataConfig, "data")["train"], value, key)


def _section(cls: type[T], tree: object, prefix: str) -> T:
    options, given = options_of(cls, prefix), _mapping(cls, tree, prefix)
    _check_names(given, list(options), prefix)
    values = {
        name: _value(option, given.get(name), option.key)
        for name, option in options.items()
        if name in given or option.required
    }
    return cls(**values)


def _mapping(cls: Any, tree: object, prefix: str) -> Mapping[Any, Any]:
    if tree is None:  # "loader:" with nothing below it
        return {}
    if isinstance(tree, Mapping):
        return tree
    fix = f"Write its keys below it: {', '.join(options_of(cls, prefix))}."
    raise problem(prefix, tree, "must be a mapping", f"got {kind(tree)}", fix)


def _check_names(tree: Mapping[Any, Any], known: list[str], prefix: str) -> None:
    for name, value in tree.items():
        if name not in known:
            raise _unknown(prefix, name, value, known)


def _unknown(prefix: str, name: object, value: object, siblings: list[str]) -> ConfigError:
    text = name if name and isinstance(name, str) else show(name)
    key = f"{prefix}.{text}" if prefix else text
    what = f"{prefix} has {len(siblings)} keys" if prefix else f"there are {len(siblings)} sections"
    near = _nearest(text, prefix, siblings)
    fix = f"Did you mean {near}?" if near else f"Choose from {', '.join(siblings)}."
    if near == key:
        fix = f"Write {text.rpartition('.')[2]} below {text.rpartition('.')[0]}."
    return problem(key, value, "is not a known key", what, fix)


def _nearest(name: str, prefix: str, siblings: list[str]) -> str | None:
    """The key that was meant: the same name elsewhere, else a like one here, else elsewhere."""
    name = name[:80].lower().replace("-", "_")
    options = [*describe(), *options_of(SourceConfig, "data.train").values()]
    everywhere = {option.key: option.key for option in options}
    by_leaf = {key.rpartition(".")[2]: key for key in reversed(everywhere)}
    here = {sibling: f"{prefix}.{sibling}" if prefix else sibling for sibling in siblings}
    if name in here:
        return here[name]
    for candidates in (everywhere, by_leaf):
        if name in candidates:
            return candidates[name]
    for candidates, cutoff in ((here, 0.6), (by_leaf, 0.7), (everywhere, 0.7)):
        if close := difflib.get_close_matches(name, candidates, n=1, cutoff=cutoff):
            return candidates[close[0]]
    return None


def _value(option: Option, value: object, key: str) -> Any:
    if value is None and option.optional:
        return None
    if value is None and option.required:
        is_path = option.form is not None or option.kinds == (Sources,)
        fix = f"Set {key}=/path/to/photos." if is_path else f"Set it to {option.type}."
        raise problem(key, value, "must be set", "it is a key without a default", fix)
    kinds = option.kinds
    # of two kinds, the second is a list; a string names a source (data.val) or is a choice
    is_list = isinstance(value, list | tuple | Mapping)
    is_source = isinstance(value, str) and kinds[-1] == Sources
    chosen = kinds[-1] if is_list or is_source else kinds[0]
    return _reader(chosen)(option, value, key)


def _reader(hint: Any) -> Callable[[Option, Any, str], Any]:
    if get_origin(hint) is Literal:
        return _choice
    return {
        bool: _boolean,
        int: _integer,
        float: _number,
        str: _text,
        tuple[int, int, int]: _three(_integer, int),
        Triple: _three(_number, float),
        Integers: _integers,
        Names: _names,
        SizeList: _sizes,
        Sources: _sources,
        Transforms: _transforms,
        Paired: _paired,
        NormalizeConfig: _normalize,
    }[hint]


def _wrong_type(option: Option, value: object, key: str, fix: str = "") -> NoReturn:
    rule, fix = f"must be {option.type}", fix or _to_default(option, key)
    raise problem(key, value, rule, f"got {kind(value)}", fix)


def _to_default(option: Option, key: str) -> str:
    if option.required or key != option.key:  # an entry inside a list has no default of its own
        return f"Correct {key}."
    return f"Set {key}={show(option.default)}, the default."


def _boolean(option: Option, value: object, key: str) -> bool:
    if not isinstance(value, bool):
        _wrong_type(option, value, key)
    return value


def _choice(option: Option, value: object, key: str) -> str:
    choices: tuple[str, ...] = get_args(option.kinds[0])
    if isinstance(value, str) and value in choices:
        return choices[choices.index(value)]
    count = len(choices) + option.optional
    near = (
        difflib.get_close_matches(str(value)[:80], choices, n=1) if isinstance(value, str) else []
    )
    fix = f"Set {key}={near[0]}." if near else _to_default(option, key)
    numbers = "there is 1 choice" if count == 1 else f"there are {count} choices"
    raise problem(key, value, f"must be {option.type}", numbers, fix)


def _integer(option: Option, value: object, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        _wrong_type(option, value, key, _as_integer(value, key))
    _check_range(option, value, key)
    return int(value)


def _as_integer(value: object, key: str) -> str:
    """How to write what was surely meant as an integer: 8.0 or "8"; else nothing."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return f"Write {key}={int(value)}."
    if isinstance(value, str) and value.isdecimal() and value.isascii():
        return f"Write {key}={value[:40]} without quotes."
    return ""


def _number(option: Option, value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _wrong_type(option, value, key)
    _check_range(option, value, key)
    return float(value)


def _check_range(option: Option, value: float, key: str) -> None:
    broken = option.interval.broken_by(value) if option.interval else None
    if broken:
        raise problem(key, value, *broken, _to_default(option, key))


def _three(read: Callable[[Option, object, str], T], hint: type[T]) -> Callable[..., Any]:
    """A reader of three entries of one type."""

    def read_all(option: Option, value: object, key: str) -> tuple[T, ...]:
        if not isinstance(value, list | tuple):
            _wrong_type(option, value, key)
        if len(value) != 3:
            numbers = f"it has {len(value)} entries"
            raise problem(key, value, f"must be {option.type}", numbers, _to_default(option, key))
        part = dataclasses.replace(option, hint=hint)
        return tuple(read(part, entry, f"{key}[{i}]") for i, entry in enumerate(value))

    return read_all


def _integers(option: Option, value: object, key: str) -> Integers:
    part = dataclasses.replace(option, hint=int)
    return tuple(_integer(part, entry, name) for entry, name in _entries(option, value, key))


def _sizes(option: Option, value: object, key: str) -> SizeList:
    return tuple(_size(option, entry, name) for entry, name in _entries(option, value, key))


def _names(option: Option, value: object, key: str) -> Names:
    part = dataclasses.replace(option, hint=str)
    return tuple(_name(part, entry, name) for entry, name in _entries(option, value, key))


def _name(option: Option, value: object, key: str) -> str:
    if not isinstance(value, str):
        _wrong_type(option, value, key)
    return _some_text(str(value), key)


def _transforms(option: Option, value: object, key: str) -> Transforms:
    if not isinstance(value, list | tuple):
        _wrong_type(option, value, key)
    return check_transforms(value, key)


def _paired(option: Option, value: object, key: str) -> Paired:
    if not isinstance(value, Mapping):
        _wrong_type(option, value, key)
    name = dataclasses.replace(option, hint=str)
    how = dataclasses.replace(option, hint=get_args(Paired)[0])
    kinds: dict[str, Any] = {
        _name(name, column, f"{key} column"): _choice(how, entry, f"{key}.{column}")
        for column, entry in value.items()
    }
    return FrozenMapping(kinds)


def _normalize(option: Option, value: object, key: str) -> NormalizeConfig:
    if not isinstance(value, Mapping):
        _wrong_type(option, value, key)
    return _section(NormalizeConfig, value, key)


def _size(option: Option, value: object, key: str) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        rule, numbers = "must be [height, width]", f"got {kind(value)}"
        if isinstance(value, list | tuple):
            numbers = f"it has {len(value)} entries"
        raise problem(key, value, rule, numbers, f"Write {key}=[512, 768].")
    part = dataclasses.replace(option, hint=int)
    height, width = (_integer(part, entry, f"{key}[{i}]") for i, entry in enumerate(value))
    return height, width


def _entries(option: Option, value: object, key: str) -> list[tuple[object, str]]:
    """Entries of a list that is not empty, each with its key."""
    if not isinstance(value, list | tuple):
        _wrong_type(option, value, key)
    if not value:
        numbers = "the list is empty"
        raise problem(key, value, "must have an entry", numbers, _to_default(option, key))
    return [(entry, f"{key}[{i}]") for i, entry in enumerate(value)]


def _text(option: Option, value: object, key: str) -> str:
    if not isinstance(value, str):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        _wrong_type(option, value, key, "Put the name in quotes." if is_number else "")
    readers = {
        "source": _expanded,
        "root": _root,
        "file": _file,
        "path": _path,
        "suffix": _suffix,
        "name": _some_text,
    }
    return readers[option.form or "path"](value, key)


def _root(value: str, key: str) -> str:
    """A folder that exists, or a URL."""
    path = _expanded(value, key)
    if not is_remote(path) and (reason := not_a_folder(path)):
        rule, fix = "must be an existing folder", f"Set {key} to a folder of images."
        raise problem(key, value, rule, reason, fix)
    return path


def _file(value: str, key: str) -> str:
    """A file that exists, its ``~`` expanded."""
    path = _expanded(value, key, "file")
    try:
        if Path(path).is_file():
            return path
        reason = f"there is none at {show(str(Path(path).absolute()))}"
    except OSError as error:
        reason = error.strerror or str(error)
    raise problem(key, value, "must be an existing file", reason, f"Set {key}=null for none.")


def _path(value: str, key: str) -> str:
    """A folder that exists or may be made, its ``~`` expanded."""
    path = _expanded(value, key)
    reason = not_a_folder(path)
    if reason and not reason.startswith(NOTHING):
        raise problem(key, value, "must be a folder", reason, f"Set {key} to another path.")
    return path


def _expanded(value: str, key: str, what: str = "folder") -> str:
    if not value or "\0" in value:
        numbers = "it holds a zero character" if value else "the text is empty"
        raise problem(key, value, f"must name a {what}", numbers, f"Write a path, {key}=/path/to.")
    return value if is_remote(value) else expand_home(value)


def _some_text(value: str, key: str) -> str:
    """Any text but none at all."""
    if not value:
        raise problem(key, value, "must be a name", "the text is empty", f"Remove {key}.")
    return value


def _suffix(value: str, key: str) -> str:
    """The end of a file's name; with a separator in it, captions could come from anywhere."""
    if value.startswith(".") and len(value) > 1 and not set(value) & set("/\\\0"):
        return value
    rule, numbers = "must be a suffix such as .txt", "it needs a dot, then a name without / or \\"
    raise problem(key, value, rule, numbers, f"Set {key}=.txt, or null for no captions.")


def _sources(option: Option, value: object, key: str) -> Sources:
    if not isinstance(value, list | tuple):
        return (_source(option, value, key, key),)
    if not value:
        fix = f"Set {key}=/path/to/photos" + ("." if option.required else ", or null for none.")
        raise problem(key, value, "must name at least one source", "the list is empty", fix)
    named = [(entry, f"{key}[{i}]") for i, entry in enumerate(value)]
    return tuple(_source(option, entry, name, f"{name}.path") for entry, name in named)


def _source(option: Option, value: object, key: str, path_key: str) -> SourceConfig:
    if isinstance(value, str):
        source = SourceConfig(path=_expanded(value, path_key))
        check_source(source, key, path_key)
        return source
    if not isinstance(value, Mapping):
        _wrong_type(option, value, key, f"Set {key}=/path/to/photos.")
    source = _section(SourceConfig, value, key)
    check_source(source, key, f"{key}.path")
    return source
