"""What waits for a renewal, a mark or peace goes on exactly once, whatever happens meanwhile, and blocks nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from streamtask import current
from streamtask.broker.keys import GROUP, RELEASED, QueueKeys
from streamtask.broker.link import Arg, Command, ResponseError
from streamtask.policy import TimedOut
from streamtask.task import Task
from streamtask.worker import Worker, suspects
from streamtask.worker.delivery import Delivery, QueueState, State
from tests.servers import StartServer
from tests.support import aeventually, eventually
from tests.worker.by_hand import admit, again, asked_only, deaf, hold
from tests.worker.conftest import MakeLab
from tests.worker.kit import Lab, one_server


@one_server
async def test_who_is_told_twice_that_it_is_ours_starts_once(lab: Lab) -> None:
    """As when the lease thread's turn breaks after its renewal was answered."""
    gate = asyncio.Event()
    runs: list[int] = []

    async def work(n: int) -> None:
        runs.append(n)
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0, concurrency=1) as worker:
        await deaf(worker)
        asked = asked_only(worker)
        await task.adelay(1)
        late = admit(lab, worker, await hold(lab, worker, 1), age=20.0)
        assert asked == [late]
        await task.adelay(2)
        admit(lab, worker, await hold(lab, worker, 1))
        await aeventually(lambda: runs == [2])
        late.confirmed_at = time.monotonic()
        worker.executor.resume(late)
        worker.executor.resume(late)
        gate.set()
        await lab.empty()
    assert runs == [2, 1]


@one_server
async def test_what_comes_again_while_it_waits_for_a_renewal_is_asked_about_with_its_new_token(lab: Lab) -> None:
    """The renewal that was under way speaks of the old token; nobody else would ever start it."""
    runs: list[int] = []

    async def work() -> None:
        runs.append(current().deliveries)

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0) as worker:
        await deaf(worker)
        refresh = worker.leases.refresh
        asked = asked_only(worker)
        await task.adelay()
        entry = await hold(lab, worker, 1)
        delivery = admit(lab, worker, entry, age=20.0)
        assert admit(lab, worker, again(lab, worker, entry.id, 2)) is delivery
        worker._lost(delivery, 1, False)
        assert (asked, runs) == ([delivery, delivery], [])
        refresh(delivery)
        await lab.empty()
    assert runs == [2]
    assert lab.events.named("task.lease_lost") == []


def stands_still(worker: Worker, then: Callable[[Delivery], object]) -> None:
    """The process stands still between the next start and the function's first step; `then` is what it wakes up to.

    So does its lease thread, which would make it fresh again.
    """
    run, renew = worker.executor._run, worker.leases._renew

    def renew_later(queue: QueueState, tokens: list[tuple[Delivery, int]], urgent: set[int]) -> None:
        eventually(lambda: all(delivery.state is not State.RUNNING for delivery, _ in tokens))
        renew(queue, tokens, urgent)

    worker.leases._renew = renew_later  # type: ignore[method-assign]

    def late(delivery: Delivery, *args: Any) -> None:
        worker.executor._run = run  # type: ignore[method-assign]
        delivery.confirmed_at -= 20.0
        run(delivery, *args)
        then(delivery)

    worker.executor._run = late  # type: ignore[method-assign]


def noting(lab: Lab, kind: str) -> tuple[Task[..., Any], list[int]]:
    """A task of this kind, and the numbers that it ran with."""
    runs: list[int] = []

    async def coroutine(n: int) -> None:
        runs.append(n)

    def thread(n: int) -> None:
        runs.append(n)

    return lab.task(coroutine if kind == "coroutine" else thread, result=False), runs


