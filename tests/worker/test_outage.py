"""Redis loses things under a running worker: its data, its groups, its scripts, its connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from streamtask import RetryPolicy, Unique, current
from streamtask.broker.broker import Broker
from streamtask.broker.keys import GROUP
from streamtask.broker.link import Command
from streamtask.worker import Worker, WorkerOptions
from tests.servers import StartServer
from tests.support import aeventually
from tests.worker.conftest import MakeLab
from tests.worker.kit import Lab, ended


def flush(lab: Lab) -> None:
    """All data is gone."""
    lab.client.flushall()


def delete(lab: Lab) -> None:
    """The stream is gone."""
    lab.client.delete(lab.keys().stream)


def destroy(lab: Lab) -> None:
    """The group is gone."""
    lab.client.xgroup_destroy(lab.keys().stream, GROUP)


@pytest.mark.parametrize("loss", [flush, delete, destroy])
@pytest.mark.parametrize("busy", [False, True])
async def test_a_lost_group_is_made_again_and_new_messages_run(
    lab: Lab, loss: Callable[[Lab], None], busy: bool
) -> None:
    gate = asyncio.Event()
    starts: list[int] = []

    async def work(n: int) -> int:
        starts.append(n)
        if n == 0:
            await gate.wait()
        return n

    task = lab.task(work)
    async with lab.worker(concurrency=1 if busy else 100, lease=0.6):
        if busy:
            await task.adelay(0)
            await aeventually(lambda: starts == [0])
        else:
            assert await (await task.adelay(1)).aget(10) == 1
        loss(lab)
        results = [await task.adelay(n) for n in range(10, 20)]
        gate.set()
        assert [await result.aget(20) for result in results] == list(range(10, 20))
        await lab.empty()
    if loss is not destroy:
        assert starts.count(0) <= 1
    assert lab.dead() == []


@pytest.mark.parametrize("loss", [flush, delete, destroy])
@pytest.mark.parametrize("after", ["declare", "consumers", "agree"])
async def test_a_group_that_is_lost_while_a_worker_starts_is_made_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, after: str, loss: Callable[[Lab], None]
) -> None:
    """Between any two of the commands by which a worker joins a queue."""
    real = getattr(Broker, after)
    losses = [loss]

    async def then_lost(*args: Any) -> Any:
        answer = await real(*args)
        while losses:
            losses.pop()(lab)
        return answer

    monkeypatch.setattr(Broker, after, then_lost)

    async def work(n: int) -> int:
        return n

    task = lab.task(work)
    worker = Worker(lab.app, WorkerOptions(lease=3.0, burst=True), lab.events)
    await worker.connect()
    assert losses == []
    assert await worker.waiting() == 0
    result = await task.adelay(1)
    assert await ended(asyncio.create_task(worker.serve())) == 0
    assert await result.aget(10) == 1
    assert lab.events.named("redis.lost") == []
    assert lab.client.hget(lab.keys().conf, "lease") == b"3000"


async def test_the_verdict_on_what_is_gone_is_dropped(lab: Lab) -> None:
    """A healthy attempt is not stopped because its entry is gone, and its end is not told as done."""
    gate = asyncio.Event()
    ended: list[str] = []

    async def work() -> None:
        await gate.wait()
        ended.append("to its end")

    task = lab.task(work)
    async with lab.worker(lease=0.6) as worker:
        await task.adelay()
        await aeventually(lambda: len(lab.pending()) == 1)
        flush(lab)
        await aeventually(lambda: lab.client.exists(f"lab:worker:{worker.consumer}"))  # the lease thread has looked
        gate.set()
        await aeventually(lambda: lab.events.named("task.lease_lost"))
    assert ended == ["to its end"]
    assert lab.events.done_ids == []
    assert list(lab.client.scan_iter("*:result:*")) == []


async def test_what_finds_no_group_is_gone_and_holds_nothing_up(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """The verdict and the renewal that come before the group is made again."""
    gate = asyncio.Event()

    async def work() -> str:
        await gate.wait()
        return "done"

    task = lab.task(work)
    async with lab.worker(lease=30) as worker:
        settle = worker.broker.settle

        async def too_late(calls: Sequence[Command]) -> list[Any]:
            worker.broker.settle = settle  # type: ignore[method-assign]
            flush(lab)
            worker.leases._turn(everything=True, waiting=[])
            flush(lab)
            return await settle(calls)

        worker.broker.settle = too_late  # type: ignore[method-assign]
        await task.adelay()
        await aeventually(worker._running)
        gate.set()
        await aeventually(lambda: lab.events.named("task.lease_lost"))
        assert worker.executor.idle
    assert "redis refused the verdict" not in caplog.text


async def test_scripts_may_be_flushed_at_any_time(lab: Lab) -> None:
    tries: dict[int, int] = {}

    async def work(n: int) -> int:
        tries[n] = tries.get(n, 0) + 1
        if n % 7 == 0 and tries[n] == 1:
            raise OSError("first")
        return n

    task = lab.task(work, unique=Unique(by="n"), retry=RetryPolicy(base=0.02, jitter="none"))
    flushed = 0
    async with lab.worker(concurrency=10):
        results = []
        for start in range(0, 400, 20):
            lab.client.script_flush()
            flushed += 1
            results += await task.adelay_many((n,) for n in range(start, start + 20))
            lab.client.script_flush()
        assert [await result.aget(20) for result in results] == list(range(400))
        await lab.empty()
    assert flushed == 20
    assert sum(tries.values()) == 400 + len(range(0, 400, 7))


async def test_connections_may_be_cut_at_any_time(lab: Lab) -> None:
    """A cut may lose the reply of a read (then the messages come again) or of a verdict (then it is sent again)."""
    starts: dict[int, int] = {}

    async def work(n: int) -> int:
        starts[n] = max(starts.get(n, 0), current().deliveries)
        await asyncio.sleep(0.001)
        return n

    task = lab.task(work)
    results = await task.adelay_many((n,) for n in range(600))
    cuts = 0
    async with lab.worker(concurrency=5, lease=0.6), lab.worker(concurrency=5, lease=0.6):
        while lab.left() > 0:
            cuts += cut(lab)
            await asyncio.sleep(0.02)
        assert [await result.aget(20) for result in results] == list(range(600))
        await lab.empty()
    assert cuts > 10
    assert lab.dead() == []


def cut(lab: Lab) -> int:
    """Cut all connections but our own, as a proxy that restarts does."""
    own = lab.client.client_id()
    others = [client["id"] for client in lab.client.client_list() if int(client["id"]) != own]
    for id in others:
        lab.client.client_kill_filter(_id=id)
    return len(others)


async def test_a_group_that_cannot_be_made_again_yet_ends_no_worker(
    server_name: str, own_server: StartServer, make_lab: MakeLab
) -> None:
    """A full Redis refuses XGROUP CREATE; when there is room again, the worker goes on."""
    server = own_server(server_name)
    lab = make_lab(server.url)

    async def fine(n: int) -> int:
        return n

    task = lab.task(fine)
    async with lab.worker(lease=0.6):
        assert await (await task.adelay(1)).aget(10) == 1
        lab.client.config_set("maxmemory", 1)
        delete(lab)
        await aeventually(lambda: lab.events.named("redis.lost"))
        lab.client.config_set("maxmemory", 0)
        result = await task.adelay(2)
        assert await result.aget(20) == 2
    assert lab.events.named("redis.back")


async def test_a_wrong_key_of_one_queue_does_not_stop_the_other(lab: Lab) -> None:
    async def broken() -> None: ...

    async def fine(n: int) -> int:
        return n

    lab.task(broken, queue="a")
    task = lab.task(fine, queue="b")
    async with lab.worker(lease=0.6):
        lab.client.delete(lab.keys("a").stream)
        lab.client.set(lab.keys("a").due, "no sorted set")
        lab.client.set(lab.keys("b").dead, "no stream")
        assert await (await task.adelay(1)).aget(10) == 1
        result = await task.options(countdown=0.05).adelay(2)
        assert await result.aget(10) == 2


async def test_a_dead_letter_that_cannot_be_written_is_not_lost(lab: Lab) -> None:
    async def fail() -> None:
        raise TypeError("never")

    async def fine(n: int) -> int:
        return n

    failing, good = lab.task(fail), lab.task(fine)
    lab.client.set(lab.keys().dead, "no stream")
    async with lab.worker(lease=0.6):
        result = await failing.adelay()
        assert await (await good.adelay(1)).aget(10) == 1
        await aeventually(lambda: any(count > 1 for _, _, count in lab.pending()))
        assert await (await good.adelay(2)).aget(10) == 2
        lab.client.delete(lab.keys().dead)
        await aeventually(lambda: lab.client.exists(lab.keys().dead))
        await lab.empty()
    assert lab.dead()[0][b"dead_id"].decode() == result.id


async def test_a_server_without_our_answers_is_an_error_at_the_start(lab: Lab) -> None:
    async def work() -> None: ...

    lab.task(work)
    lab.app.post.relocate("unix:///nowhere/at/all.sock")
    with pytest.raises(redis.ConnectionError):
        await lab.burst()


async def test_after_a_lost_connection_nothing_is_claimed_for_a_moment(lab: Lab) -> None:
    """Redis may have been away just before, too, and others may need the moment to renew."""

    async def work() -> None: ...

    lab.task(work, result=False)
    async with lab.worker(lease=30.0) as worker:
        await aeventually(lambda: worker.fetcher.waits)
        contact = worker.fetcher._contact
        contact._holiday_until = 0.0  # that of the start
        assert cut(lab)
        await aeventually(lambda: contact.claims_from > time.monotonic())
        assert contact.claims_from < time.monotonic() + 1.25 + 0.01
