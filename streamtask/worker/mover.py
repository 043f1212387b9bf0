"""Moves due messages into their streams: one process a queue at a time, every worker and beat stands by."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from streamtask.broker.broker import MOVE_LIMIT, Broker
from streamtask.broker.keys import QueueKeys
from streamtask.broker.link import CONNECTION_ERRORS, ResponseError
from streamtask.worker.clock import RedisClock

#: Longest sleep in seconds: a short countdown may arrive at any time.
LONGEST = 1.0


class Mover:
    """The loop of one process over its queues; queues may be added while it runs.

    `parked()` is called when something was given back and waits for a reader.
    """

    def __init__(
        self,
        broker: Broker,
        queues: Sequence[QueueKeys],
        clock: RedisClock,
        parked: Callable[[], None] = lambda: None,
    ) -> None:
        self._broker, self.queues, self._clock, self._parked = broker, list(queues), clock, parked
        self._nudge = asyncio.Event()
        self._nudged_for = LONGEST

    def nudge(self, delay: float) -> None:
        """A message of ours falls due in `delay` seconds: wake up then, whoever is the mover."""
        if delay < self._nudged_for:
            self._nudged_for = delay
            self._nudge.set()

    async def run(self) -> None:
        """Move until cancelled."""
        while True:
            rest = await self._turn(force=False)
            while (early := await self._nudged(rest)) is not None:
                await asyncio.sleep(early)
                rest = min(rest, await self._turn(force=True))

    async def _turn(self, force: bool) -> float:
        """Move what is due; returns the seconds to rest."""
        try:
            moved = await self._broker.move(self.queues, force) if self.queues else []
        except (*CONNECTION_ERRORS, ResponseError):
            return LONGEST * (0.5 + random.random() / 2)
        if moved:
            self._clock.saw(moved[0].now)
        if any(m.parked for m in moved):
            self._parked()
        if any(m.count >= MOVE_LIMIT for m in moved):
            return 0.0
        waits = [m.wait for m in moved if m.wait is not None]
        if waits and min(waits) < LONGEST:
            return min(waits)
        return LONGEST - random.random() * 0.1

    async def _nudged(self, rest: float) -> float | None:
        """Sleep; the delay of a nudge that asks for an earlier look, or None when the rest is over."""
        try:
            await asyncio.wait_for(self._nudge.wait(), rest)
        except TimeoutError:
            return None
        finally:
            self._nudge.clear()
            delay, self._nudged_for = self._nudged_for, LONGEST
        return delay if delay < rest else None
