"""Progress of a demo: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

#: Seconds between two lines of progress on a pipe.
EVERY = 2.0


class Shown(Protocol):
    """Where progress goes."""

    def at(self, done: int) -> None: ...

    def say(self, text: str) -> None: ...


class _Lines:
    """Plain lines: on a pipe, in CI, or on a terminal that cannot redraw."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what, self.last, self.next = total, what, -1, 0.0

    def at(self, done: int) -> None:
        if done != self.last and (time.monotonic() >= self.next or done == self.total):
            print(f"  {done:5} of {self.total} {self.what}", flush=True)
            self.last, self.next = done, time.monotonic() + EVERY

    def say(self, text: str) -> None:
        print(f"  {text}", flush=True)


class _Bar:
    """A bar that is redrawn in place."""

    def __init__(self, progress: Progress, total: int, what: str) -> None:
        self.progress, self.task = progress, progress.add_task(what, total=total)

    def at(self, done: int) -> None:
        self.progress.update(self.task, completed=done)

    def say(self, text: str) -> None:
        self.progress.console.print(f"  {text}", markup=False, highlight=False)


@contextmanager
def progress(total: int, what: str) -> Iterator[Shown]:
    """So many of `what` are to come."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb" or os.environ.get("CI"):
        yield _Lines(total, what)
        return
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as drawn:
        yield _Bar(drawn, total, what)
