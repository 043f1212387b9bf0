"""What a worker or beat tells of itself: events with names and fields, for whoever writes the log (interface: docs/reference)."""

from __future__ import annotations

import logging
from typing import Any


class Reporter:
    """Takes events and does nothing with them; the CLI's subclass writes lines. Methods must not raise and not block."""

    def event(self, name: str, level: int, msg: str, **fields: Any) -> None:
        """Something happened, for example `task.retry`; `level` is a logging level."""

    def done(self, task: str, id: str, attempt: int, duration: float, waited: float) -> None:
        """A task is done; times in seconds. The one event that comes by the ten thousand, so it has a way of its own."""


INFO, WARNING, ERROR, DEBUG = logging.INFO, logging.WARNING, logging.ERROR, logging.DEBUG
