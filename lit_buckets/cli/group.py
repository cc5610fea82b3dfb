"""How commands end: with an exit code that scripts can use and, if something is wrong, in one line.

| code | meaning |
|---|---|
| 0 | done; for ``diff``: both plans are the same |
| 1 | the data are at fault, or a file cannot be written; for ``diff``: the plans differ |
| 2 | the command, the configuration or a given file is wrong; nothing was done |
| 130 | interrupted |
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from lit_buckets.cli.printing import plain
from lit_buckets.errors import ConfigError, LitBucketsError

__all__ = ["OneLineErrors"]

# Typer brings its own copy of Click or needs it installed, by its version: this is either's
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

_DATA, _USAGE, _INTERRUPTED = 1, 2, 130


class OneLineErrors(TyperGroup):
    """A group of commands whose mistakes are told in one line on the error stream.

    With ``--debug``, or ``LIT_BUCKETS_DEBUG=1``, errors of the package come with a traceback.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command, and leave with its exit code."""
        given = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            code = super().main(given, prog_name, complete_var, False, windows_expand_args, **extra)
        except _UsageError as error:
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "lit-buckets"
            message = error.format_message()  # type: ignore[attr-defined]
            code = _tell(f"{message.rstrip('.')}. Try '{path} --help'.", _USAGE)
        if standalone_mode:
            sys.exit(code or 0)
        return code

    def invoke(self, ctx: Any) -> Any:
        """Run a command; turn errors that are not the program's own into one line."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except (BrokenPipeError, SystemExit):  # rich leaves as soon as a pipe is broken
            # who read our output has had enough, as `head` has: nothing is wrong
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            raise typer.Exit(_tell("interrupted.", _INTERRUPTED)) from None
        except (LitBucketsError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            code = _USAGE if isinstance(error, ConfigError) else _DATA
            raise typer.Exit(_tell(_message(error), code)) from None


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)!r}: {error.strerror}."
    return str(error)


def _tell(message: str, code: int) -> int:
    text = Text.assemble(("error: ", "bold red"), plain(" ".join(message.split())))
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)
    return code
