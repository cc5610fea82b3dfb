"""The command line ``lit-buckets``, also ``python -m lit_buckets``.

A command takes a configuration and overrides, calls one function of the package and prints what
comes back; whatever it can do can be done in Python.

1. ``printing``: what commands print.
2. ``group``: how they end, and what their exit codes mean.
3. ``arguments``: arguments and options that several of them share.
4. ``opening``: from these to a configuration, and to images.
5. ``begin``, ``look``, ``use``: the commands.

torch and Lightning are imported within the commands that need them, so that help and completion
come at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

import lit_buckets
from lit_buckets.cli import begin, look, use
from lit_buckets.cli.group import OneLineErrors

__all__ = ["app", "main"]

app = typer.Typer(
    name="lit-buckets",
    cls=OneLineErrors,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the data are at fault (diff: the plans differ), 2 the command or "
    "the configuration is.",
)

_PANELS = {
    "Begin": (begin.init, begin.scan),
    "Look": (look.plan, look.report, look.show, look.diff),
    "Use": (use.export, use.bench),
}
for panel, commands in _PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"lit_buckets {lit_buckets.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="LIT_BUCKETS_DEBUG", help="Show tracebacks of errors."),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Same-shape batches of images of every shape: look at what training will do with yours."""


def main() -> None:
    """Run the command that the process's arguments name."""
    app(prog_name="lit-buckets")