@one_server
@pytest.mark.parametrize("deliveries", [1, 3])
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_after_a_standstill_just_before_its_first_step_it_is_asked_about_and_blocks_nobody(
    lab: Lab, kind: str, deliveries: int
) -> None:
    """Its slot is free meanwhile; but the lane is a suspect's until that has ended."""
    task, runs = noting(lab, kind)
    async with lab.worker(lease=30.0, concurrency=1, threads=1) as worker:
        hears = await deaf(worker)
        asked = asked_only(worker)
        stands_still(worker, lambda delivery: worker.executor.stop(delivery, TimedOut(1.0)))
        await task.adelay(1)
        await task.adelay(2)
        first, second = [await hold(lab, worker, count) for count in (deliveries, 1)]
        late = admit(lab, worker, first)
        if deliveries == 1:
            admit(lab, worker, second)
            await aeventually(lambda: runs == [2])
        else:
            await aeventually(lambda: asked == [late])
            admit(lab, worker, second)
        assert asked == [late]
        assert (late.state, late.started_ms, late.stopped_as, late.entered) == (State.BUFFERED, 0, None, False)
        await aeventually(lambda: not any(worker.executor.running.values()))
        late.confirmed_at = time.monotonic()
        worker.executor.resume(late)
        await aeventually(lambda: sorted(runs) == [1, 2])
        hears()
        await task.adelay(3)
        await lab.empty()
    assert runs == ([2, 1, 3] if deliveries == 1 else [1, 2, 3])
    assert len(lab.events.done_ids) == 3


@one_server
@pytest.mark.parametrize("noticed", [False, True])
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_what_was_taken_in_a_standstill_just_before_its_first_step_never_begins(
    lab: Lab, kind: str, noticed: bool
) -> None:
    """Whether the lease thread has told of it by then (`noticed`) or not."""
    task, runs = noting(lab, kind)
    async with lab.worker(lease=30.0) as worker:
        await deaf(worker)

        def taken(delivery: Delivery) -> None:
            lab.steal(delivery.id)
            if noticed:
                worker._lost(delivery, delivery.count, False)

        stands_still(worker, taken)
        await task.adelay(1)
        late = admit(lab, worker, await hold(lab, worker, 1))
        await aeventually(lambda: worker.executor.idle)
        assert lab.events.named("task.lease_lost")
        assert not any(worker.executor.running.values())
        lab.client.xack(lab.keys().stream, GROUP, late.id)
        lab.client.xdel(lab.keys().stream, late.id)
    assert runs == []


@one_server
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_at_a_stop_what_has_not_begun_after_a_standstill_is_given_back_as_never_started(
    lab: Lab, kind: str
) -> None:
    task, runs = noting(lab, kind)
    async with lab.worker(lease=30.0) as worker:
        await deaf(worker)
        stands_still(worker, lambda _delivery: worker.executor.give_back_buffered())
        await task.adelay(1)
        admit(lab, worker, await hold(lab, worker, 1))
        await aeventually(lambda: worker.executor.idle)
        assert [row[1:] for row in lab.pending()] == [("released", 0)]
    async with lab.worker(lease=30.0):
        await lab.empty()
    assert runs == [1]


@one_server
async def test_a_suspect_that_proves_unfit_after_a_renewal_leaves_the_lane(lab: Lab) -> None:
    runs: list[int] = []

    async def work(n: int) -> None:
        runs.append(n)

    task = lab.task(work, result=False, unknown_grace=0.001)
    async with lab.worker(lease=30.0) as worker:
        hears = await deaf(worker)
        asked = asked_only(worker)
        lab.client.xadd(lab.keys().stream, {"task": "work", "id": "unfit", "args": '{"n": "no number"}'})
        entry = await hold(lab, worker, 3)
        worker.executor._attempts._silent = lambda: True
        unfit = admit(lab, worker, entry)
        await aeventually(lambda: asked == [unfit])
        worker.executor._attempts._silent = lambda: False
        worker.executor.resume(unfit)
        hears()
        await task.adelay(1)
        await aeventually(lambda: runs == [1])
        await aeventually(lambda: len(lab.dead()) + lab.client.zcard(lab.keys().due) == 1)
        lab.client.delete(lab.keys().due, lab.keys().body)


