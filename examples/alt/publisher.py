"""Publishing beside the request: a bounded queue, one task that sends batches, and a stop that flushes.

`put` returns at once. What the hub does not take for the time being is sent again until it does; the events of a topic
keep their order. The queue has a bound, so a hub that is away is noticed (`QueueFilled`) while memory is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Protocol, Self

from examples.alt.hub import HubError, Taken, topic_of
from streamtask import Event

logger = logging.getLogger("alt.publisher")

#: Events in one call at most.
BATCH = 100
#: Seconds between two tries for the same events: from, to.
PAUSE, LONGEST_PAUSE = 0.1, 5.0


class QueueFilled(Exception):
    """The hub takes events more slowly than they are made, and the queue is full: this event was not accepted."""


class Hub(Protocol):
    """What publishes."""

    async def publish_batch(self, topic: str, events: list[Event]) -> Taken: ...


@dataclass(slots=True)
class Counts:
    """What became of the events so far."""

    accepted: int = 0  # by `put`
    published: int = 0  # the hub told their entry's id
    refused: int = 0  # the hub will never take them
    given_up: int = 0  # the hub was away for too long, or until the stop
    retries: int = 0  # calls that were made again


@dataclass(slots=True, eq=False)
class _Waiting:
    event: Event
    since: float


class Publisher:
    """Use it as `async with`: leaving it flushes.

    `undelivered` is called with each event that was refused, or that waited for longer than `patience` seconds (None:
    for ever) or until the end of the flush, and why: nothing leaves this class without a word.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        size: int = 1000,
        patience: float | None = None,
        flush: float = 10.0,
        undelivered: Callable[[Event, HubError], None] | None = None,
    ) -> None:
        self.counts = Counts()
        self._hub, self._size, self._patience, self._flush = hub, size, patience, flush
        self._undelivered = undelivered
        self._queue: deque[_Waiting] = deque()
        self._changed, self._stopping = asyncio.Event(), asyncio.Event()
        self._ended = False  # also by a defect: then nobody may wait for it
        self._task: asyncio.Task[None] | None = None

    def put(self, event: Event) -> None:
        """Accept the event for sending, without waiting. Raises QueueFilled, and RuntimeError outside of the `with`."""
        if self._task is None or self._task.done() or self._stopping.is_set():
            raise RuntimeError("the publisher does not run: nobody would send the event")
        if len(self._queue) >= self._size:
            raise QueueFilled(f"{self._size} events wait for the hub already; {type(event).__name__} was not accepted")
        self._queue.append(_Waiting(event, asyncio.get_running_loop().time()))
        self.counts.accepted += 1
        self._changed.set()

    async def wait_put(self, event: Event) -> None:
        """As `put`, but wait for room: for who makes events faster than anybody could take them."""
        while len(self._queue) >= self._size and not self._ended:
            await self._woken()
        self.put(event)

    async def drained(self) -> None:
        """Wait until everything accepted so far has been sent or given up."""
        while self._queue and not self._ended:
            await self._woken()

    @property
    def waiting(self) -> int:
        """How many events are not sent yet."""
        return len(self._queue)

    async def _run(self) -> None:
        try:
            await self._send_all()
        finally:
            self._ended = True
            self._changed.set()

    async def _send_all(self) -> None:
        pause = PAUSE
        while self._queue or not self._stopping.is_set():
            if not self._queue:
                await self._woken()
                continue
            if await self._send(self._next()):
                pause = PAUSE
            else:
                self.counts.retries += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
                if self._stopping.is_set():
                    await asyncio.sleep(PAUSE)  # the last tries come quickly: there is not much time
                pause = min(LONGEST_PAUSE, 2 * pause)
            self._give_up_old()
            self._changed.set()

    async def _woken(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _next(self) -> list[_Waiting]:
        """The oldest event, and the next ones for the same topic."""
        topic = topic_of(self._queue[0].event)
        return list(islice((waiting for waiting in self._queue if topic_of(waiting.event) == topic), BATCH))

    async def _send(self, batch: list[_Waiting]) -> bool:
        """Send them once; what was taken or refused leaves the queue. False when some must be sent again."""
        events = [waiting.event for waiting in batch]
        try:
            taken = await self._hub.publish_batch(topic_of(events[0]), events)
        except HubError as error:
            if error.passing:
                logger.warning("the hub did not take %d events, they are sent again: %s", len(events), error)
                return False
            if len(batch) > 1:  # one of them is wrong, and the hub took none: find out which
                return all([await self._send([waiting]) for waiting in batch])
            self._settle(0, batch)
            self.counts.refused += 1
            self._report(events[0], error)
            return True
        for index in sorted(taken.ids, reverse=True):
            self._settle(index, batch)
        self.counts.published += len(taken.ids)
        return not taken.errors

    def _settle(self, index: int, batch: list[_Waiting]) -> None:
        with suppress(ValueError):  # given up in the meantime
            self._queue.remove(batch[index])

    def _give_up_old(self) -> None:
        if self._patience is None:
            return
        now = asyncio.get_running_loop().time()
        while self._queue and now - self._queue[0].since > self._patience:
            waiting = self._queue.popleft()
            self.counts.given_up += 1
            self._report(waiting.event, HubError("unavailable", f"the hub was away for {self._patience:g} s"))

    def _report(self, event: Event, error: HubError) -> None:
        logger.error("%s %s was not published: %s", event.meta.type, event.meta.id, error)
        if self._undelivered is not None:
            self._undelivered(event, error)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="alt-publisher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what waits, for `flush` seconds at most; the rest is told to `undelivered`."""
        assert self._task is not None
        self._stopping.set()
        self._changed.set()
        done, _ = await asyncio.wait([self._task], timeout=self._flush)
        if not done:
            self._task.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await self._task
        finally:
            self._tell_the_rest()

    def _tell_the_rest(self) -> None:
        while self._queue:
            waiting = self._queue.popleft()
            self.counts.given_up += 1
            self._report(waiting.event, HubError("unavailable", f"not taken within the {self._flush:g} s of the stop"))
