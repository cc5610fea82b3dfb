"""What docstrings write in one way and these pages need in another.

Cross-references are written as Sphinx roles and become links; what has no page of its own stays
plain code. A section of one example is headed "Example:" and gets the name that Griffe knows.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")


class Docstrings(griffe.Extension):
    """Rewrites every docstring when it is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Griffe calls it for each module, class, function and attribute."""
        if obj.name.startswith("__"):
            obj.public = False  # Python's own methods say nothing that a reader looks for
        if obj.docstring is not None:
            text = _EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
            obj.docstring.value = _ROLE.sub(lambda role: _link(obj, role[1]), text)


def _link(obj: griffe.Object, name: str) -> str:
    first, dot, rest = name.partition(".")
    if first == "lit_buckets":
        target, shown = name, name.rpartition(".")[2]
    else:
        target, shown = f"{_resolved(obj, first)}{dot}{rest}", name
    return f'<autoref identifier="{target}" optional><code>{shown}</code></autoref>'


def _resolved(obj: griffe.Object, name: str) -> str:
    """The full name of what a docstring calls by its name in the module."""
    try:
        return obj.resolve(name)
    except griffe.NameResolutionError:
        return name