@one_server
async def test_a_first_start_that_is_lost_while_it_waits_for_its_mark_gives_its_slot_back(lab: Lab) -> None:
    gate = asyncio.Event()
    runs: list[str] = []

    async def once(name: str) -> None:
        runs.append(name)

    task = lab.task(once, idempotent=False)
    async with lab.worker(lease=30.0, concurrency=2) as worker:
        await deaf(worker)
        real = worker.broker.mark

        async def slow(keys: QueueKeys, items: list[Arg]) -> list[int]:
            await gate.wait()
            return await real(keys, items)

        worker.broker.mark = slow  # type: ignore[assignment,method-assign]
        for name in ("first", "second"):
            await task.adelay(name)
            waiting = admit(lab, worker, await hold(lab, worker, 1))
            await asyncio.sleep(0)  # the marker takes the first one alone
        assert worker.executor.running["coroutine"] == 2
        lab.steal(waiting.id)
        worker._lost(waiting, 1, False)
        assert worker.executor.running["coroutine"] == 1
        gate.set()
        await aeventually(lambda: runs == ["first"] and worker.executor.running["coroutine"] == 0)
        lab.client.xack(lab.keys().stream, GROUP, waiting.id)
        lab.client.xdel(lab.keys().stream, waiting.id)


@one_server
async def test_a_suspect_never_takes_a_slot_too_many(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for one at a time gets one at a time, also when a suspect finds no peace twice."""
    monkeypatch.setattr(suspects, "PATIENCE", 0.05)
    gate = asyncio.Event()
    runs: list[str] = []

    async def work(name: str) -> None:
        runs.append(name)
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0, concurrency=1) as worker:
        await deaf(worker)
        await task.adelay("hour")
        admit(lab, worker, await hold(lab, worker, 1))
        await task.adelay("suspect")
        entry = await hold(lab, worker, 4)
        for _ in range(2):
            admit(lab, worker, again(lab, worker, entry.id, 4))
            await aeventually(lambda: ("released", 3) in [row[1:] for row in lab.pending()])
        assert runs == ["hour"]
        gate.set()
        admit(lab, worker, again(lab, worker, entry.id, 4))
        await lab.empty()
    assert runs == ["hour", "suspect"]


@one_server
async def test_a_short_standstill_does_not_hide_a_long_one(lab: Lab) -> None:
    """An answer that was under way in the long one may still be unread."""
    async with lab.worker(lease=30.0) as worker:
        worker._gap, worker._gap_at = 8.0, time.monotonic()
        before = worker._gap_at
        while worker._gap_at == before:
            time.sleep(0.2)  # the loop stands still
            await asyncio.sleep(0)
        assert worker._recent_gap() >= 8.0


async def test_a_redis_that_refuses_writes_was_away_also_for_who_holds_nothing(
    server_name: str, own_server: StartServer, make_lab: MakeLab
) -> None:
    """Else an idle worker would take what a busy one could not renew meanwhile."""
    lab = make_lab(own_server(server_name).url)
    starts: list[int] = []
    gate = asyncio.Event()

    async def work() -> None:
        starts.append(current().deliveries)
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=0.6), lab.worker(lease=0.6) as other:
        await task.adelay()
        await aeventually(lambda: starts == [1])
        idle = other if not other._running() else next(w for w in lab.workers if w is not other)
        turn, refused = idle.leases._turn, list[ResponseError]()

        def noting_turn(everything: bool, waiting: list[Delivery]) -> None:
            try:
                turn(everything=everything, waiting=waiting)
            except ResponseError as error:
                refused.append(error)
                raise

        idle.leases._turn = noting_turn  # type: ignore[method-assign]
        lab.client.replicaof("127.0.0.1", 1)  # nobody is there, but from now on it refuses to write
        await aeventually(lambda: refused and idle.leases.silent())  # not only because this machine stood still
        before = time.monotonic()
        lab.client.replicaof("NO", "ONE")
        await aeventually(lambda: not idle.leases.silent())
        assert idle.fetcher._contact.claims_from > before
        gate.set()
        await lab.empty()
    assert starts == [1]


@one_server
async def test_what_came_again_before_a_lost_answer_is_not_given_away_by_the_second_try(lab: Lab) -> None:
    """A release that was carried out, whose answer was lost, and whose message is ours again, unread yet."""
    gate = asyncio.Event()
    runs: list[int] = []

    async def work(n: int) -> None:
        runs.append(current().deliveries)
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0, concurrency=1) as worker:
        await deaf(worker)
        for n in range(2):
            await task.adelay(n)
            entry = await hold(lab, worker, 1)
            admit(lab, worker, entry)
        real = worker.broker.settle
        tries: list[Sequence[Command]] = []

        async def cut(calls: Sequence[Command]) -> list[Any]:
            answer = await real(calls)
            tries.append(calls)
            if len(tries) == 1:
                assert answer == [1]
                again(lab, worker, entry.id, 1)
                raise RedisConnectionError("cut")
            return answer

        worker.broker.settle = cut  # type: ignore[method-assign]
        worker.executor.overdue(0.0)
        await aeventually(lambda: len(tries) == 2)
        assert [row[1:] for row in lab.pending()] == [(worker.consumer, 1)] * 2
        admit(lab, worker, entry)
        gate.set()
        await lab.empty()
    assert runs == [1, 1]


@one_server
async def test_a_slot_that_was_kept_for_a_mark_is_filled_when_its_message_must_wait_again(lab: Lab) -> None:
    runs: list[int] = []

    async def work(n: int) -> None:
        runs.append(n)

    task = lab.task(work, result=False, max_deliveries=1)
    async with lab.worker(lease=30.0, concurrency=1) as worker:
        await deaf(worker)
        asked = asked_only(worker)
        await task.adelay(1)
        entry = await hold(lab, worker, 1)
        await task.adelay(2)
        second = await hold(lab, worker, 1)
        first = admit(lab, worker, entry)
        first.confirmed_at -= 20
        admit(lab, worker, second)
        await aeventually(lambda: runs == [2])
        assert asked == [first]
        first.confirmed_at = time.monotonic()
        worker.executor.resume(first)
        await lab.empty()
    assert runs == [2, 1]


async def rested(lab: Lab) -> None:
    """Nothing was delivered or renewed in the last ms, which is as exact as Redis tells it."""

    def idle() -> int:
        rows = lab.client.xpending_range(lab.keys().stream, GROUP, "-", "+", 100)
        return min(row["time_since_delivered"] for row in rows)

    await aeventually(lambda: idle() >= 20)


@one_server
async def test_what_is_on_its_way_back_is_not_renewed_and_goes_with_the_second_try(lab: Lab) -> None:
    """The second try leaves alone what is younger than the first: a renewal in between would leave it here for good."""
    gate = asyncio.Event()

    async def work(n: int) -> None:
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0, concurrency=1) as worker:
        await deaf(worker)
        for n in range(2):
            await task.adelay(n)
            admit(lab, worker, await hold(lab, worker, 1))
        await rested(lab)
        real = worker.broker.settle
        tries: list[Sequence[Command]] = []

        async def cut(calls: Sequence[Command]) -> list[Any]:
            tries.append(calls)
            if len(tries) == 1:
                assert await worker.leases.renew_all()
                raise RedisConnectionError("cut")
            return await real(calls)

        worker.broker.settle = cut  # type: ignore[method-assign]
        worker.executor.overdue(0.0)
        await aeventually(lambda: len(tries) == 2)
        await worker.completer.drained()
        assert sorted(row[1:] for row in lab.pending()) == [(RELEASED, 0), (worker.consumer, 1)]
        gate.set()


@one_server
async def test_each_second_try_to_give_back_knows_its_own_first(lab: Lab) -> None:
    """One that was delivered after another's first try, and tried first later, is no newer delivery."""
    gate = asyncio.Event()

    async def work(n: int) -> None:
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0, concurrency=1) as worker:
        await deaf(worker)
        for n in range(2):
            await task.adelay(n)
            admit(lab, worker, await hold(lab, worker, 1))
        await rested(lab)
        real = worker.broker.settle
        tries: list[Sequence[Command]] = []

        async def cut(calls: Sequence[Command]) -> list[Any]:
            tries.append(calls)
            if len(tries) == 1:
                await task.adelay(2)
                admit(lab, worker, await hold(lab, worker, 1))
                await rested(lab)
                worker.executor.overdue(0.0)
            if len(tries) < 3:
                raise RedisConnectionError("cut")
            return await real(calls)

        worker.broker.settle = cut  # type: ignore[method-assign]
        worker.executor.overdue(0.0)
        await aeventually(lambda: len(tries) == 3)
        await worker.completer.drained()
        assert sorted(row[1:] for row in lab.pending()) == [(RELEASED, 0), (RELEASED, 0), (worker.consumer, 1)]
        gate.set()


