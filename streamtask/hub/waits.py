"""Requests that wait for somebody else: how many at once, how long, and what is cleaned up behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from streamtask.hub.refusal import Refusal

#: Seconds that a clean-up may take.
CLEANUP = 5.0


class Waits:
    """The waits of a hub. `most`: more than so many at once are refused."""

    def __init__(self, most: int) -> None:
        self._most, self._now = most, 0
        self._cleaning: set[asyncio.Task[None]] = set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Stand in line for an answer."""
        if self._now >= self._most:
            raise Refusal("resource_exhausted", f"{self._most} requests wait for answers already (--max-waits)")
        self._now += 1
        try:
            yield
        finally:
            self._now -= 1

    def clean(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that must be done although the request may be over, or its client gone."""
        task = asyncio.create_task(asyncio.wait_for(work, CLEANUP))
        self._cleaning.add(task)
        task.add_done_callback(self._cleaned)

    async def close(self) -> None:
        """Wait until all is clean."""
        while self._cleaning:
            await asyncio.wait(self._cleaning)

    def _cleaned(self, task: asyncio.Task[None]) -> None:
        self._cleaning.discard(task)
        if not task.cancelled():
            task.exception()  # it has a ttl in Redis; nobody is left to tell
