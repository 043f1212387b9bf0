"""One line a request, at most LINES a second: a flood neither fills the disk nor costs speed; the rest are counted."""

from __future__ import annotations

import logging
import time

from streamtask.hub.exchange import Exchange
from streamtask.logs import LogReporter

#: Lines of one second.
LINES = 100


class RequestLog:
    """Writes to the log of the process."""

    def __init__(self, report: LogReporter) -> None:
        self._report = report
        self._second, self._left, self._beyond = 0.0, LINES, 0

    def tell(self, exchange: Exchange, status: int) -> None:
        """A request has been answered."""
        level = logging.WARNING if status >= 500 or exchange.code in ("unavailable", "internal") else logging.INFO
        if level < self._report.level:
            return
        now = time.monotonic()
        if now - self._second >= 1.0:
            self.flush()
            self._second, self._left = now, LINES
        if self._left <= 0:
            self._beyond += 1
            return
        self._left -= 1
        seconds = now - exchange.began
        said = [f"{exchange.method} {exchange.path} {status} {seconds * 1000:.1f} ms"]
        said += [part for part in (exchange.code, exchange.about, exchange.caller or exchange.client) if part]
        if exchange.trace_id:
            said.append(f"trace {exchange.trace_id}")
        self._report.event(
            "hub.request",
            level,
            "  ".join(printable(part) for part in said) if not self._report.as_json else "request",
            method=exchange.method,
            path=exchange.path,
            status=status,
            code=exchange.code,
            duration_s=round(seconds, 6),
            about=exchange.about,
            caller=exchange.caller,
            client=exchange.client,
            trace_id=exchange.trace_id,
        )

    def flush(self) -> None:
        """Say how many were not written."""
        if self._beyond:
            self._report.event("hub.requests", logging.INFO, f"… {self._beyond:,} more requests", count=self._beyond)
            self._beyond = 0


def printable(text: str) -> str:
    """Text that a caller chose, on one line of a terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]
