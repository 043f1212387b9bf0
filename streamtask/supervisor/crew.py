"""What the places of one parent share: the plan, who is told, the stop, and the turns of those that recycle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamtask.supervisor.child import Child
from streamtask.supervisor.giving_back import GivingBack
from streamtask.supervisor.wear import NO_LIMITS, Limits
from streamtask.worker.report import Reporter


@dataclass(frozen=True, slots=True)
class SupervisorOptions:
    """`command` starts one worker process that finds its parent by itself. Times in seconds; `limits` are kept by the
    processes themselves, and stand here for what is told of them; a process that has been replaced ends within
    `deadline`.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    processes: int
    stall_limit: float
    burst: bool = False
    limits: Limits = NO_LIMITS
    deadline: float = 60.0


class Crew:
    """`stopping` is done when all of them end; `has_worked` tells whether any process was ever ready."""

    def __init__(
        self, options: SupervisorOptions, report: Reporter, greeted: Callable[[Child], None], stop: Callable[[], None]
    ) -> None:
        """`greeted` is told of a child that says hello; `stop` ends all."""
        self.options, self.report, self.greeted, self.stop = options, report, greeted, stop
        self.stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.giving_back = GivingBack(report, self.stopping)
        self.has_worked = False
        self._turn: asyncio.Future[None] | None = None

    def worked(self) -> None:
        """One of the processes is ready."""
        self.has_worked = True

    def take_turn(self) -> tuple[asyncio.Future[None] | None, asyncio.Future[None]]:
        """Stand in line to recycle: the turn to wait for, if there is one, and one's own, to be set when it is over."""
        before = self._turn
        mine = self._turn = asyncio.get_running_loop().create_future()
        return before, mine


async def first_of(*futures: asyncio.Future[Any] | None, timeout: float | None = None) -> None:
    """Wait until one of them is done, at most `timeout` seconds; None is never done."""
    waits = [future for future in futures if future is not None]
    await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
