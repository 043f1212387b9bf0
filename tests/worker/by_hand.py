"""A worker that reads nothing by itself: a test brings it what it shall have, in the order and at the age it wants."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from streamtask.broker.keys import GROUP
from streamtask.broker.reader import Entry
from streamtask.worker import Worker
from streamtask.worker.delivery import Delivery
from tests.worker.kit import Lab


async def hold(lab: Lab, worker: Worker, deliveries: int) -> Entry:
    """The next message that waits is the worker's by now, though its answer is still under way."""
    (entry,) = lab.ghost(count=1, name=worker.consumer)
    return again(lab, worker, entry, deliveries)


def again(lab: Lab, worker: Worker, entry: bytes, deliveries: int) -> Entry:
    """The worker has taken its own message once more."""
    command = ("XCLAIM", lab.keys().stream, GROUP, worker.consumer, 0, entry, "RETRYCOUNT", deliveries)
    lab.client.execute_command(*command)
    ((_, fields),) = lab.client.xrange(lab.keys().stream, entry, entry)
    return Entry(entry, [part for pair in fields.items() for part in pair], deliveries)


async def deaf(worker: Worker) -> Callable[[], None]:
    """It reads nothing any more; the test brings it what it shall have. Gives what ends this."""
    demand = worker.executor.demand
    worker.executor.demand = lambda _kinds: 0  # type: ignore[method-assign]
    turns = worker.fetcher._turns
    while worker.fetcher._turns == turns:  # until it has looked for room and found none
        worker.executor.roomy.set()
        await worker.fetcher._reader.unblock()
        await asyncio.sleep(0.01)

    def hears() -> None:
        worker.executor.demand = demand  # type: ignore[method-assign]
        worker.executor.roomy.set()

    return hears


def admit(lab: Lab, worker: Worker, entry: Entry, age: float = 0.0) -> Delivery:
    """The answer arrives, `age` seconds after it was asked for. It may be over when this returns."""
    new: list[Delivery] = []
    take = worker.executor.admit

    def noting(delivery: Delivery) -> None:
        new.append(delivery)
        take(delivery)

    worker.fetcher._gap = lambda: age
    worker.executor.admit = noting  # type: ignore[method-assign]
    worker.fetcher._admit([(lab.keys().stream, [entry])], time.monotonic() - age)
    worker.executor.admit = take  # type: ignore[method-assign]
    return new[0] if new else worker.queues[0].held[entry.id]


def asked_only(worker: Worker) -> list[Delivery]:
    """From here on, who waits for a renewal is only noted."""
    asked: list[Delivery] = []
    worker.executor._refresh = worker._refresh = asked.append  # type: ignore[method-assign]
    return asked
