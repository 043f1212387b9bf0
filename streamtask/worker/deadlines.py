"""Timeouts of running attempts: one timer for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from streamtask.worker.delivery import Delivery


class Deadlines:
    """Calls `late(delivery)` when a delivery that was added is still there at its deadline.

    Those with the same timeout come to their deadlines in the order in which they came here, so to add and to discard
    one costs no more than a place in a dict. One that waits for a thread may be added before it starts: its time
    counts from its `started_at`.
    """

    def __init__(self, late: Callable[[Delivery], None]) -> None:
        self._late = late
        self._running: dict[float, dict[Delivery, None]] = {}  # by timeout; the longest running first
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0

    def add(self, delivery: Delivery, timeout: float) -> None:
        """Watch an attempt; `timeout` in seconds."""
        alike = self._running.setdefault(timeout, {})
        alike[delivery] = None
        if len(alike) == 1:
            self._arm(time.monotonic() + timeout)

    def discard(self, delivery: Delivery, timeout: float) -> None:
        """It has ended, or did not begin."""
        self._running.get(timeout, {}).pop(delivery, None)

    def close(self) -> None:
        """Forget all deadlines."""
        self._running.clear()
        if self._timer is not None:
            self._timer.cancel()

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
        for timeout, alike in tuple(self._running.items()):
            while alike:
                delivery = next(iter(alike))
                at = (delivery.started_at or now) + timeout
                if at > now:
                    self._arm(at)
                    break
                del alike[delivery]
                self._late(delivery)
