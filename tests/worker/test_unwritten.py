"""Verdicts that Redis refuses for good: each takes a form that can be written, and none holds up its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from streamtask.broker.link import Command, ResponseError
from streamtask.worker import completer
from tests.servers import StartServer
from tests.support import aeventually
from tests.worker.conftest import MakeLab
from tests.worker.kit import Lab, one_server


@pytest.fixture
async def own(server_name: str, own_server: StartServer, make_lab: MakeLab) -> Lab:
    """An app on a server of its own, whose rights can be taken away."""
    return make_lab(own_server(server_name).url)


def forbid(lab: Lab, *commands: str) -> None:
    """From now on nobody may use these commands, scripts neither."""
    lab.client.execute_command("ACL", "SETUSER", "default", *(f"-{command}" for command in commands))


def allow(lab: Lab) -> None:
    """Everything is allowed again."""
    lab.client.execute_command("ACL", "SETUSER", "default", "+@all")


async def test_a_result_that_cannot_be_stored_is_left_out(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 512 MB Redis ends the connection, and every verdict in it would be tried again for ever."""
    monkeypatch.setattr(completer, "UNSENDABLE", 3000)

    async def text(size: int) -> str:
        return "x" * size

    task = lab.task(text)
    async with lab.worker(lease=0.6):
        small, large, other = [await task.adelay(size) for size in (10, 10_000, 20)]
        assert [await small.aget(10), await other.aget(10)] == ["x" * 10, "x" * 20]
        await lab.empty()
    info = await large.ainfo()
    assert (info.status, info.reason) == ("done", "the result could not be stored")
    assert lab.dead() == []


