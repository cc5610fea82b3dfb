"""A bar on the terminal."""

from __future__ import annotations

import sys
import time

import rich.console
import rich.progress

__all__ = ["Progress"]


class Progress:
    """A bar on a terminal's error stream, or nothing."""

    def __init__(self, show: bool | None) -> None:
        self._bar: rich.progress.Progress | None = None
        self._task = rich.progress.TaskID(0)
        self._begun = 0.0
        if show or (show is None and sys.stderr.isatty()):
            self._bar = rich.progress.Progress(
                "{task.description}",
                rich.progress.BarColumn(),
                rich.progress.MofNCompleteColumn(),
                "{task.fields[rate]}",
                rich.progress.TimeRemainingColumn(),
                console=rich.console.Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("listing images", total=None, rate="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def wait(self) -> None:
        """Another process is at work; nobody knows for how long."""
        if self._bar is not None:
            self._bar.update(self._task, description="waiting for another process")

    def listed(self, count: int) -> None:
        """So many more files were listed; nobody knows how many there will be."""
        if self._bar is not None:
            self._bar.update(self._task, description="listing images", advance=count)

    def begin(self, total: int, what: str) -> None:
        """Listing is over, and reading begins."""
        self._begun = time.monotonic()
        if self._bar is not None:
            self._bar.remove_task(self._task)
            self._task = self._bar.add_task(what, total=total, rate="")

    def advance(self, count: int) -> None:
        """So many more files were read."""
        if self._bar is not None:
            done = self._bar.tasks[0].completed + count
            rate = done / max(time.monotonic() - self._begun, 1e-3)
            self._bar.update(self._task, advance=count, rate=f"{rate:,.0f}/s")
