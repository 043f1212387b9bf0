"""The janitor: what kills whoever reads it is buried unread, rows without entries and names of the dead go."""

from __future__ import annotations

import asyncio

import pytest

from streamtask import Unique, current
from streamtask.broker.keys import GROUP, RELEASED
from streamtask.worker import Worker, janitor
from tests.support import aeventually
from tests.worker.kit import Lab, one_server


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The janitor looks when the worker starts, and again soon."""
    monkeypatch.setattr(janitor, "FIRST", 0.0)
    monkeypatch.setattr(janitor, "EVERY", 0.05)


def delivered(lab: Lab, times: int, owner: str = "ghost", idle: int = 60_000) -> None:
    """All that waits was read so often by workers that died of it."""
    for entry in lab.ghost():
        args = {"idle": idle, "retrycount": times, "justid": True}
        lab.client.xclaim(lab.keys().stream, GROUP, owner, 0, [entry], **args)


async def test_what_was_delivered_far_too_often_ends_unread(lab: Lab, at_once: None) -> None:
    starts: list[int] = []

    async def work(n: int) -> int:
        starts.append(n)
        return n

    task = lab.task(work, unique=Unique(by="n"))
    result = await task.adelay(1)
    delivered(lab, 30)
    async with lab.worker(lease=0.6):
        await lab.empty()
        (told,) = lab.events.named("task.dead")
        assert (told["task"], told["id"], told["reason"], told["deliveries"]) == ("work", result.id, "poison", 30)
        assert await (await task.adelay(1)).aget(10) == 1, "its lock is open"
    (dead,) = lab.dead()
    assert (dead[b"task"], dead[b"args"], dead[b"dead_reason"]) == (b"work", b'{"n":1}', b"poison")
    assert (dead[b"dead_id"].decode(), dead[b"dead_deliveries"]) == (result.id, b"30")
    info = await result.ainfo()
    assert (info.status, info.reason, info.deliveries) == ("dead", "poison", 30)
    assert starts == [1], "only the second one"


async def test_what_has_no_id_is_known_by_its_entry(lab: Lab, at_once: None) -> None:
    async def work() -> None: ...

    lab.task(work)
    lab.group()
    entries = [lab.client.xadd(lab.keys().stream, {"task": "work"}) for _ in range(2)]
    delivered(lab, 30)
    async with lab.worker(lease=0.6):
        await lab.empty()
    assert sorted(dead[b"dead_id"] for dead in lab.dead()) == entries
    assert {event["id"].encode() for event in lab.events.named("task.dead")} == set(entries)
    assert all(lab.client.exists(lab.keys().result(entry.decode())) for entry in entries)


async def test_a_task_that_may_be_delivered_more_often_is_left_alone(lab: Lab, at_once: None) -> None:
    async def work() -> int:
        return current().deliveries

    result = await lab.task(work, max_deliveries=4).adelay()
    delivered(lab, 30)
    async with lab.worker(lease=0.6):
        assert await result.aget(10) == 31
    assert lab.dead() == []


async def test_a_healthy_task_that_saw_many_deploys_is_left_alone(lab: Lab, at_once: None) -> None:
    """What is renewed is nobody's poison, however often it was delivered."""
    gate = asyncio.Event()

    async def work() -> int:
        await gate.wait()
        return current().deliveries

    result = await lab.task(work).adelay()
    delivered(lab, 29)
    async with lab.worker(lease=0.6) as worker:
        await aeventually(lambda: lab.pending()[0][1:] == (worker.consumer, 30))
        turns = looked(worker)
        await aeventually(lambda: len(turns) > 20)
        gate.set()
        assert await result.aget(10) == 30
    assert lab.dead() == []


def looked(worker: Worker) -> list[str]:
    """A list that gets the queue's name with each look of the janitor."""
    turns: list[str] = []
    turn = worker.janitor.turn

    async def counted(queue: object) -> None:
        turns.append(queue.name)  # type: ignore[attr-defined]
        await turn(queue)  # type: ignore[arg-type]

    worker.janitor.turn = counted  # type: ignore[method-assign]
    return turns


async def test_a_row_without_an_entry_goes(lab: Lab, at_once: None) -> None:
    async def work() -> None: ...

    await lab.task(work).adelay()
    (entry,) = lab.ghost()
    lab.client.xdel(lab.keys().stream, entry)
    async with lab.worker(lease=0.6):
        await aeventually(lambda: lab.pending() == [])


@one_server
async def test_a_janitor_that_is_refused_goes_on(lab: Lab, at_once: None) -> None:
    async def work() -> None: ...

    await lab.task(work).adelay()
    delivered(lab, 30)
    lab.client.set(lab.keys().dead, "no stream")
    async with lab.worker(lease=0.6) as worker:
        turns = looked(worker)
        await aeventually(lambda: len(turns) > 3)
        lab.client.delete(lab.keys().dead)
        await lab.empty()
    assert len(lab.dead()) == 1


def consumers(lab: Lab) -> set[str]:
    """Names in the group."""
    return {row["name"].decode() for row in lab.client.xinfo_consumers(lab.keys().stream, GROUP)}


async def test_names_of_the_dead_are_forgotten_if_they_hold_nothing(
    lab: Lab, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is forgotten who lives or holds something, or was here within the hour."""

    async def work() -> None:
        await asyncio.Event().wait()

    task = lab.task(work, result=False)
    lab.group()
    stream = lab.keys().stream
    for name in ("dead", "alive", "holds", RELEASED):
        lab.client.xgroup_createconsumer(stream, GROUP, name)
    await task.adelay()
    lab.ghost(name="holds")
    lab.client.set("lab:worker:alive", "{}", px=60_000)
    async with lab.worker(lease=30) as worker:
        turns = looked(worker)
        await aeventually(lambda: len(turns) > 3)
        assert consumers(lab) == {"dead", "alive", "holds", RELEASED, worker.consumer}, "an hour is not over"
        monkeypatch.setattr(janitor, "FORGET_AFTER", 0.0)
        await aeventually(lambda: consumers(lab) == {"alive", "holds", worker.consumer})
        turns.clear()
        await aeventually(lambda: len(turns) > 3)
        assert consumers(lab) == {"alive", "holds", worker.consumer}
    assert [row[1] for row in lab.pending()] == ["holds"]
