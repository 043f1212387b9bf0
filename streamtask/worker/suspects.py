"""The suspect lane: a message that was delivered `max_deliveries` times may kill its worker.

It starts alone: one suspect at a time in a process, after what runs there has ended, and nothing else starts while it
runs, so that another task's crash never convicts it. (Behind a task that runs on for long it waits only so long: a
worker is not to stand still for an hour.) Its start is marked in Redis first; a mark that is found there already is
proof, and buries it. Messages that were only buffered beside a killer have no mark, so they are never buried for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from streamtask.broker.link import CONNECTION_ERRORS, ResponseError
from streamtask.worker.delivery import Delivery

#: Seconds until a mark that could not be written is tried again.
AGAIN = 0.5
#: Longest wait in seconds of a suspect for what runs already, and the time between two looks.
PATIENCE, LOOK = 5.0, 0.01


class Suspects:
    """The lane of one process. The executor sets `ready(delivery, marks)`, which starts or convicts, `lost(delivery)`,
    and `busy()`, which tells whether any task runs.

    First deliveries come here too where `max_deliveries` is 1: every start of theirs is marked, but they need no lane.
    """

    def __init__(self, mark: Callable[[list[Delivery]], Awaitable[list[int]]]) -> None:
        self._mark = mark
        self.ready: Callable[[Delivery, int], None] = lambda _delivery, _marks: None
        self.lost: Callable[[Delivery], None] = lambda _delivery: None
        self.busy: Callable[[], bool] = lambda: False
        self._lane: deque[Delivery] = deque()
        self._first_starts: deque[Delivery] = deque()
        self.running: Delivery | None = None
        self._marker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> bool:
        """Is a suspect waiting or running in the lane? Then nothing else is fetched."""
        return self.running is not None or bool(self._lane)

    def add(self, delivery: Delivery) -> None:
        """Take a delivery whose start must be marked."""
        (self._first_starts if delivery.count < 2 else self._lane).append(delivery)
        self._next()

    def ended(self, delivery: Delivery) -> None:
        """A delivery ended; if it was the lane's, the next one may start."""
        if delivery is self.running:
            self.running = None
            self._next()

    def remove(self, delivery: Delivery) -> None:
        """It is not ours any more and has not started."""
        for lane in (self._lane, self._first_starts):
            if delivery in lane:
                lane.remove(delivery)

    def overdue(self, limit: float) -> list[Delivery]:
        """Take out those that came before `limit` (monotonic) and wait behind the one that runs."""
        if self.running is None:
            return []
        late = [delivery for delivery in self._lane if delivery.received_at < limit]
        for delivery in late:
            self._lane.remove(delivery)
        return late

    def drain(self) -> None:
        """Forget all that wait."""
        self._lane.clear()
        self._first_starts.clear()

    def _next(self) -> None:
        if self._marker is None and (self._first_starts or (self._lane and self.running is None)):
            self._marker = asyncio.get_running_loop().create_task(self._serve())
            self._marker.add_done_callback(self._served)

    def _served(self, marker: asyncio.Task[None]) -> None:
        self._marker = None
        if not marker.cancelled():
            marker.result()  # a defect of ours: the loop's exception handler shows it
            self._next()

    async def _until_alone(self, delivery: Delivery) -> None:
        until = time.monotonic() + PATIENCE
        # Looked at, not waited for: this is rare, and an event for it would be set at the end of each task.
        while self.busy() and not delivery.settling and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(LOOK)

    async def _serve(self) -> None:
        """Mark the first starts that wait, or the lane's next suspect."""
        if self._first_starts:
            batch = [self._first_starts.popleft() for _ in range(min(len(self._first_starts), 200))]
        else:
            self.running = self._lane.popleft()
            batch = [self.running]
            await self._until_alone(self.running)
        while True:
            try:
                marks = await self._mark(batch)
                break
            except (*CONNECTION_ERRORS, ResponseError):
                # Not surely marked, so not started; MARK knows the same delivery again, so a lost reply convicts
                # nobody.
                await asyncio.sleep(AGAIN)
        for delivery, mark in zip(batch, marks, strict=True):
            if mark < 0:
                self.lost(delivery)
            else:
                self.ready(delivery, mark)
