"""Sees what child processes hold while they run tasks with `max_memory`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from streamtask.memory import family, table, together, together_once
from streamtask.policy import OverMemory
from streamtask.worker.delivery import Delivery

#: Seconds between two looks. What is taken in so short a time may be above the limit.
LOOK = 0.1
#: The part of a processor that looks may take: on a machine with thousands of processes they are rarer.
SHARE = 0.05


class Watched(NamedTuple):
    """A child by its process id, which leads a process group; and the bytes that are allowed to it and its own."""

    pid: int
    allowed: int


class MemoryWatch:
    """Looks for as long as there is something to watch, in a thread of its own, so that the loop never waits for it.

    `over(delivery, over, family)` is called on the loop, once, for one that holds too much; `family` are the processes
    that hold it.
    """

    def __init__(self, over: Callable[[Delivery, OverMemory, set[int]], None]) -> None:
        self._over = over
        self._watched: dict[Delivery, Watched] = {}
        self._looking: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def add(self, delivery: Delivery, pid: int, allowed: int) -> None:
        """Watch a child while it runs this."""
        self._watched[delivery] = Watched(pid, allowed)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_on())

    def remove(self, delivery: Delivery) -> None:
        """It has ended."""
        self._watched.pop(delivery, None)

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    async def _look_on(self) -> None:
        loop, pause = asyncio.get_running_loop(), LOOK
        self._thread = self._thread or ThreadPoolExecutor(1, "streamtask-memory")
        while True:
            await asyncio.sleep(pause)
            if not self._watched:
                return
            begun = {delivery: watched for delivery, watched in self._watched.items() if delivery.entered}
            found, cost = await loop.run_in_executor(self._thread, _look, begun)
            pause = max(LOOK, cost / SHARE)
            for delivery, (over, pids) in found.items():
                if self._watched.get(delivery) is begun[delivery]:  # else it has ended meanwhile
                    self.remove(delivery)
                    self._over(delivery, over, pids)


Found = dict[Delivery, tuple[OverMemory, set[int]]]


def _look(watched: Mapping[Delivery, Watched]) -> tuple[Found, float]:
    """Those that hold too much, and what it took to find out, in seconds of processor time."""
    began, found = time.thread_time(), Found()
    processes = table() if watched else {}
    for delivery, (pid, allowed) in watched.items():
        pids = family(pid, processes)
        used = together(pids, processes)
        if used > allowed and len(pids) > 1:
            used = together_once(pids, processes)
        if used > allowed:
            found[delivery] = OverMemory(used, allowed), pids
    return found, time.thread_time() - began
