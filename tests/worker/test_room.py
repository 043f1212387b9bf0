"""A queue whose slots were busy is read again as soon as one is free, however idle its neighbours are."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from streamtask.broker.link import ResponseError
from streamtask.broker.reader import PartlyRead
from tests.support import aeventually
from tests.worker.kit import Lab, two_servers
from tests.worker.test_waiting import deaf, hold

pytestmark = two_servers


async def test_an_idle_queue_does_not_hold_up_a_busy_one(lab: Lab) -> None:
    """The read that waits names only queues with room; it must end when another has room, long before it times out."""
    ran: list[int] = []
    hold = threading.Event()

    def slow(i: int) -> None:
        hold.wait(0.02)
        ran.append(i)

    async def idle() -> None: ...

    busy = lab.task(slow, queue="busy", result=False)
    lab.task(idle, queue="idle")
    busy.delay_many(busy.s(i) for i in range(40))
    async with lab.worker(threads=1, prefetch=0.0):
        # A read that waits in Redis lasts for seconds; if each slot had to wait for its end, this would take a minute.
        await aeventually(lambda: len(ran) == 40, timeout=20)
        await lab.empty("busy")


async def test_what_was_read_does_not_wait_for_a_silent_connection(lab: Lab) -> None:
    """To end a read that waits, the worker asks over another connection. When that one is silent for seconds, what the
    read brings must be started all the same: until then nobody renews it, and another worker may take it.
    """
    ran: list[int] = []
    hold = threading.Event()

    def slow() -> None:
        hold.wait(20)

    async def quick(i: int) -> None:
        ran.append(i)

    busy, free = lab.task(slow, queue="busy"), lab.task(quick, queue="free", result=False)
    busy.delay()
    async with lab.worker(threads=1, prefetch=0.0) as worker:
        await aeventually(lambda: worker.executor.running["thread"] == 1 and worker.fetcher.waits)
        async with worker.broker._control._lock:  # as if its last command were never answered
            hold.set()  # the busy queue has room again: the read that does not name it must end
            await aeventually(lambda: worker.executor.running["thread"] == 0)
            free.delay(1)
            await aeventually(lambda: ran == [1], timeout=2)
        await lab.empty("busy", "free")


async def test_a_worker_with_a_waiting_read_stops_at_once(lab: Lab) -> None:
    """A stop ends the read in Redis instead of waiting for it."""

    async def idle() -> None: ...

    lab.task(idle)
    async with lab.worker() as worker:
        await aeventually(lambda: worker.fetcher.waits)
        await worker.fetcher.stop()
        await aeventually(lambda: not worker.fetcher.waits, timeout=0.9)


async def test_what_one_queue_gave_is_run_although_another_one_is_refused(lab: Lab) -> None:
    """Several queues are read side by side; the group of one is gone, and the other's messages are ours by then."""
    ran: list[int] = []

    async def good(i: int) -> None:
        ran.append(i)

    async def idle() -> None: ...

    task = lab.task(good, queue="good", result=False)
    lab.task(idle, queue="broken")
    async with lab.worker(prefetch=0.0, concurrency=4, lease=30.0) as worker:
        lab.client.xgroup_destroy(lab.keys("broken").stream, "workers")
        found = len(ran)
        while not any(broken["name"] == b"workers" for broken in lab.client.xinfo_groups(lab.keys("broken").stream)):
            task.delay_many(task.s(i) for i in range(50))
            found += 50
            await aeventually(lambda found=found: len(ran) == found, timeout=20)  # type: ignore[misc]
        await lab.empty("good")
        assert worker.lease == 30.0  # so nothing came back by the end of a lease


async def test_what_is_read_beside_a_refusal_is_run(lab: Lab) -> None:
    """The same for one answer of both kinds, whoever is quicker."""
    ran: list[int] = []

    async def good(i: int) -> None:
        ran.append(i)

    task = lab.task(good, result=False)
    async with lab.worker(lease=30.0) as worker:
        await deaf(worker)
        await task.adelay(1)
        entry = await hold(lab, worker, 1)
        look = worker.fetcher._look

        async def partly() -> bool:
            worker.fetcher._look = look  # type: ignore[method-assign]
            raise PartlyRead([(lab.keys().stream, [entry])], ResponseError("NOGROUP"))

        worker.fetcher._look = partly  # type: ignore[method-assign]
        with pytest.raises(ResponseError, match="NOGROUP"):
            await worker.fetcher._turn()
        await lab.empty()
    assert ran == [1]


async def test_with_one_slot_busy_queues_take_turns(lab: Lab) -> None:
    order: list[str] = []

    async def work(queue: str) -> None:
        order.append(queue)

    tasks = {queue: lab.task(work, name=queue, queue=queue, result=False) for queue in "abc"}
    for queue, task in tasks.items():
        await task.adelay_many((queue,) for _ in range(40))
    async with lab.worker(concurrency=1, prefetch=0):
        await lab.empty(*"abc")
    # Not only at the first read, which names all three: none waits until another one is worked off.
    assert all(order[:30].count(queue) >= 8 for queue in "abc"), order


async def test_no_more_is_read_than_there_is_room_for(lab: Lab) -> None:
    gate = threading.Event()

    def work(n: int) -> None:
        gate.wait(30)

    task = lab.task(work, result=False)
    await task.adelay_many((n,) for n in range(50))
    async with lab.worker(threads=3, concurrency=100) as worker:
        await aeventually(lambda: worker.executor.running["thread"] == 3)
        assert len(lab.pending()) == 3
        gate.set()
        await lab.empty()


async def test_room_that_is_taken_while_it_looks_for_old_messages(lab: Lab) -> None:
    """What waited for its renewal may start during that look; then there is nothing to ask for."""
    ran: list[int] = []

    async def quick(i: int) -> None:
        ran.append(i)

    one = lab.task(quick, queue="one", result=False)
    lab.task(quick, queue="two", name="other")
    async with lab.worker(concurrency=1, prefetch=0.0) as worker:
        fetcher, executor, looks = worker.fetcher, worker.executor, 0
        take = fetcher._take

        def leave() -> None:
            executor.running["coroutine"] -= 1
            executor.roomy.set()

        async def taken(wants: Any) -> bool:
            nonlocal looks
            looks += 1
            fetcher._take = take
            executor.running["coroutine"] += 1
            fetcher._flowing = {lab.keys("one").stream}
            asyncio.get_running_loop().call_later(0.05, leave)
            return False

        fetcher._take = taken
        one.delay(1)
        await aeventually(lambda: looks == 1 and ran == [1])
        one.delay(2)
        await aeventually(lambda: ran == [1, 2])
        await lab.empty("one", "two")
