"""Messages whose time comes: countdown, eta, and the mover that any worker can be."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from streamtask import RetryPolicy, current
from tests.support import aeventually
from tests.worker.kit import Lab, one_server


def server_now(lab: Lab) -> float:
    """The server's clock in seconds."""
    seconds, micros = lab.client.time()
    return float(seconds + micros / 1_000_000)


@one_server
async def test_countdown_and_eta_are_kept_and_never_early(lab: Lab) -> None:
    async def when() -> datetime:
        return current().started_at

    task = lab.task(when)
    async with lab.worker():
        begin = server_now(lab)
        eta = datetime.fromtimestamp(begin + 0.5, UTC)
        results = {
            0.0: await task.options(countdown=0).adelay(),
            0.2: await task.options(countdown=0.2).adelay(),
            0.4: await task.options(countdown=timedelta(milliseconds=400)).adelay(),
            0.5: await task.options(eta=eta).adelay(),
            -1.0: await task.options(eta=eta - timedelta(days=1)).adelay(),
        }
        assert await results[0.4].astatus() in ("due", "running", "done")
        for after, result in results.items():
            started = await result.aget(10)
            assert started.timestamp() - begin >= after - 0.005  # a clock known to within a round trip
        await lab.empty()


async def test_a_due_message_says_when(lab: Lab) -> None:
    async def never() -> None:
        raise AssertionError

    result = await lab.task(never).options(countdown=3600).adelay()
    info = await result.ainfo()
    assert info.status == "due"
    assert info.due_at is not None
    assert 3590 < info.due_at.timestamp() - server_now(lab) <= 3600


async def test_what_fell_due_while_nobody_was_there_runs_at_once(lab: Lab) -> None:
    async def note(n: int) -> int:
        return n

    task = lab.task(note)
    results = await task.options(countdown=0.001).adelay_many((n,) for n in range(250))  # more than one MOVE takes
    assert lab.client.xlen(lab.keys().stream) == 0
    async with lab.worker():
        assert [await result.aget(10) for result in results] == list(range(250))
        await lab.empty()


@one_server
async def test_a_dead_movers_lock_holds_nobody_up_for_long(lab: Lab) -> None:
    async def note() -> str:
        return "moved"

    task = lab.task(note)
    lab.client.set(lab.keys().mover, "a worker that is gone", px=2000)
    async with lab.worker():
        result = await task.options(countdown=0.01).adelay()
        assert await result.aget(10) == "moved"
        assert await aeventually(lambda: lab.client.get(lab.keys().mover)) != b"a worker that is gone"


async def test_only_one_of_many_workers_moves(lab: Lab) -> None:
    async def note(n: int) -> int:
        return n

    task = lab.task(note)
    async with lab.worker() as one, lab.worker() as two:
        holder = await aeventually(lambda: lab.client.get(lab.keys().mover))
        assert holder.decode() in (one.consumer, two.consumer)
        results = await task.options(countdown=0.1).adelay_many((n,) for n in range(100))
        assert [await result.aget(10) for result in results] == list(range(100))
        await lab.empty()
    assert len(lab.events.done_ids) == 100


@one_server
@pytest.mark.parametrize("queues", [3])
async def test_every_queue_has_its_own_due_messages(lab: Lab, queues: int) -> None:
    tasks = []
    for number in range(queues):

        async def note(n: int) -> int:
            return n

        tasks.append(lab.task(note, name=f"note{number}", queue=f"q{number}"))
    async with lab.worker():
        results = [await task.options(countdown=0.05).adelay(n) for n, task in enumerate(tasks)]
        assert await asyncio.gather(*(result.aget(10) for result in results)) == [0, 1, 2]
        await lab.empty(*(f"q{number}" for number in range(queues)))


@one_server
async def test_a_short_countdown_does_not_wait_for_a_long_one(lab: Lab) -> None:
    """A mover that sleeps until the next one is due knows nothing of what comes in between."""

    async def note() -> str:
        return "soon"

    task = lab.task(note)
    await task.options(countdown=3600).adelay()
    async with lab.worker():
        await aeventually(lambda: lab.client.get(lab.keys().mover))
        result = await task.options(countdown=0.01).adelay()
        assert await result.aget(10) == "soon"


@one_server
async def test_a_short_retry_does_not_wait_for_the_mover(lab: Lab) -> None:
    """The worker knows when its own is due, whoever moves."""

    async def flaky() -> int:
        if current().attempt == 1:
            raise OSError("first")
        return current().attempt

    task = lab.task(flaky, retry=RetryPolicy(base=0.05, jitter="none"))
    lab.client.set(lab.keys().mover, "another worker", px=60_000)
    async with lab.worker():
        assert await (await task.adelay()).aget(10) == 2
        await lab.empty()
