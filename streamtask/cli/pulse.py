"""The heartbeat of this process: told from its event loop, to a file or to its parent."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from streamtask.errors import ConfigError
from streamtask.heartbeat import PERIOD, Heartbeat, Worn
from streamtask.logs import LogReporter


class Sink(Protocol):
    """Who is told: a HeartbeatFile, or the Parent."""

    def write(self, heartbeat: Heartbeat) -> None:
        """Take a heartbeat; OSError or ConfigError when that fails."""

    def remove(self) -> None:
        """The end."""


class Condition:
    """How a worker or beat is: starting, ready or draining."""

    def __init__(self, kind: str, consumer: str, app: str) -> None:
        self._kind, self._consumer, self._app = kind, consumer, app
        self._answered: Callable[[], float] | None = None
        self._ready_since: str | None = None
        self.draining = False
        self.worn: Worn | None = None

    def ready(self, answered: Callable[[], float]) -> None:
        """It takes messages; `answered` tells when Redis last gave a good answer (monotonic)."""
        self._answered = answered
        self._ready_since = datetime.now(UTC).isoformat(timespec="seconds")

    def heartbeat(self) -> Heartbeat:
        """As it is told to others, now."""
        return Heartbeat(
            kind=self._kind,
            consumer=self._consumer,
            app=self._app,
            pid=os.getpid(),
            beat=time.monotonic(),
            answered=None if self._answered is None else self._answered(),
            ready_since=self._ready_since,
            draining=self.draining,
            worn=self.worn,
        )


class Pulse:
    """Tells a sink every `period` seconds what `look` says, while it is entered."""

    def __init__(
        self, look: Callable[[], Heartbeat], sink: Sink, report: LogReporter, *, period: float = PERIOD
    ) -> None:
        self._look, self._sink, self._report, self._period = look, sink, report, period
        self._warned = False

    async def __aenter__(self) -> Self:
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        self._sink.remove()

    def tell(self) -> None:
        """Tell now: something has changed."""
        try:
            self._sink.write(self._look())
        except (OSError, ConfigError) as error:  # the work goes on; who checks is told that nothing beats
            if not self._warned:
                text = f"no heartbeat can be written, `streamtask check` will say no: {error}"
                self._report.event("worker.warning", logging.WARNING, text)
            self._warned = True

    async def _beat(self) -> None:
        while True:
            self.tell()
            await asyncio.sleep(self._period)
