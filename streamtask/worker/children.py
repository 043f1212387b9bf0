"""Slots for `process=True` tasks: child processes that are started, given one call at a time, killed and replaced."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from streamtask.child.ceilings import NO_CEILINGS, Ceilings
from streamtask.child.origin import Origin
from streamtask.errors import ConfigError
from streamtask.memory import KNOWS_OTHERS
from streamtask.policy import Died, Outcome, OverMemory
from streamtask.size import show
from streamtask.task import Kind
from streamtask.worker.child import Child
from streamtask.worker.delivery import Delivery
from streamtask.worker.memory import MemoryWatch

DIED = "worker.child_died"
#: Seconds before the next try when a child did not come to serve: at once, then longer and longer, then the last.
PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0)


class Tell(Protocol):
    """Report an event of a child, with the attempt that ran in it, if one did."""

    def __call__(self, event: str, level: int, text: str, delivery: Delivery | None = None, **fields: Any) -> None: ...


class Children:
    """At most `size` children that serve; `slots["child"]` counts those that do. The executor sets that table and
    `fill()`, which is told of a change, `may_begin(delivery)`, `watch(delivery, timeout)`, and
    `ended(delivery, outcome)`; the outcome is None for what has not begun.

    Nothing is asked for before a child serves, so an attempt does not wait for one, but for a suspect whose time has
    come. All methods run on the event loop.
    """

    def __init__(self, size: int, origin: Origin | None, tell: Tell, ceilings: Ceilings = NO_CEILINGS) -> None:
        self.size, self._origin, self._tell, self._ceilings = size, origin, tell, ceilings
        self.slots: dict[Kind, int] = {"child": 0}
        self.fill: Callable[[], None] = lambda: None
        self.may_begin: Callable[[Delivery], bool] = lambda _delivery: True
        self.watch: Callable[[Delivery, float], None] = lambda _delivery, _timeout: None
        self.ended: Callable[[Delivery, Outcome | None], None] = lambda _delivery, _outcome: None
        self._keepers: list[asyncio.Task[None]] = []
        self._idle: list[Child] = []
        self._busy: dict[Delivery, Child] = {}
        self._waiting: deque[Delivery] = deque()
        self._served = False
        self._memory = MemoryWatch(self._over)

    @property
    def starting(self) -> bool:
        """Were children started, and has none come to serve yet?"""
        return bool(self._keepers) and not self._served

    def start(self) -> None:
        """Start them, once."""
        if self._keepers:
            return
        assert self._origin is not None, "a worker whose app has process=True tasks was checked to have one"
        self._keepers = [asyncio.get_running_loop().create_task(self._keep(self._origin)) for _ in range(self.size)]
        for keeper in self._keepers:
            keeper.add_done_callback(_broken)

    def submit(self, delivery: Delivery) -> None:
        """Run it: at once where a child is idle."""
        if self._idle:
            self._begin(self._idle.pop(), delivery)
        else:
            self._waiting.append(delivery)

    def stop(self, delivery: Delivery) -> None:
        """End an attempt: SIGTERM, and soon SIGKILL. `ended` follows."""
        child = self._busy.get(delivery)
        if child is not None:
            self._retire(child)
            child.stop()
        elif delivery in self._waiting:
            self._waiting.remove(delivery)
            self.ended(delivery, None)

    async def close(self) -> None:
        """End all of them."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._memory.close()

    # -- one place among them ------------------------------------------------------------------------------------------

    async def _keep(self, origin: Origin) -> None:
        """Keep one child alive."""
        failures = 0
        while True:
            child = Child(self._answered)
            try:
                failures = 0 if await self._life(child, origin) else failures + 1
            finally:
                await child.end()
            if failures:
                await asyncio.sleep(PAUSES[min(failures, len(PAUSES)) - 1])

    async def _life(self, child: Child, origin: Origin) -> bool:
        """From its start to its end; did it come to serve?"""
        try:
            await child.start(origin, self._ceilings)
        except OSError as error:  # this machine has no room for one more just now
            self._tell(DIED, logging.ERROR, f"a child process cannot be started ({error})", code=None)
            return False
        if await child.ready():
            self._served = True
            self._idle.append(child)
            self._count(1)
            while self._waiting and self._idle:
                self._resume(self._waiting.popleft())
            self._renew()
        code = await child.ended()
        self._gone(child, code)
        return child.served

    def _resume(self, delivery: Delivery) -> None:
        """It has waited for a child: is it still ours?"""
        if self.may_begin(delivery):
            self.submit(delivery)
        else:
            self.ended(delivery, None)

    def _begin(self, child: Child, delivery: Delivery) -> None:
        self._busy[delivery] = child
        delivery.started_at = time.monotonic()
        assert delivery.task is not None, "only a known task is started"
        options = delivery.task.task_options
        if options.timeout is not None:
            self.watch(delivery, options.timeout)
        if options.max_memory is not None and KNOWS_OTHERS:  # else the banner says that it is not kept
            self._memory.add(delivery, child.pid, options.max_memory)
        child.begin(delivery)

    def _answered(self, child: Child, delivery: Delivery, outcome: Outcome) -> None:
        self._release(delivery)
        if child.serves:
            self._idle.append(child)
            self._renew()
        else:
            child.kill()  # it was asked to stop, and has; what it left unfinished is nobody's to go on with
        self.ended(delivery, outcome)

    def _gone(self, child: Child, code: int) -> None:
        """A child ended: after a kill of ours as expected, else with the attempt that ran in it."""
        asked = child.served and not child.serves
        self._retire(child)
        delivery, how = child.delivery, _how(code)
        if not child.served:
            text = f"a child process did not come to serve ({how}); the next is started soon"
            self._tell(DIED, logging.ERROR, text, code=code)
        elif not asked:
            running = delivery if delivery is not None and delivery.entered else None
            what = "a child process ended" if running is None else "its child process ended while it ran"
            self._tell(DIED, logging.WARNING, f"{what} ({how}); the next is started", running, code=code)
        if delivery is not None:
            self._release(delivery)
            self.ended(delivery, Died(how, delivery.count) if delivery.entered else None)

    def _renew(self) -> None:
        """Have one that has grown too large replaced, between two calls. The next one's turn comes when all serve."""
        if self.slots["child"] < self.size:
            return
        for child in self._idle:
            if child.worn is not None:
                text = f"a child process still holds {show(child.worn)} after its call; the next takes its place"
                self._tell("worker.child_worn", logging.INFO, text, pid=child.pid, rss_bytes=child.worn)
                self._retire(child)
                child.stop()
                return

    def _over(self, delivery: Delivery, over: OverMemory, family: set[int]) -> None:
        """It holds more than it may. What eats memory gets no grace, and nothing of it is left; `ended` follows."""
        child = self._busy[delivery]
        if delivery.stopped_as is None:
            delivery.stopped_as = over
        self._retire(child)
        child.kill(family)

    def _release(self, delivery: Delivery) -> None:
        """It runs in no child any more."""
        del self._busy[delivery]
        self._memory.remove(delivery)

    def _retire(self, child: Child) -> None:
        """It is given nothing more."""
        if child.serves:
            child.serves = False
            if child in self._idle:
                self._idle.remove(child)
            self._count(-1)

    def _count(self, change: int) -> None:
        self.slots["child"] += change
        self.fill()


def check_children(origin: Origin | None) -> None:
    """Raise ConfigError where no child could be started."""
    if origin is None:
        raise ConfigError("process=True tasks run in child processes of `streamtask worker`; start that")
    if sys.platform == "win32":
        raise ConfigError("process=True needs Linux or macOS")


def _how(code: int) -> str:
    """An exit code in words; negative for a signal."""
    known = {number.value: number.name for number in signal.Signals}
    return f"exit code {code}" if code >= 0 else known.get(-code, f"signal {-code}")


def _broken(keeper: asyncio.Task[Any]) -> None:
    if not keeper.cancelled():
        keeper.result()  # a defect of ours: the loop's exception handler shows it
