"""Being one of the workers: a name, a presence that others can see, and the lease that all of them share."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pydantic_core import to_json

from streamtask._version import __version__
from streamtask.broker.broker import Broker
from streamtask.broker.keys import GROUP, worker
from streamtask.broker.link import ResponseError
from streamtask.worker.delivery import QueueState
from streamtask.worker.report import WARNING, Reporter


def consumer_name(name: str | None = None) -> str:
    """A name that no other process life has: `host:pid/4 hex digits`."""
    return f"{name or socket.gethostname()}:{os.getpid()}/{random.SystemRandom().randrange(16**4):04x}"


def presence(consumer: str, kind: str, started_at: int, **facts: Any) -> str:
    """What a worker or beat leaves in Redis, with a TTL, for `streamtask inspect`; `started_at` in ms of Redis time."""
    who = {"consumer": consumer, "host": socket.gethostname(), "pid": os.getpid(), "kind": kind}
    return to_json({**who, "started_at": started_at, "version": __version__, **facts}).decode()


async def agree_on_lease(broker: Broker, queues: Sequence[QueueState], asked: float, report: Reporter) -> float:
    """The lease (seconds) that this worker must use for its queues.

    It belongs to the queue: one worker's short lease would take another's healthy tasks. What was asked for replaces
    the stored one only where nobody holds anything, and no other worker lives that soon may.
    """
    milliseconds = int(asked * 1000)
    stored = []
    for queue in queues:
        with suppress(ResponseError):  # a full Redis refuses it
            # Redis before 7.2 lists a consumer only once it got something; the others must see who waits, too.
            await broker.call("XGROUP", "CREATECONSUMER", queue.keys.stream, GROUP, broker.consumer)
        agreed_on = await broker.call("HGET", queue.keys.conf, "lease")
        if agreed_on != str(milliseconds).encode():  # no write without need: a full Redis refuses it
            await broker.call("HSETNX", queue.keys.conf, "lease", milliseconds)
            if not await _in_use(broker, queue):
                await broker.call("HSET", queue.keys.conf, "lease", milliseconds)
            agreed_on = await broker.call("HGET", queue.keys.conf, "lease")
        stored.append(int(agreed_on))
    agreed = max(stored, default=milliseconds)
    if agreed != milliseconds:
        text = f"the lease is {agreed / 1000:g} s, as the queue's other workers have it, not {asked:g} s"
        report.event("worker.lease", WARNING, text)
    return agreed / 1000


async def _in_use(broker: Broker, queue: QueueState) -> bool:
    """Does somebody hold messages of this queue, or is there another worker that reads it?"""
    if (await broker.call("XPENDING", queue.keys.stream, GROUP))[0]:
        return True
    consumers = [row[1].decode() for row in await broker.call("XINFO", "CONSUMERS", queue.keys.stream, GROUP)]
    others = [worker(broker.namespace, name) for name in consumers if name != broker.consumer]
    return bool(others) and bool(await broker.call("EXISTS", *others))
