"""Timeouts of running attempts: one timer for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from streamtask.worker.delivery import Delivery


class Deadlines:
    """Calls `late(delivery)` when a delivery that was added is still there at its deadline.

    Those that have started with the same timeout come to their deadlines in the order in which they came here, so to
    add and to discard one costs no more than a place in a dict, and only the first of them is looked at. What was
    handed to the threads starts when one is free: its time counts from its `started_at`, and all of them are looked
    at, for who waits there says nothing of the others.
    """

    def __init__(self, late: Callable[[Delivery], None]) -> None:
        self._late = late
        self._started: dict[float, dict[Delivery, None]] = {}  # by timeout; the longest running first
        self._handed: dict[float, dict[Delivery, None]] = {}  # likewise; no more than threads and what is read ahead
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0

    def add(self, delivery: Delivery, timeout: float) -> None:
        """Watch an attempt that has just started; `timeout` in seconds."""
        self._watch(self._started, delivery, timeout)

    def expect(self, delivery: Delivery, timeout: float) -> None:
        """Watch an attempt that a thread will start, at once or later."""
        self._watch(self._handed, delivery, timeout)

    def discard(self, delivery: Delivery, timeout: float) -> None:
        """It has ended, or did not begin."""
        for watched in (self._started, self._handed):
            watched.get(timeout, {}).pop(delivery, None)

    def close(self) -> None:
        """Forget all deadlines."""
        self._started.clear()
        self._handed.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _watch(self, watched: dict[float, dict[Delivery, None]], delivery: Delivery, timeout: float) -> None:
        alike = watched.setdefault(timeout, {})
        alike[delivery] = None
        if len(alike) == 1:
            self._arm(time.monotonic() + timeout)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            if self._at <= at:
                return
            self._timer.cancel()
        self._at = at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - time.monotonic()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = time.monotonic()
        for timeout, alike in tuple(self._started.items()):
            while alike and self._looked_at(next(iter(alike)), alike, timeout, now):
                pass
        for timeout, alike in tuple(self._handed.items()):
            for delivery in tuple(alike):
                self._looked_at(delivery, alike, timeout, now)

    def _looked_at(self, delivery: Delivery, alike: dict[Delivery, None], timeout: float, now: float) -> bool:
        """Was it late? Else the timer is set for it."""
        at = (delivery.started_at or now) + timeout
        if at > now:
            self._arm(at)
            return False
        alike.pop(delivery, None)
        self._late(delivery)
        return True
