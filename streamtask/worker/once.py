"""once="event_id": before a handler starts, has the same event been handled by another entry, or is it being handled?

Publishers that must not lose an event publish it again when they are in doubt, so it comes twice, as two entries with
one event id. The first to start takes a lock with its own message id as the value; a success turns it into "done", and
a dead letter deletes it. Who finds the lock taken waits; who finds it done is done too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from streamtask.broker.broker import Broker
from streamtask.broker.link import CONNECTION_ERRORS, ResponseError
from streamtask.outcome import RETURNED
from streamtask.policy import Outcome, Raised
from streamtask.steering import Snooze
from streamtask.subscription import ONCE_TTL
from streamtask.worker.clock import RedisClock
from streamtask.worker.delivery import Delivery, State

#: Seconds until a question that Redis did not answer is asked again, and for which a duplicate waits for the first one.
AGAIN, WAIT = 0.5, 1.0
#: Milliseconds for which a lock lives, open or shut.
TTL = int(ONCE_TTL * 1000)
#: Deliveries that are asked about at once.
AT_ONCE = 200


class Once:
    """Asks in batches. `ask(deliveries)` gives for each "", "done" or the holder's message id, see once.lua; `go` lets
    a delivery start, `end` gives one its outcome without a start.
    """

    def __init__(
        self,
        ask: Callable[[list[Delivery]], Awaitable[list[str]]],
        clock: RedisClock,
        go: Callable[[Delivery], None],
        end: Callable[[Delivery, Outcome], None],
    ) -> None:
        self._ask, self._clock, self._go, self._end = ask, clock, go, end
        self._waiting: deque[Delivery] = deque()
        self._asking: asyncio.Task[None] | None = None

    def add(self, delivery: Delivery) -> None:
        """Ask about one; `go` or `end` follows, unless it is lost or given back meanwhile. It is not read for that: it
        may be one that kills who reads it.
        """
        self._waiting.append(delivery)
        if self._asking is None:
            self._begin()

    def _begin(self) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._serve())
        self._asking.add_done_callback(self._served)

    def close(self) -> None:
        """Ask no more."""
        self._waiting.clear()
        if self._asking is not None:
            self._asking.cancel()

    def _served(self, asking: asyncio.Task[None]) -> None:
        self._asking = None
        if asking.cancelled():
            return
        if self._waiting:  # it came after the last look, and before this call
            self._begin()
        asking.result()  # a defect of ours: the loop's exception handler shows it

    async def _serve(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE))]
            for delivery, said in zip(batch, await self._asked(batch), strict=True):
                if delivery.state is not State.BUFFERED:
                    continue  # lost, or given back
                if said == "":
                    self._go(delivery)
                elif said == "done":
                    self._end(delivery, RETURNED)
                else:
                    snooze = Raised(Snooze(WAIT, reason=f"the same event is handled as {said}"))
                    self._end(delivery, delivery.read(self._clock) or snooze)

    async def _asked(self, batch: list[Delivery]) -> list[str]:
        while True:
            try:
                return await self._ask(batch)
            except (*CONNECTION_ERRORS, ResponseError):  # a full Redis takes no lock; it will again
                await asyncio.sleep(AGAIN)


async def ask_once(broker: Broker, deliveries: list[Delivery]) -> list[str]:
    """ONCE for deliveries of any queues. A lock whose holder has ended without opening it, as after a lost server, is
    taken over.
    """
    answers: dict[int, str] = {}
    for queue in {id(d.queue): d.queue for d in deliveries}.values():
        mine = [d for d in deliveries if d.queue is queue]
        assert queue.subscription is not None, "only events are handled once"
        topic = queue.subscription.topic
        said = await broker.once(queue.keys, [(d.event_id, d.message_id, False) for d in mine], TTL)
        for delivery, answer in zip(mine, said, strict=True):
            answers[id(delivery)] = answer
            if answer not in ("", "done") and await broker.is_over(topic, queue.keys, answer):
                (again,) = await broker.once(queue.keys, [(delivery.event_id, delivery.message_id, True)], TTL)
                answers[id(delivery)] = again
    return [answers[id(delivery)] for delivery in deliveries]
