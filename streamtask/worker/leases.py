"""Keeps what this worker holds: a thread of its own with a connection of its own renews it, so that a task that blocks
the event loop keeps its lease.

The loop owns the tables. The thread takes a copy, asks Redis, writes back when each delivery was confirmed, and posts
losses to the loop. Short tasks never cost a renewal: only what was confirmed more than a sixth of a lease ago is asked
about. With a turn every third of a lease nothing that is ours is ever idle for more than half of one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from streamtask.broker import keys as names
from streamtask.broker.link import (
    CONNECTION_ERRORS,
    READ_TIMEOUT,
    OutOfMemoryError,
    ResponseError,
    SyncLink,
    passing,
)
from streamtask.broker.scripts import RENEW
from streamtask.worker.clock import RedisClock
from streamtask.worker.contact import Contact
from streamtask.worker.delivery import Delivery, QueueState

logger = logging.getLogger("streamtask.worker")

#: Ids in one RENEW.
IDS = 200


class Leases:
    """`lost(delivery, count, gone)` is called on the loop for what another worker has taken, or what is gone from the
    stream; `fresh(delivery)` for what waited for a renewal and is ours. Times in seconds.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        consumer: str,
        queues: Sequence[QueueState],
        *,
        contact: Contact,
        clock: RedisClock,
        presence: Callable[[], str],
        lost: Callable[[Delivery, int, bool], None],
        fresh: Callable[[Delivery], None],
    ) -> None:
        self._link = SyncLink(url, timeout=min(READ_TIMEOUT, contact.lease / 3), name=consumer)
        self._queues, self._contact, self._clock = queues, contact, clock
        self._consumer, self._presence_key, self._presence = consumer, names.worker(namespace, consumer), presence
        self._lost, self._fresh = lost, fresh
        self._waiting: deque[Delivery] = deque()  # the loop appends, the thread pops
        self._asked: deque[Future[bool]] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="streamtask-leases", daemon=True)
        self._loop = asyncio.get_running_loop()
        self.last_good = time.monotonic()

    @property
    def period(self) -> float:
        """Seconds between two turns."""
        return min(self._contact.lease / 3, 5.0)

    def silent(self) -> bool:
        """Has nothing been renewed for half a lease (the thread is dead, hangs, or cannot reach Redis)? Then nothing
        may start, for it could not be kept.
        """
        return time.monotonic() - self.last_good > self._contact.lease / 2

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def refresh(self, delivery: Delivery) -> None:
        """Renew now; `fresh` or `lost` follows for this delivery. Called on the loop."""
        self._waiting.append(delivery)
        self._wake.set()

    async def renew_all(self) -> bool:
        """Renew everything now; True when Redis answered."""
        if not self._thread.is_alive():
            return False
        asked: Future[bool] = Future()
        self._asked.append(asked)
        self._wake.set()
        return await asyncio.wrap_future(asked)

    async def stop(self) -> None:
        """End the thread and take back the presence."""
        self._stopping = True
        self._wake.set()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join, READ_TIMEOUT)
        self._link.close()

    def _run(self) -> None:
        while not self._stopping:
            asked = [self._asked.popleft() for _ in range(len(self._asked))]
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            try:
                self._turn(everything=bool(asked), waiting=waiting)
                good = True
            except (*CONNECTION_ERRORS, ResponseError) as error:
                logger.debug("renewal failed: %s", error)
                good = False
                self._waiting.extend(waiting)
            except Exception:
                logger.exception("the lease thread met an unexpected error and goes on")
                good = False
                self._waiting.extend(waiting)
            for future in asked:
                if not future.cancelled():
                    future.set_result(good)
            self._wake.wait(self.period if good else min(1.0, self.period))
            self._wake.clear()
        self._leave()

    def _turn(self, everything: bool, waiting: list[Delivery]) -> None:
        sent_at = time.monotonic()
        limit = sent_at if everything else sent_at - self.period / 2
        urgent = {id(delivery) for delivery in waiting}
        for queue in self._queues:
            # The tuple is made in one step under the interpreter lock, so the loop cannot change the table in between.
            # What is on its way back is not renewed: its second RELEASE takes a row that is younger than the first for
            # a new delivery, and leaves it alone.
            held = [d for d in tuple(queue.held.values()) if not d.released_ms]
            due = [d for d in held if d.confirmed_at < limit or id(d) in urgent]
            for start in range(0, len(due), IDS):
                self._renew(queue, [(d, d.count) for d in due[start : start + IDS]], urgent)
        try:
            self._link.call("SET", self._presence_key, self._presence(), "PX", int(self._contact.lease * 3000))
        except ResponseError as error:
            # A full Redis refuses to be told who works, and a right may be missing: it renews all the same. One that
            # refuses all writes for a while renews nobody, so it must count as silent, also for who holds nothing.
            if passing(error) and not isinstance(error, OutOfMemoryError):
                raise
        self._contact.heard(sent_at)
        self.last_good = sent_at

    def _renew(self, queue: QueueState, tokens: list[tuple[Delivery, int]], urgent: set[int]) -> None:
        args = [arg for delivery, count in tokens for arg in (delivery.id, count)]
        sent_at = time.monotonic()
        try:
            now, *statuses = self._link.run(RENEW, [queue.keys.stream], (queue.keys.group, self._consumer, *args))
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            statuses, now = [-1] * len(tokens), None  # the stream is gone: FLUSHALL, DEL or a failover
        if now is not None:
            self._clock.saw(now)
        for (delivery, count), status in zip(tokens, statuses, strict=True):
            if status == 1:
                delivery.confirmed_at = max(delivery.confirmed_at, sent_at)
                if id(delivery) in urgent:
                    self._post(self._fresh, delivery)
            else:
                self._post(self._lost, delivery, count, status == -1)

    def _post(self, call: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            self._stopping = True

    def _leave(self) -> None:
        try:
            self._link.call("DEL", self._presence_key)
        except (*CONNECTION_ERRORS, ResponseError):
            pass  # it has a TTL
