"""Being one of the workers: a name, a presence that others can see, and the lease that all of them share."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from pydantic_core import to_json

from streamtask._version import __version__
from streamtask.broker.broker import Broker
from streamtask.broker.keys import QueueKeys, worker
from streamtask.broker.link import Arg, OutOfMemoryError, ResponseError, group_is_gone
from streamtask.worker.delivery import QueueState
from streamtask.worker.queues import announce, find_place
from streamtask.worker.report import WARNING, Reporter

#: Seconds for which a worker that starts is seen by others, until its lease thread shows it.
JOINING = 15.0
#: Seconds after which a full Redis is asked again for a group.
FULL_AGAIN = 1.0


def consumer_name(name: str | None = None) -> str:
    """A name that no other process life has: `host:pid/4 hex digits`."""
    return f"{name or socket.gethostname()}:{os.getpid()}/{random.SystemRandom().randrange(16**4):04x}"


def presence(consumer: str, kind: str, started_at: int, **facts: Any) -> str:
    """What a worker or beat leaves in Redis, with a TTL, for `streamtask inspect`; `started_at` in ms of Redis time."""
    who = {"consumer": consumer, "host": socket.gethostname(), "pid": os.getpid(), "kind": kind}
    return to_json({**who, "started_at": started_at, "version": __version__, **facts}).decode()


async def join(
    broker: Broker,
    queues: Sequence[QueueState],
    asked: float,
    here: str,
    report: Reporter,
    stopping: asyncio.Event,
) -> float:
    """Make the queues' groups and agree on their leases; what is lost in between (FLUSHALL, DEL) is made again."""
    while True:
        made = await _declare(broker, queues, report, stopping)
        try:
            for queue in queues:
                if queue.keys.kind == "topic":
                    await find_place(broker, queue, queue.keys in made, report)
            await announce(broker, queues)
            return await _agree(broker, queues, asked, here, report)
        except ResponseError as error:
            if not group_is_gone(error):
                raise


async def _declare(
    broker: Broker, queues: Sequence[QueueState], report: Reporter, stopping: asyncio.Event
) -> list[QueueKeys]:
    """Make what is missing. A full Redis makes no group: then wait until it has room, or until `stopping`."""
    told = False
    while True:
        try:
            return await broker.declare([(queue.name, queue.keys, queue.begin) for queue in queues])
        except OutOfMemoryError as error:
            if stopping.is_set():
                raise
            if not told:
                text = f"redis is full and makes no consumer group; trying again until it has room: {error}"
                report.event("redis.lost", WARNING, text)
            told = True
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), FULL_AGAIN)


async def _agree(broker: Broker, queues: Sequence[QueueState], asked: float, here: str, report: Reporter) -> float:
    """Learn each queue's lease (seconds); gives the shortest one, by which this worker renews.

    It belongs to the queue: one worker's short lease would take another's healthy tasks. What was asked for replaces
    the stored one only where nobody holds anything, and no other worker lives that soon may. `here` is this worker's
    presence: it is shown before the question, so that of two workers that ask at once the second one finds the first.
    """
    key = worker(broker.namespace, broker.consumer)
    with suppress(ResponseError):  # a full Redis refuses; then the messages that are held speak for who holds them
        await broker.call("SET", key, here, "PX", int(max(asked * 3, JOINING) * 1000))
    for queue in queues:
        queue.lease = await broker.agree(queue.keys, asked)
        if round(queue.lease * 1000) != round(asked * 1000):
            text = f"the lease of {queue.name} is {queue.lease:g} s, as its other workers have it, not {asked:g} s"
            report.event("worker.lease", WARNING, text, queue=queue.name)
    return min((queue.lease for queue in queues), default=asked)


async def give_back_unknown(broker: Broker, queues: Sequence[QueueState], left: Collection[bytes]) -> int:
    """At a stop: rows under this worker's name that it knows nothing of (a read's answer was lost) go back as never
    started, but for those `left` to their leases. Gives how many.
    """
    found = 0
    for queue in queues:
        unknown = [
            (id, count) for id, count in await broker.held(queue.keys) if id not in queue.held and id not in left
        ]
        items: list[Arg] = [arg for id, count in unknown for arg in (id, count, "0", id, "0")]
        for reply in await broker.settle([broker.release_call(queue.keys, items)] if items else []):
            found += 0 if isinstance(reply, Exception) else reply
    return found
