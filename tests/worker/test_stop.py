"""The stop of a worker: what runs may end, what has not started goes back as if nobody had touched it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

import pytest

from streamtask import current
from streamtask.broker.link import Link
from streamtask.policy import TimedOut
from streamtask.worker import FORCED, GAVE_BACK, OK, Worker, WorkerOptions
from streamtask.worker.delivery import Delivery
from tests.support import aeventually
from tests.worker.kit import Lab, ended


def start(lab: Lab, **options: object) -> tuple[Worker, asyncio.Task[int]]:
    """A worker and its run, to be stopped by the test."""
    worker = Worker(lab.app, WorkerOptions(**({"lease": 3.0} | options)), lab.events)  # type: ignore[arg-type]
    return worker, asyncio.create_task(worker.run())


async def test_what_runs_may_end_and_what_is_buffered_goes_back_uncounted(lab: Lab) -> None:
    gate = asyncio.Event()
    starts: dict[int, int] = {}

    async def work(n: int) -> None:
        starts[n] = current().deliveries
        if n >= 0:
            await gate.wait()

    task = lab.task(work, result=False)
    worker, running = start(lab, concurrency=2)
    await task.adelay_many((n - 2000,) for n in range(2000))  # the rate that makes it read ahead
    await aeventually(lambda: len(starts) == 2000)
    await lab.empty()
    await task.adelay_many((n,) for n in range(20))
    await aeventually(lambda: len(starts) == 2002)
    assert len(lab.pending()) > 2, "nothing was read ahead"
    worker.stop()
    await aeventually(lambda: Counter(owner for _, owner, _ in lab.pending()).get(worker.consumer) == 2)
    assert {count for _, owner, count in lab.pending() if owner != worker.consumer} <= {0}
    gate.set()
    assert await ended(running) == OK
    assert len(lab.events.done_ids) == 2002
    assert await lab.burst() == OK
    assert set(starts.values()) == {1}
    await lab.empty()


@pytest.mark.parametrize("forced", [False, True])
async def test_a_coroutine_is_given_back_when_the_grace_is_over_or_at_the_second_signal(lab: Lab, forced: bool) -> None:
    cleaned: list[int] = []
    starts: list[int] = []

    async def work() -> str:
        starts.append(current().deliveries)
        try:
            if current().deliveries == 1:
                await asyncio.Event().wait()
            return "the second one"
        finally:
            cleaned.append(current().deliveries)

    result = await lab.task(work).adelay()
    worker, running = start(lab, grace=60 if forced else 0.1)
    await aeventually(lambda: starts)
    worker.stop()
    if forced:
        await aeventually(lambda: lab.events.named("worker.draining"))
        worker.stop_now()
    assert await ended(running) == (FORCED if forced else GAVE_BACK)
    assert cleaned == [1]
    assert [(owner, count) for _, owner, count in lab.pending()] == [("released", 1)]
    assert await lab.burst() == OK  # at once, not after a lease
    assert await result.aget(10) == "the second one"
    assert starts == [1, 2]
    await lab.empty()


async def test_a_thread_that_listens_is_given_back_and_one_that_does_not_is_left(lab: Lab) -> None:
    ends = threading.Event()
    starts: Counter[str] = Counter()

    def work(polite: bool) -> str:
        starts[f"polite {polite}"] += 1
        while current().deliveries == 1 and not ends.is_set():
            if polite:
                current().raise_if_cancelled()
            time.sleep(0.001)
        return "done"

    task = lab.task(work)
    results = [await task.adelay(True), await task.adelay(False)]
    worker, running = start(lab, grace=0.1, lease=0.6)
    await aeventually(lambda: starts.total() == 2)
    worker.stop()
    assert await ended(running) == GAVE_BACK
    async with lab.worker(lease=0.6):
        assert [await result.aget(10) for result in results] == ["done", "done"]
    ends.set()
    assert starts == {"polite True": 2, "polite False": 2}
    await lab.empty()


async def test_at_most_once_is_kept_at_a_stop(lab: Lab) -> None:
    starts: list[int] = []

    async def once() -> None:
        starts.append(1)
        await asyncio.Event().wait()

    await lab.task(once, idempotent=False).adelay()
    worker, running = start(lab, grace=0.1)
    await aeventually(lambda: starts)
    worker.stop()
    await ended(running)
    await lab.empty()
    assert starts == [1]
    assert [dead[b"dead_reason"] for dead in lab.dead()] == [b"interrupted"]


@pytest.mark.parametrize("idempotent", [True, False])
async def test_rolling_restarts_start_everything_once(lab: Lab, idempotent: bool) -> None:
    starts: Counter[int] = Counter()
    deliveries: Counter[int] = Counter()

    async def work(n: int) -> None:
        starts[n] += 1
        deliveries[current().deliveries] += 1
        await asyncio.sleep(0.003)

    task = lab.task(work, result=False, idempotent=idempotent)
    await task.adelay_many((n,) for n in range(1500))
    stops = 0
    async with lab.worker(concurrency=5):
        while len(lab.events.done_ids) < 1500:
            async with lab.worker(concurrency=5):
                seen = len(lab.events.done_ids)
                await aeventually(lambda seen=seen: len(lab.events.done_ids) > seen + 100 or lab.left() == 0)
            stops += 1
        await lab.empty()
    assert stops > 3
    assert starts == dict.fromkeys(range(1500), 1)
    assert deliveries == {1: 1500}
    assert lab.dead() == []


async def test_what_was_delivered_in_an_answer_that_got_lost_goes_back_uncounted(lab: Lab) -> None:
    gate = asyncio.Event()
    deliveries: list[int] = []

    async def work() -> None:
        deliveries.append(current().deliveries)
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(concurrency=1, lease=60) as worker:
        await task.adelay()
        await aeventually(lambda: deliveries == [1])
        await task.adelay_many(() for _ in range(3))
        assert len(lab.ghost(name=worker.consumer)) == 3  # Redis delivered them; the worker never saw them
        gate.set()
        await aeventually(lambda: len(lab.events.done_ids) == 1)
    assert [(owner, count) for _, owner, count in lab.pending()] == [("released", 0)] * 3
    assert await lab.burst() == OK
    assert deliveries == [1] * 4
    await lab.empty()


async def test_a_worker_that_left_is_forgotten(lab: Lab) -> None:
    async def work() -> None: ...

    task = lab.task(work, result=False)
    async with lab.worker() as worker:
        await task.adelay()
        await lab.empty()
        assert worker.consumer.encode() in [
            row["name"] for row in lab.client.xinfo_consumers(lab.keys().stream, "workers")
        ]
        assert await aeventually(lambda: lab.client.exists(f"lab:worker:{worker.consumer}"))
    assert lab.client.xinfo_consumers(lab.keys().stream, "workers") == []
    assert list(lab.client.scan_iter("lab:worker:*")) == []


async def test_a_stop_before_anything_happened(lab: Lab) -> None:
    async def work() -> None: ...

    lab.task(work)
    for _ in range(5):
        worker, running = start(lab)
        worker.stop()
        assert await ended(running) == OK


async def test_a_link_loses_no_cancellation(lab: Lab) -> None:
    """A loop of the worker that is told to end must end, in whatever moment of a command that comes."""
    link = Link(lab.url)

    async def forever() -> None:
        while True:
            assert await link.batch([("ECHO", "a"), ("ECHO", "b")]) == [b"a", b"b"]

    for turns in range(150):
        loop = asyncio.create_task(forever())
        for _ in range(turns % 30):
            await asyncio.sleep(0)
        loop.cancel()
        done, _ = await asyncio.wait({loop}, timeout=5)
        assert done
        assert loop.cancelled()
        assert await link.call("ECHO", f"after {turns}") == f"after {turns}".encode()
    await link.close()


async def test_an_attempt_that_is_stopped_before_its_first_step_gives_its_slot_back(lab: Lab) -> None:
    """A coroutine that is cancelled before it began would never say that it ended."""

    async def nap() -> None:
        await asyncio.Event().wait()

    task = lab.task(nap, result=False)
    async with lab.worker(grace=0.1) as worker:
        place = worker.executor.start

        def started_and_stopped(delivery: Delivery) -> None:
            place(delivery)
            worker.executor.stop(delivery, TimedOut(0.0))

        worker.executor.start = started_and_stopped  # type: ignore[method-assign]
        task.delay()
        await aeventually(lambda: lab.events.named("task.retry"))
        assert worker.executor.running["coroutine"] == 0


async def test_what_runs_at_a_stop_keeps_its_lease(lab: Lab) -> None:
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()

    await lab.task(work, result=False).adelay()
    worker, running = start(lab, lease=0.6, grace=60)
    await aeventually(lambda: lab.events.named("worker.ready") and worker._running())
    (delivery,) = worker._running()
    worker.stop()
    await aeventually(lambda: lab.events.named("worker.draining"))
    for _ in range(3):
        before = delivery.confirmed_at
        await aeventually(lambda before=before: delivery.confirmed_at > before, timeout=5)  # type: ignore[misc]
    gate.set()
    assert await ended(running) == OK
    await lab.empty()


async def test_a_thread_that_runs_on_at_the_end_is_left_to_its_lease(lab: Lab) -> None:
    """It would run twice at once if its message went back at once."""
    ends = threading.Event()
    starts: list[int] = []

    def work() -> None:
        starts.append(1)
        ends.wait(30)

    await lab.task(work, result=False).adelay()
    worker, running = start(lab, grace=0.05, lease=60)
    await aeventually(lambda: starts)
    worker.stop()
    assert await ended(running) == GAVE_BACK
    assert [(owner, count) for _, owner, count in lab.pending()] == [(worker.consumer, 1)]
    ends.set()
