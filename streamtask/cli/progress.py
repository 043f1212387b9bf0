"""Progress of a long command, on standard error: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

import click

from streamtask.cli.options import Globals

#: Seconds between two lines where there is no terminal.
EVERY = 5.0


class Progress:
    """Counts to `total`. Shows nothing for what is done at once: fewer than `least` steps."""

    def __init__(self, what: str, total: int, options: Globals, least: int = 1000) -> None:
        self.what, self.total, self.count = what, total, 0
        self._told = time.monotonic()
        self._shown = total >= least
        bar = self._shown and options.color(sys.stderr)
        self._bar = click.progressbar(length=total, label=what, show_pos=True, file=sys.stderr) if bar else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, tb)

    def step(self, by: int = 1) -> None:
        """So many more are done."""
        self.count += by
        if self._bar is not None:
            self._bar.update(by)
        elif self._shown and time.monotonic() - self._told >= EVERY:
            self._told = time.monotonic()
            click.echo(f"{self.what} {self.count:,} of {self.total:,}", err=True)
