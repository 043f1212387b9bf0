"""The suspect lane: a message that was delivered `max_deliveries` times may kill its worker.

It starts alone: one suspect at a time in a process, after what runs there has ended, and nothing else starts while it
runs, so that another task's crash never convicts it. Its start is marked in Redis first; a mark that is found there
already is proof, and buries it. Messages that were only buffered beside a killer have no mark, so they are never buried
for it.

A worker is not to stand still for an hour behind a task that takes so long. Who cannot leave a suspect alone soon gives
it back, once; another worker may have the peace. If it comes again and there is a free slot, it starts beside what
runs, without a mark, so that nobody's crash can convict it.
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
#: Suspects that were given back of which a worker knows.
REMEMBERED = 1000


class Suspects:
    """The lane of one process. The executor sets `ready(delivery, marks)`, which starts or convicts, `lost(delivery)`,
    `crowded(delivery)`, which gives back, `begins()`, after which nothing else starts, and `busy()` and
    `full(delivery)`, which tell whether any task runs, and whether all slots are taken.

    First deliveries come here too where `max_deliveries` is 1: every start of theirs is marked, but they need no lane.
    """

    def __init__(
        self,
        mark: Callable[[list[Delivery]], Awaitable[list[int]]],
        evidence: Callable[[Delivery], Awaitable[bool]],
    ) -> None:
        self._mark, self._evidence = mark, evidence
        self.ready: Callable[[Delivery, int], None] = lambda _delivery, _marks: None
        self.lost: Callable[[Delivery], None] = lambda _delivery: None
        self.crowded: Callable[[Delivery], None] = lambda _delivery: None
        self.begins: Callable[[], None] = lambda: None
        self.busy: Callable[[], bool] = lambda: False
        self.full: Callable[[Delivery], bool] = lambda _delivery: False
        self._lane: deque[Delivery] = deque()
        self._first_starts: deque[Delivery] = deque()
        self.running: Delivery | None = None
        self._given_back: dict[bytes, None] = {}  # the youngest REMEMBERED
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

    async def _serve(self) -> None:
        """Mark the first starts that wait, or serve the lane's next suspect."""
        if self._first_starts:
            await self._start([self._first_starts.popleft() for _ in range(min(len(self._first_starts), 200))])
            return
        suspect = self.running = self._lane.popleft()
        self.begins()
        if await self._proven(suspect) or await self._alone(suspect):
            await self._start([suspect])
        elif suspect.settling:  # given back or lost while it waited
            self.lost(suspect)
        elif _at_most_once(suspect) and not self.full(suspect):
            await self._start([suspect])
        elif suspect.id in self._given_back and not self.full(suspect):
            self.ready(suspect, 0)
        else:
            self._given_back[suspect.id] = None
            if len(self._given_back) > REMEMBERED:
                del self._given_back[next(iter(self._given_back))]
            self.crowded(suspect)

    async def _proven(self, suspect: Delivery) -> bool:
        """Is there a mark of an earlier start? Then it will not start, and need not wait."""
        while True:
            try:
                return await self._evidence(suspect)
            except (*CONNECTION_ERRORS, ResponseError):
                await asyncio.sleep(AGAIN)

    async def _alone(self, suspect: Delivery) -> bool:
        """Wait until nothing else runs; False when that takes too long, or it is not ours any more."""
        until = time.monotonic() + PATIENCE
        # Looked at, not waited for: this is rare, and an event for it would be set at the end of each task.
        while self.busy() and not suspect.settling and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(LOOK)
        return not self.busy() and not suspect.settling

    async def _start(self, batch: list[Delivery]) -> None:
        """Mark, then start or convict."""
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


def _at_most_once(suspect: Delivery) -> bool:
    """Is a second start forbidden anyway? Then each start is marked, whatever runs beside it."""
    return suspect.task is not None and suspect.task.task_options.max_deliveries == 1