@one_server
async def test_a_suspect_that_was_taken_before_its_mark_does_not_start(lab: Lab) -> None:
    runs: list[int] = []

    async def work(n: int) -> None:
        runs.append(n)

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0) as worker:
        hears = await deaf(worker)
        await task.adelay(1)
        entry = await hold(lab, worker, 3)
        lab.steal(entry.id)
        admit(lab, worker, entry)
        await aeventually(lambda: worker.executor.idle)
        assert runs == []
        hears()
        await task.adelay(2)
        await aeventually(lambda: runs == [2])
        lab.client.xack(lab.keys().stream, GROUP, entry.id)
        lab.client.xdel(lab.keys().stream, entry.id)


@one_server
async def test_a_standstill_is_known_before_the_heartbeat_has_seen_it(lab: Lab) -> None:
    """After a pause of the whole process the answers that lay about may be read first."""

    async def work() -> None: ...

    lab.task(work)
    async with lab.worker(lease=30.0) as worker:
        worker._gap = 0.0
        time.sleep(0.6)  # the loop stands still
        assert worker._recent_gap() > 0.3


@one_server
async def test_what_is_buffered_is_renewed(lab: Lab) -> None:
    gate = asyncio.Event()
    runs: list[int] = []

    async def work(n: int) -> None:
        runs.append(n)
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0, concurrency=1, prefetch=60.0) as worker:
        await deaf(worker)
        for n in range(2):
            await task.adelay(n)
            waiting = admit(lab, worker, await hold(lab, worker, 1))
        assert waiting.state is State.BUFFERED
        before = waiting.confirmed_at = time.monotonic() - worker.leases.period
        worker.leases._turn(everything=False, waiting=[])
        assert waiting.confirmed_at > before
        gate.set()
        await lab.empty()
    assert runs == [0, 1]


@one_server
async def test_what_comes_again_while_its_release_is_under_way_is_a_new_delivery(lab: Lab) -> None:
    """Redis has given it back, and to us again, before the answer is here."""
    gate = asyncio.Event()
    runs: list[int] = []

    async def work(n: int) -> None:
        runs.append(n)
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0, concurrency=1, prefetch=60.0) as worker:
        await deaf(worker)
        for n in range(2):
            await task.adelay(n)
            entry = await hold(lab, worker, 1)
            first = admit(lab, worker, entry)
        settle, answered = worker.broker.settle, asyncio.Event()

        async def overtaken(calls: Sequence[Command]) -> list[Any]:
            worker.broker.settle = settle  # type: ignore[method-assign]
            answer = await settle(calls)
            assert admit(lab, worker, again(lab, worker, entry.id, 1)) is not first
            answered.set()
            return answer

        worker.broker.settle = overtaken  # type: ignore[method-assign]
        worker.executor.overdue(0.0)
        await asyncio.wait_for(answered.wait(), 10)
        gate.set()
        await lab.empty()
    assert runs == [0, 1]
