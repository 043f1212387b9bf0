"""Leases: a living worker keeps its tasks however long they take, a dead one's move, a late finisher is not heard."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from streamtask import current
from streamtask.broker.keys import GROUP
from streamtask.broker.link import Command
from streamtask.broker.reader import Entry
from streamtask.worker import Worker, WorkerOptions
from streamtask.worker.leases import Leases
from tests.servers import StartServer
from tests.support import aeventually
from tests.worker.conftest import MakeLab
from tests.worker.kit import Lab, one_server

LEASE = 0.6


async def test_a_task_longer_than_the_lease_runs_once(lab: Lab) -> None:
    starts: list[tuple[str, int]] = []

    async def coroutine() -> None:
        starts.append(("coroutine", current().deliveries))
        await asyncio.sleep(2.5 * LEASE)

    def thread() -> None:
        starts.append(("thread", current().deliveries))
        time.sleep(2.5 * LEASE)

    async def blocking() -> None:
        starts.append(("blocking", current().deliveries))
        time.sleep(2.5 * LEASE)  # the whole event loop stands still; the lease thread does not

    tasks = [lab.task(fn, result=False) for fn in (coroutine, thread, blocking)]
    async with lab.thread_worker(lease=LEASE), lab.thread_worker(lease=LEASE):
        for task in tasks:
            await task.adelay()
        await lab.empty()
    assert len(lab.events.done_ids) == 3
    assert sorted(starts) == [("blocking", 1), ("coroutine", 1), ("thread", 1)]
    assert lab.events.named("task.lease_lost") == []


async def test_many_long_tasks_and_a_blocked_loop_run_once(lab: Lab) -> None:
    """What is buffered and what is read while the loop stands still is renewed or checked before it starts."""
    starts: list[int] = []

    async def work(n: int) -> None:
        starts.append(n)
        if n % 50 == 0:
            time.sleep(1.5 * LEASE)
        await asyncio.sleep(0.01)

    task = lab.task(work, result=False)
    async with lab.thread_worker(lease=LEASE, concurrency=20), lab.thread_worker(lease=LEASE, concurrency=20):
        await task.adelay_many((n,) for n in range(200))
        await lab.empty()
    assert sorted(starts) == list(range(200))


async def test_a_dead_workers_messages_move_within_a_lease_on_an_idle_stream(lab: Lab) -> None:
    """How late they may be is printed, and asserted only by a bound that a slow machine keeps."""
    moved: dict[int, tuple[float, int]] = {}

    async def note(n: int) -> None:
        moved[n] = (time.monotonic(), current().deliveries)

    task = lab.task(note, result=False)
    async with lab.worker(lease=1.0) as worker:
        await worker.fetcher.stop()  # so that the ghost gets them
        await task.adelay_many((n,) for n in range(3))
        lab.ghost()
        died = time.monotonic()
        async with lab.worker(lease=1.0) as heir:
            await lab.empty()
    late = max(at for at, _ in moved.values()) - died - heir.lease
    native = heir.broker.native
    bound = 1.0 if native else max(1.0, heir.lease / 4)
    how = "native" if native else "fallback"
    print(f"\ntakeover {late:+.3f} s after the lease of {heir.lease:g} s ({how}, bound {bound:g} s)")
    assert [deliveries for _, deliveries in moved.values()] == [2, 2, 2]
    assert min(at for at, _ in moved.values()) - died >= heir.lease - 0.05
    assert late < bound + 3


async def test_a_lost_lease_cancels_the_coroutine_and_its_verdict_is_dropped(lab: Lab) -> None:
    gate = asyncio.Event()
    runs: list[str] = []

    async def work() -> str:
        runs.append(f"start {current().deliveries}")
        try:
            if current().deliveries == 1:
                await gate.wait()
        except asyncio.CancelledError:
            runs.append("cancelled")
            raise
        return f"delivery {current().deliveries}"

    task = lab.task(work)
    async with lab.worker(lease=LEASE):
        result = await task.adelay()
        await aeventually(lambda: runs == ["start 1"])
        lab.steal(lab.pending()[0][0])
        await aeventually(lambda: "cancelled" in runs)
        assert lab.dead() == []
        assert await result.aget(10) == "delivery 3"  # 2 was the thief's, who let it lie
        await lab.empty()
    assert runs == ["start 1", "cancelled", "start 3"]
    assert len(lab.events.named("task.lease_lost")) >= 1


@one_server
@pytest.mark.parametrize(("verdict", "noticed"), [("done", False), ("retry", False), ("dead", False), ("done", True)])
async def test_a_late_finisher_is_not_heard(lab: Lab, verdict: str, noticed: bool) -> None:
    """Its token is an old one, whether the lease thread has noticed (`noticed`) or not."""
    gate = threading.Event()
    runs: list[int] = []

    def work() -> str:
        runs.append(current().deliveries)
        if current().deliveries == 1:
            gate.wait(10)
            if verdict == "retry":
                raise OSError("late")
            if verdict == "dead":
                raise TypeError("late")
            return "late"
        return "in time"

    task = lab.task(work)
    async with lab.worker(lease=LEASE):
        result = await task.adelay()
        await aeventually(lambda: runs == [1])
        lab.steal(lab.pending()[0][0])
        if noticed:
            await aeventually(lambda: lab.events.named("task.lease_lost"))
        gate.set()
        assert await result.aget(10) == "in time"
        await lab.empty()
    assert runs == [1, 3]
    assert lab.dead() == []
    assert lab.events.done_ids == [result.id]
    assert lab.events.named("task.retry") == []


async def test_a_verdict_under_way_when_its_message_comes_back_is_written_with_the_new_token(lab: Lab) -> None:
    starts: list[int] = []

    async def work() -> str:
        starts.append(current().deliveries)
        return "done"

    task = lab.task(work)
    async with lab.worker(lease=5.0) as worker:
        settle = worker.broker.settle

        async def overtaken(calls: Sequence[Command]) -> list[Any]:
            """Just before it reaches Redis, our own read brings the message again."""
            worker.broker.settle = settle  # type: ignore[method-assign]
            (entry, owner, _) = lab.pending()[0]
            ((_, fields),) = lab.client.xclaim(lab.keys().stream, GROUP, owner, 0, [entry])
            again = Entry(entry.encode(), [part for pair in fields.items() for part in pair], 2)
            worker.fetcher._admit([(lab.keys().stream, [again])], time.monotonic())
            return await settle(calls)

        worker.broker.settle = overtaken  # type: ignore[method-assign]
        assert await (await task.adelay()).aget(10) == "done"
        await lab.empty()
    assert starts == [1]
    assert lab.events.named("task.lease_lost") == []


async def test_what_an_old_answer_brings_is_asked_about_before_it_starts(lab: Lab) -> None:
    """The loop stood still while a read was under way; another worker has the message by now."""
    starts: list[int] = []

    async def work() -> None:
        starts.append(current().deliveries)

    task = lab.task(work)
    async with lab.worker(lease=5.0) as worker:
        worker.executor.draining = True  # it asks for nothing, so that the ghost gets it
        while worker.fetcher.waits:
            await worker.fetcher._reader.unblock()
            await asyncio.sleep(0.01)
        await task.adelay()
        (entry,) = lab.ghost(name="another")
        worker.executor.draining = False
        ((_, fields),) = lab.client.xrange(lab.keys().stream, entry, entry)
        flat = [part for pair in fields.items() for part in pair]
        worker.fetcher._gap = lambda: 3.0
        worker.fetcher._admit([(lab.keys().stream, [Entry(entry, flat, 1)])], time.monotonic() - 3.0)
        await aeventually(lambda: lab.events.named("task.lease_lost"))
        assert starts == []
        lab.client.xack(lab.keys().stream, GROUP, entry)
        lab.client.xdel(lab.keys().stream, entry)


async def test_what_is_held_is_renewed_long_before_its_lease_is_over(lab: Lab) -> None:
    """After half a period, so that with a turn a period nothing is idle for more than half a lease."""
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0) as worker:
        await task.adelay()
        await aeventually(worker._running)
        (delivery,) = worker._running()
        for part, renewed in ((0.4, False), (0.6, True)):
            confirmed_at = delivery.confirmed_at = time.monotonic() - part * worker.leases.period
            worker.leases._turn(everything=False, waiting=[])
            assert (delivery.confirmed_at > confirmed_at) == renewed
        gate.set()
        await lab.empty()


@one_server
async def test_a_thread_that_lost_its_lease_and_runs_on_keeps_no_other_worker_from_the_message(lab: Lab) -> None:
    """It may come back to the worker where that thread runs; there it is neither started nor renewed."""
    gate = threading.Event()
    runs: list[str] = []

    def work() -> str:
        runs.append(current().worker)
        if len(runs) == 1:
            gate.wait(30)
        return current().worker

    task = lab.task(work)
    async with lab.worker(lease=LEASE) as one:
        result = await task.adelay()
        await aeventually(lambda: runs == [one.consumer])
        lab.steal(lab.pending()[0][0])
        await aeventually(lambda: lab.pending()[0][1:] == (one.consumer, 3))
        async with lab.worker(lease=LEASE) as two:
            assert await result.aget(20) == two.consumer
            gate.set()
            await lab.empty()
    assert runs == [one.consumer, two.consumer]


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_an_own_entry_that_comes_back_is_adopted(lab: Lab, kind: str) -> None:
    gate = threading.Event()
    starts: list[int] = []

    async def coroutine() -> None:
        starts.append(current().deliveries)
        await aeventually(gate.is_set)

    def thread() -> None:
        starts.append(current().deliveries)
        gate.wait(10)

    task = lab.task(coroutine if kind == "coroutine" else thread, result=False)
    async with lab.worker(lease=5.0):
        await task.adelay()
        await aeventually(lambda: len(starts) == 1)
        (entry, owner, _) = lab.pending()[0]

        def claimed() -> bool:
            """Make it look idle, and wake a reader that waits, until it is not the renewal that comes first."""
            stream = lab.keys().stream
            lab.client.xclaim(stream, GROUP, owner, 0, [entry], idle=3_600_000, justid=True)
            lab.client.xdel(stream, lab.client.xadd(stream, {"poke": 1}))
            return lab.pending()[0][2] > 1

        await aeventually(claimed)
        gate.set()
        await lab.empty()
    assert starts == [1]
    assert len(lab.events.done_ids) == 1
    assert lab.events.named("task.lease_lost") == []


async def test_a_full_redis_takes_no_lease_away(server_name: str, own_server: StartServer, make_lab: MakeLab) -> None:
    """What runs is kept, and what waits is started and kept."""
    server = own_server(server_name)
    lab = make_lab(server.url)
    starts: list[int] = []

    async def work(n: int) -> int:
        starts.append(n)
        await asyncio.sleep(2 * LEASE)
        return n

    task = lab.task(work)
    async with lab.worker(lease=LEASE, concurrency=2), lab.worker(lease=LEASE, concurrency=2):
        results = await task.adelay_many((n,) for n in range(8))
        await aeventually(lambda: len(starts) == 4)
        lab.client.config_set("maxmemory", 1)
        assert sorted([await result.aget(10) for result in results]) == list(range(8))
    assert sorted(starts) == list(range(8))
    assert lab.events.named("task.lease_lost") == []


async def test_the_queues_lease_holds_for_all_its_workers(lab: Lab) -> None:
    gate = asyncio.Event()
    starts: list[str] = []

    async def work() -> None:
        starts.append(current().worker)
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=3.0) as one:
        await task.adelay()
        await aeventually(lambda: starts)
        async with lab.worker(lease=LEASE) as two:
            assert (one.lease, two.lease) == (3.0, 3.0)
            assert len(lab.events.named("worker.lease")) == 1
        gate.set()
        await lab.empty()
    async with lab.worker(lease=1.5) as three:
        assert three.lease == 1.5
    assert lab.client.hget(lab.keys().conf, "lease") == b"1500"


async def test_two_workers_that_start_in_the_same_instant_agree(lab: Lab) -> None:
    async def work() -> None: ...

    for number in range(10):
        lab.task(work, name=f"work-{number}", queue=f"q{number}")
        workers = [
            Worker(lab.app, WorkerOptions(lease=lease, queues=(f"q{number}",)), lab.events) for lease in (3.0, 0.6, 9.0)
        ]
        await asyncio.gather(*(worker.connect() for worker in workers))
        assert len({worker.lease for worker in workers}) == 1
        assert lab.client.hget(lab.keys(f"q{number}").conf, "lease") == b"%d" % (workers[0].lease * 1000)
        for worker in workers:
            await worker.broker.close()


async def test_each_queue_has_its_own_lease(lab: Lab) -> None:
    """A worker that serves both keeps the messages of the one with the shorter lease."""
    gate = asyncio.Event()
    starts: list[str] = []

    async def work() -> None:
        starts.append(current().worker)
        await gate.wait()

    slow, quick = (lab.task(work, name=name, queue=name, result=False) for name in ("slow", "quick"))
    one, two = lab.worker(lease=9.0, queues=("slow",)), lab.worker(lease=LEASE, queues=("quick",))
    async with one, two, lab.worker(lease=3.0) as both:
        assert [(queue.name, queue.lease) for queue in both.queues] == [("quick", LEASE), ("slow", 9.0)]
        assert both.lease == LEASE
        await quick.adelay_many(() for _ in range(5))
        await slow.adelay()
        await aeventually(lambda: len(starts) == 6)
        until = time.monotonic() + 3 * LEASE
        await aeventually(lambda: time.monotonic() > until or len(starts) > 6)
        gate.set()
        await lab.empty("quick", "slow")
    assert len(starts) == 6


async def test_a_queue_that_was_flushed_keeps_its_lease(lab: Lab) -> None:
    async def work() -> None: ...

    lab.task(work)
    async with lab.worker(lease=3.0):
        lab.client.flushall()
        await aeventually(lambda: lab.client.hget(lab.keys().conf, "lease") == b"3000")
        async with lab.worker(lease=LEASE) as two:
            assert two.lease == 3.0


@one_server
async def test_who_finds_a_shorter_lease_when_a_group_is_made_again_renews_by_it(lab: Lab) -> None:
    """Another worker came first after the loss."""
    lab.task(lambda: None, name="work")
    async with lab.worker(lease=9.0) as worker:
        assert worker.leases.period == 3.0
        worker.executor.draining = True  # it asks for nothing, so that the other one gets it
        while worker.fetcher.waits:
            await worker.fetcher._reader.unblock()
            await asyncio.sleep(0.01)
        lab.client.xadd(lab.keys().stream, {"task": "unknown"})
        (entry,) = lab.ghost(name="another")
        lab.client.hset(lab.keys().conf, "lease", 600)
        worker.fetcher._groupless = True
        worker.executor.draining = False
        worker.executor.roomy.set()
        await aeventually(lambda: worker.leases.period == 0.6 / 3)
        lab.client.xack(lab.keys().stream, GROUP, entry)
        lab.client.xdel(lab.keys().stream, entry)


async def test_nothing_is_read_while_the_lease_thread_is_silent(lab: Lab) -> None:
    """What it held could not be kept."""
    starts: list[int] = []

    async def work() -> None:
        starts.append(current().deliveries)

    task = lab.task(work)

    def broken(everything: bool, waiting: list[object]) -> None:
        raise RuntimeError("on purpose")

    async with lab.worker(lease=LEASE) as worker:
        turn, worker.leases._turn = worker.leases._turn, broken  # type: ignore[method-assign]
        await aeventually(worker.leases.silent)
        await aeventually(lambda: not worker.fetcher.waits)
        result = await task.adelay()
        until = time.monotonic() + LEASE
        await aeventually(lambda: time.monotonic() > until or starts)
        assert (starts, lab.pending()) == ([], [])
        worker.leases._turn = turn  # type: ignore[method-assign]
        await result.aget(10)
    assert starts == [1]


async def test_nothing_that_was_read_starts_while_the_lease_thread_is_silent(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    starts: list[int] = []

    async def work(n: int) -> None:
        starts.append(n)
        if n == 1000:
            await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=5.0, concurrency=1, prefetch=10) as worker:
        await task.adelay_many((n,) for n in range(500))  # the rate that makes it read ahead
        await lab.empty()
        await task.adelay_many((n,) for n in range(1000, 1010))
        await aeventually(lambda: starts[-1] == 1000 and len(lab.pending()) == 10)
        monkeypatch.setattr(Leases, "silent", lambda _self: True)
        monkeypatch.setattr(worker.executor._attempts, "_silent", lambda: True)
        gate.set()
        await aeventually(lambda: worker.executor.running["coroutine"] == 0)
        until = time.monotonic() + 0.5
        await aeventually(lambda: time.monotonic() > until or starts[-1] != 1000)
        assert starts[-1] == 1000
        monkeypatch.undo()
        await lab.empty()
    assert len(starts) == 510


async def test_a_shorter_lease_does_not_take_what_a_living_worker_will_hold(lab: Lab) -> None:
    gate = asyncio.Event()
    starts: list[str] = []

    async def work() -> None:
        starts.append(current().worker)
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=9.0), lab.worker(lease=LEASE):
        await task.adelay_many(() for _ in range(10))
        await aeventually(lambda: len(starts) == 10)
        await aeventually(lambda: idle(lab) > 2 * LEASE * 1000 or len(starts) > 10)
        gate.set()
        await lab.empty()
    assert len(starts) == 10


def idle(lab: Lab) -> int:
    """How long, in ms, the longest held entry has been held without a renewal."""
    rows = lab.client.xpending_range(lab.keys().stream, GROUP, "-", "+", 100)
    return max((row["time_since_delivered"] for row in rows), default=0)


async def test_a_renewal_confirms_what_was_ours_when_it_was_sent(lab: Lab) -> None:
    """The answer may have lain about, and says nothing of the time since."""
    gate = asyncio.Event()
    sent: list[float] = []

    async def work() -> None:
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0) as worker:
        await task.adelay()
        await aeventually(worker._running)
        (delivery,) = worker._running()
        run = worker.leases._link.run

        def late(*arguments: Any) -> Any:
            sent.append(time.monotonic())
            answer = run(*arguments)
            time.sleep(0.01)
            return answer

        worker.leases._link.run = late  # type: ignore[method-assign]
        before = delivery.confirmed_at
        worker.leases._turn(everything=True, waiting=[])
        assert before < delivery.confirmed_at <= sent[-1]
        gate.set()
        await lab.empty()


async def test_what_waits_to_be_written_is_renewed(lab: Lab) -> None:
    """Else another worker would run it again while Redis takes its time with the verdict."""
    gate = asyncio.Event()

    async def work() -> None: ...

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0) as worker:
        settle = worker.broker.settle

        async def slow(calls: Sequence[Command]) -> list[Any]:
            await gate.wait()
            return await settle(calls)

        worker.broker.settle = slow  # type: ignore[method-assign]
        await task.adelay()
        held = worker.queues[0].held
        await aeventually(lambda: [delivery.settling for delivery in held.values()] == [True])
        (delivery,) = held.values()
        before = delivery.confirmed_at = time.monotonic() - worker.leases.period
        worker.leases._turn(everything=False, waiting=[])
        assert delivery.confirmed_at > before
        gate.set()
        await lab.empty()
