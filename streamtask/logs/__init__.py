"""Logs of workers and beats: their events, and the records of user code among them, on standard error."""

from __future__ import annotations

import logging
import sys

from streamtask.logs.reporter import LogReporter
from streamtask.tasklog import TaskFilter

__all__ = ["LogReporter", "TaskFilter", "adopt_logging", "to_stderr"]


class ReportHandler(logging.Handler):
    """Lets the records of logging go the way of the events: one stream, in order."""

    def __init__(self, report: LogReporter) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._report.record(record)
        except Exception:  # noqa: BLE001 - logging must not raise into the code that logs
            self.handleError(record)


def adopt_logging(report: LogReporter) -> None:
    """Let logs tell which task wrote them. The root logger gets a handler and a level only when it has no handler."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(ReportHandler(report))
        root.setLevel(report.level)
    for handler in root.handlers:
        handler.addFilter(TaskFilter())


def to_stderr(*, level: int, as_json: bool, colour: bool) -> LogReporter:
    """The reporter of this process, on standard error."""
    return LogReporter(sys.stderr.buffer, level=level, as_json=as_json, colour=colour)
