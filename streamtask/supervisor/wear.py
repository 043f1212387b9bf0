"""How worn a process is by its work: the tasks that it has ended, the memory that it holds, and when that is enough.

The process looks at itself, so its figures are exact on every system, and tells its parent, who replaces it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from streamtask.heartbeat import Worn
from streamtask.memory import held

#: Seconds between two looks. What a process takes in so short a time may be above its ceiling.
LOOK = 0.1
#: The part of the room between its memory at the start and the ceiling after which a process has its replacement
#: started. The rest is for the time until that one serves.
ENOUGH = 0.8


@dataclass(frozen=True, slots=True)
class Limits:
    """After `max_tasks` ended tasks, or near `max_rss` bytes of memory, a process is replaced. None: no such limit."""

    max_tasks: int | None = None
    max_rss: int | None = None

    @property
    def given(self) -> bool:
        """Is there a limit at all?"""
        return self.max_tasks is not None or self.max_rss is not None

    def too_low(self, fresh: int) -> bool:
        """Is the ceiling below what a process holds before its first task? Then it would be replaced for ever."""
        return self.max_rss is not None and fresh >= self.max_rss

    def judge(self, tasks: int, rss: int, fresh: int) -> Worn | None:
        """What a process that holds `rss` bytes, and held `fresh` before its first task, tells its parent."""
        ceiling = None if self.too_low(fresh) else self.max_rss
        spent = ceiling is not None and rss >= ceiling
        if ceiling is not None and rss >= fresh + ENOUGH * (ceiling - fresh):
            return Worn("max_rss", tasks, rss, spent)
        if self.max_tasks is not None and tasks >= self.max_tasks:
            return Worn("max_tasks", tasks, rss, spent)
        return None


NO_LIMITS = Limits()


class Wear:
    """Looks at this process. `tasks` counts what it has ended, `tell` is called when it is worn, and when it is
    spent: at its ceiling.
    """

    def __init__(self, limits: Limits, tasks: Callable[[], int], tell: Callable[[Worn], None]) -> None:
        self._limits, self._tasks, self._tell = limits, tasks, tell
        self.fresh = held()

    async def run(self) -> None:
        """Look until there is no more to tell."""
        told: Worn | None = None
        while told is None or (self._limits.max_rss is not None and not told.spent):
            worn = self._limits.judge(self._tasks(), held(), self.fresh)
            if worn is not None and (told is None or worn.spent):
                told = worn
                self._tell(worn)
            await asyncio.sleep(LOOK)
