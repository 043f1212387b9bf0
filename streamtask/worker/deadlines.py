"""Timeouts of running attempts: one heap and one timer, instead of a timer a task."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from streamtask.worker.delivery import Delivery, State


class Deadlines:
    """Calls `late(delivery)` when a delivery that was added is still running at its deadline."""

    def __init__(self, late: Callable[[Delivery], None]) -> None:
        self._late = late
        self._heap: list[tuple[float, int, Delivery, float]] = []
        self._order = itertools.count()  # two equal deadlines must not compare deliveries
        self._timer: asyncio.TimerHandle | None = None

    def add(self, delivery: Delivery, timeout: float) -> None:
        """Watch an attempt that has just started; `timeout` in seconds."""
        at = delivery.started_at + timeout
        heapq.heappush(self._heap, (at, next(self._order), delivery, delivery.started_at))
        if self._heap[0][0] == at:
            self._arm()

    def close(self) -> None:
        """Forget all deadlines."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(self._heap[0][0], self._fire) if self._heap else None

    def _fire(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now:
            _, _, delivery, started_at = heapq.heappop(self._heap)
            if delivery.started_at == started_at and delivery.state is State.RUNNING:
                self._late(delivery)
        self._arm()