@pytest.mark.parametrize("error", [OSError, TypeError])
async def test_a_message_too_large_to_be_sent_is_copied_by_the_server(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(completer, "UNSENDABLE", 3000)

    async def fail(text: str) -> None:
        raise error(text[:5])

    result = await lab.task(fail).adelay("x" * 5000)
    async with lab.worker(lease=0.6):
        await lab.empty()
    (dead,) = lab.dead()
    assert dead[b"args"] == b'{"text":"' + b"x" * 5000 + b'"}'
    assert dead[b"dead_id"].decode() == result.id
    assert dead[b"dead_reason"] == (b"result" if error is OSError else b"retries")
    assert await result.astatus() == "dead"


async def test_a_record_that_is_refused_holds_nothing_up(own: Lab) -> None:
    gate = asyncio.Event()

    async def work(n: int) -> int:
        await gate.wait()
        return n

    async def plain(n: int) -> None:
        await gate.wait()

    tasks = [own.task(work), own.task(plain, result=False)]
    async with own.worker(lease=5.0, grace=1):
        for task in tasks:
            await task.adelay_many((n,) for n in range(5))
        await aeventually(lambda: len(own.pending()) == 10)
        forbid(own, "set")
        gate.set()
        await own.empty()
    assert len(own.events.done_ids) == 10
    assert own.dead() == []


async def test_a_dead_letter_whose_record_is_refused_is_written_once(own: Lab) -> None:
    gate = asyncio.Event()

    async def fail() -> None:
        await gate.wait()
        raise TypeError("never")

    task = own.task(fail)
    async with own.worker(lease=5.0, grace=1):
        await task.adelay_many(() for _ in range(5))
        await aeventually(lambda: len(own.pending()) == 5)
        forbid(own, "set")
        gate.set()
        await own.empty()
    assert len(own.dead()) == 5


@pytest.mark.parametrize("server_name", ["redis-8.6"])
@pytest.mark.parametrize("count", [1, 20])
async def test_a_whole_call_that_is_refused_is_taken_apart(own: Lab, count: int) -> None:
    """DONE is refused; what it held is done, not dead."""
    gate = asyncio.Event()

    async def plain(n: int) -> None:
        await gate.wait()

    task = own.task(plain, result=False)
    async with own.worker(lease=5.0):
        await task.adelay_many((n,) for n in range(count))
        await aeventually(lambda: len(own.pending()) == count)
        forbid(own, "xackdel")
        gate.set()
        await own.empty()
    assert own.dead() == []
    assert len(own.events.done_ids) == count


@one_server
async def test_what_can_be_written_in_no_form_is_given_up_and_told(own: Lab) -> None:
    """It is not renewed any more, comes again after its lease, and ends when Redis takes it."""

    async def fail() -> None:
        raise TypeError("never")

    async def fine(n: int) -> int:
        return n

    failing, good = own.task(fail), own.task(fine)
    own.client.set(own.keys().dead, "no stream")
    async with own.worker(lease=0.6) as worker:
        result = await failing.adelay()
        told = await aeventually(lambda: own.events.named("task.unwritten"))
        assert (told[0]["id"], told[0]["queue"]) == (result.id, "default")
        assert "WRONGTYPE" in told[0]["error"]
        assert len(worker.completer.unwritten) == 1
        assert not any(delivery.settling for delivery in worker.queues[0].held.values())
        assert await (await good.adelay(1)).aget(10) == 1
        own.client.delete(own.keys().dead)
        await own.empty()
    assert [dead[b"dead_id"].decode() for dead in own.dead()] == [result.id]


@one_server
async def test_a_release_that_is_refused_buries_nothing(own: Lab) -> None:
    started = asyncio.Event()

    async def work() -> str:
        started.set()
        await asyncio.sleep(0 if gate else 3600)
        return "done"

    gate: list[Any] = []
    task = own.task(work)
    result = await task.adelay()
    async with own.worker(lease=0.6, grace=0.05):
        await started.wait()
        forbid(own, "xclaim")
        gate.append(1)
    allow(own)
    assert own.dead() == []
    async with own.worker(lease=0.6):
        assert await result.aget(10) == "done"
    assert len(own.events.named("task.unwritten")) == 1


@one_server
async def test_one_that_spoils_a_call_costs_its_neighbours_nothing(own: Lab) -> None:
    """Refused as a whole, each goes alone, in the form it had."""
    gate = asyncio.Event()
    refused = 0

    async def work(n: int) -> int:
        await gate.wait()
        return n

    task = own.task(work)
    async with own.worker(lease=5.0) as worker:
        settle = worker.broker.settle

        async def spoiled(calls: Sequence[Command]) -> list[Any]:
            nonlocal refused
            replies: list[Any] = []
            for call in calls:
                if list(call).count("D") > 1:
                    refused += 1
                    replies.append(ResponseError("ERR something in it"))
                else:
                    replies += await settle([call])
            return replies

        worker.broker.settle = spoiled  # type: ignore[method-assign]
        results = await task.adelay_many((n,) for n in range(20))
        await aeventually(lambda: len(own.pending()) == 20)
        gate.set()
        assert [await result.aget(10) for result in results] == list(range(20))
        await own.empty()
    assert refused > 0


async def test_a_verdict_whose_answer_was_lost_is_told_as_written(lab: Lab) -> None:
    """Sent again it is not ours any more: the first time it was."""

    async def work() -> str:
        return "done"

    task = lab.task(work)
    async with lab.worker(lease=5.0) as worker:
        settle = worker.broker.settle

        async def unanswered(calls: Sequence[Command]) -> list[Any]:
            worker.broker.settle = settle  # type: ignore[method-assign]
            await settle(calls)
            raise redis.ConnectionError("the answer was lost")

        worker.broker.settle = unanswered  # type: ignore[method-assign]
        result = await task.adelay()
        await aeventually(lambda: lab.events.done_ids == [result.id])
    assert lab.events.named("task.lease_lost") == []


async def test_what_is_refused_for_a_while_is_written_later_as_it_was(own: Lab) -> None:
    """A Redis that is a replica for a moment, as in a failover, takes no verdict and will take it later."""
    gate = asyncio.Event()
    refused: list[Any] = []

    async def work(n: int) -> int:
        await gate.wait()
        return n

    task = own.task(work)
    async with own.worker(lease=30.0) as worker:
        settle = worker.broker.settle

        async def watched(calls: Sequence[Command]) -> list[Any]:
            replies = await settle(calls)
            refused.extend(reply for reply in replies if isinstance(reply, Exception))
            return replies

        worker.broker.settle = watched  # type: ignore[method-assign]
        results = await task.adelay_many((n,) for n in range(3))
        await aeventually(lambda: len(own.pending()) == 3)
        own.client.replicaof("127.0.0.1", 1)  # nobody is there
        gate.set()
        await aeventually(lambda: len(refused) > 1)
        own.client.replicaof("NO", "ONE")
        assert [await result.aget(10) for result in results] == [0, 1, 2]
        await own.empty()
    assert own.dead() == []


@one_server
async def test_what_is_given_up_is_not_given_back_as_never_started(own: Lab) -> None:
    async def fail() -> None:
        raise TypeError("never")

    failing = own.task(fail)
    own.client.set(own.keys().dead, "no stream")
    async with own.worker(lease=30.0) as worker:
        await failing.adelay()
        await aeventually(lambda: own.events.named("task.unwritten"))
    assert [(owner, count) for _, owner, count in own.pending()] == [(worker.consumer, 1)]
