"""One of two modules that each define `work`."""

from __future__ import annotations


def work() -> None: ...
