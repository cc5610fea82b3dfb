"""From a plain mapping to the text of a YAML file, with a comment above each key."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import indent, wrap
from typing import Any

from omegaconf import OmegaConf

__all__ = ["to_yaml"]

_WIDTH = 96


def to_yaml(
    tree: Mapping[str, Mapping[str, Any]], comments: Mapping[str, str] | None = None
) -> str:
    """A configuration as text that :func:`lit_buckets.load_config` reads back as it was.

    Args:
        tree: Sections of plain values, some or all of them, as of :func:`to_plain`.
        comments: What to write above a section or a dotted key, by its name.

    Returns:
        YAML, its sections and keys in the order of the tree.

    Example:
        >>> print(to_yaml({"batches": {"seed": 1}}, {"batches.seed": "Seed of the order."}), end="")
        batches:
          # Seed of the order.
          seed: 1
    """
    notes = comments or {}
    parts = []
    for section, values in tree.items():
        lines = [_comment(notes.get(section, "")), f"{section}:\n"]
        for name, value in values.items():
            lines.append(indent(_comment(notes.get(f"{section}.{name}", "")), "  "))
            lines.append(indent(OmegaConf.to_yaml(OmegaConf.create({name: value})), "  "))
        parts.append("".join(lines))
    return "\n".join(parts)


def _comment(text: str) -> str:
    lines = wrap(text, _WIDTH - 4, break_on_hyphens=False, break_long_words=False)
    return "".join(f"# {line}\n" for line in lines)
