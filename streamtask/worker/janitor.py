"""Clears away what dead workers left behind and no delivery ends: messages that kill whoever reads them, rows without
an entry, names of consumers that are gone.

Every worker has one, each looks about once a minute at a moment of its own, and all of them may do the same: what they
write is fenced, and done twice it is nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from streamtask.broker.broker import Broker, Hopeless
from streamtask.broker.keys import RELEASED
from streamtask.broker.link import CONNECTION_ERRORS, Arg, ResponseError
from streamtask.broker.publishing import LIMITS
from streamtask.options import TaskOptions
from streamtask.policy import Bury, Failure
from streamtask.task import Task
from streamtask.topic import TopicLimits
from streamtask.worker.clock import RedisClock
from streamtask.worker.delivery import QueueState
from streamtask.worker.queues import announce
from streamtask.worker.report import WARNING, Reporter
from streamtask.worker.verdicts import bury_item, dead_record, epitaph

logger = logging.getLogger("streamtask.worker")

#: Seconds between two looks, and the longest wait for the first one: a message that kills its reader does so soon.
EVERY, FIRST = 60.0, 0.5
#: A message is hopeless when it was delivered so many times as often as `max_deliveries` allows a start.
HOPELESS = 10
#: Seconds after which the name of a consumer that holds nothing and is no living worker is forgotten.
FORGET_AFTER = 3600.0
#: Messages that one call buries, and consumers of one queue that one look forgets.
BURY_AT_ONCE, FORGET_AT_ONCE = 50, 200


class Janitor:
    """The loop of one worker over its queues."""

    def __init__(
        self,
        broker: Broker,
        queues: Sequence[QueueState],
        tasks: Mapping[str, Task[..., Any]],
        clock: RedisClock,
        report: Reporter,
        topics: Mapping[str, TopicLimits] = MappingProxyType({}),
    ) -> None:
        self._broker, self._queues, self._tasks = broker, queues, tasks
        self._clock, self._report, self._topics = clock, report, topics

    async def run(self) -> None:
        """Look until cancelled."""
        await asyncio.sleep(random.random() * FIRST)
        while True:
            for queue in self._queues:
                try:
                    await self.turn(queue)
                except (*CONNECTION_ERRORS, ResponseError) as error:
                    logger.debug("the janitor could not look at %s: %s", queue.name, error)
            await asyncio.sleep(EVERY * (0.75 + random.random() / 2))

    async def turn(self, queue: QueueState) -> None:
        """One look at one queue."""
        if queue.keys.kind == "topic":
            await announce(self._broker, [queue])
            limits = self._topics.get(queue.keys.stream) or LIMITS
            await self._broker.trim(queue.keys.stream, limits.max_length, limits.hard_max_length, limits.overflow)
        await self._sweep(queue)
        await self._forget(queue)

    async def _sweep(self, queue: QueueState) -> None:
        """Page by page. Only rows that nobody has renewed lately: a healthy task may be delivered often, by deploys."""
        start = "-"
        while start:
            start, rows = await self._broker.sweep(queue.keys, self._hopeless(queue), queue.lease * 2 / 3, start)
            for first in range(0, len(rows), BURY_AT_ONCE):
                await self._bury(queue, rows[first : first + BURY_AT_ONCE])

    def _hopeless(self, queue: QueueState) -> int:
        """Deliveries from which a message of this queue is hopeless."""
        tasks: list[Task[Any, Any]] = [task for task in self._tasks.values() if task.queue == queue.name]
        if queue.subscription is not None:
            tasks = list(queue.subscription.all)
        caps = [task.task_options.max_deliveries for task in tasks]
        return HOPELESS * max([TaskOptions().max_deliveries, *caps])

    async def _bury(self, queue: QueueState, rows: list[Hopeless]) -> None:
        extra: list[str] = []
        args: list[Arg] = []
        for row in rows:
            more, item = self._item(queue, row, len(extra))
            extra += more
            args += item
        statuses = await self._broker.bury(queue.keys, extra, args)
        for row, status in zip(rows, statuses, strict=True):
            if status == 1:
                self._tell(queue, row)
            elif isinstance(status, bytes):
                logger.error("%s in %s cannot be buried: %s", row.id.decode(), queue.name, status.decode())

    def _item(self, queue: QueueState, row: Hopeless, extra: int) -> tuple[list[str], list[Arg]]:
        """A row as BURY takes it. The message is not read; its result and lock are known from what SWEEP could tell."""
        stream_id, now = row.id.decode(), self._clock.now()
        message_id = row.message_id or stream_id
        lock = queue.keys.unique(row.task, row.unique) if row.task and row.unique else ""
        if queue.keys.kind == "topic":  # whatever fields of such names others put there
            message_id, lock = stream_id, ""
        task, verdict = self._tasks.get(row.task), _verdict(row)
        record, ttl, result = b"", 0, ""
        if task is None or task.task_options.result:
            facts = {
                "task": row.task or None,
                "attempt": 0,
                "deliveries": row.deliveries,
                "worker": self._broker.consumer,
                "sent_at": int(stream_id.partition("-")[0]),
                "started_at": 0,
                "finished_at": now,
            }
            record, ttl = dead_record(facts, verdict)
            result = queue.keys.result(message_id)
        told = epitaph(queue.keys.group, stream_id, message_id, verdict, row.deliveries, 0, now)
        return bury_item((row.id, row.owner, row.deliveries, message_id), lock, result, record, ttl, told, extra)

    def _tell(self, queue: QueueState, row: Hopeless) -> None:
        failure = _verdict(row).failure
        self._report.event(
            "task.dead",
            WARNING,
            "dead",
            task=row.task or None,
            id=row.message_id or row.id.decode(),
            queue=queue.name,
            deliveries=row.deliveries,
            stream_id=row.id.decode(),
            reason="poison",
            error_type=failure.type,
            error=failure.message,
        )

    async def _forget(self, queue: QueueState) -> None:
        consumers = await self._broker.consumers(queue.keys)
        old = [one.name for one in consumers if one.inactive > FORGET_AFTER and one.name != self._broker.consumer]
        old = old[:FORGET_AT_ONCE]
        living = await self._broker.present([name for name in old if name != RELEASED])
        await self._broker.forget(queue.keys, [name for name in old if name not in living])


def _verdict(row: Hopeless) -> Bury:
    text = f"it was delivered {row.deliveries} times and never ended; it was not read again"
    return Bury("poison", Failure("WorkerDied", text))
