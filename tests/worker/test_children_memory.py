"""`process=True` tasks and memory: what is too much for a task, and what a child may keep between two calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streamtask import TaskFailed, TaskOptions
from streamtask.child.ceilings import Ceilings
from streamtask.size import MIB
from streamtask.worker import Worker, memory
from tests.support import aeventually, alive
from tests.worker.children_kit import LONG, notes, pids, send
from tests.worker.kit import Lab, one_server

#: The text of the failure; it is seen on its way to 512 MiB, or there.
TOO_MUCH = r"it used [2-9]\d\d([.]\d)? MiB, 256 MiB are allowed [(]max_memory[)]"


@pytest.fixture
def lab(children_lab: Lab) -> Lab:
    """The one with children."""
    return children_lab


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many deliveries each look was for."""
    counted: list[int] = []
    look = memory._look

    def counting(watched: Mapping[Any, memory.Watched]) -> Any:
        found = look(watched)
        counted.append(len(watched))
        return found

    monkeypatch.setattr(memory, "_look", counting)
    return counted


async def some(looks: list[int], count: int = 1) -> None:
    """Wait for some more looks, at so many tasks."""
    done = len(looks)
    await aeventually(lambda: looks[done + 1 :].count(count) >= 3, LONG)


# -- too much for a task -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["self", "stranger"])
@one_server
async def test_a_task_that_eats_memory_is_killed_with_what_it_started_and_tried_again(
    lab: Lab, folder: str, who: str
) -> None:
    async with lab.worker(children=2) as worker:
        neighbour = send(lab, "gated", folder=folder, name="neighbour")
        await aeventually(lambda: notes(folder) == ["began neighbour"], LONG)
        result = send(lab, "eat", folder=folder, who=who, mib=512)
        assert await result.aget(LONG) == "modest"
        beside, first, *_, last = pids(folder)
        helpers = [int(note.split()[1]) for note in notes(folder) if note.startswith("helper")]
        assert len(helpers) == (who != "self")
        await aeventually(lambda: not any(map(alive, [first, *helpers])))
        assert alive(beside)
        assert last != first
        (Path(folder) / "gate").touch()
        assert await neighbour.aget(LONG) == "neighbour"
        await aeventually(lambda: worker.executor._slots["child"] == 2, LONG)
        await lab.empty()
    (retry,) = lab.events.named("task.retry")
    assert (retry["id"], retry["attempt"], retry["deliveries"]) == (result.id, 1, 1)
    assert retry["error_type"] == "MemoryLimitExceeded"
    assert lab.events.named("worker.child_died") == lab.events.named("task.released") == []  # it was our wish


@one_server
async def test_the_last_attempt_that_eats_memory_makes_a_dead_letter(lab: Lab, folder: str) -> None:
    async with lab.worker(children=1):
        with pytest.raises(TaskFailed, match=TOO_MUCH) as failed:
            await send(lab, "eat", folder=folder, who="self", mib=512, times=9).aget(LONG)
    assert failed.value.error_type == "MemoryLimitExceeded"
    assert notes(folder) == ["began 1", "began 2"]
    (dead,) = lab.dead()
    assert (dead[b"dead_reason"], dead[b"dead_deliveries"], dead[b"dead_attempt"]) == (b"retries", b"1", b"2")


@one_server
async def test_what_a_pool_of_forks_shares_counts_once(lab: Lab, folder: str, looks: list[int]) -> None:
    async with lab.worker(children=1):
        result = send(lab, "pool", folder=folder, mib=128)
        await aeventually(lambda: notes(folder) == ["forked"], LONG)
        await some(looks)
        (Path(folder) / "gate").touch()
        assert await result.aget(LONG) == "128 MiB"
    assert lab.events.named("task.retry") == []


@one_server
async def test_the_limit_is_the_tasks_and_ends_with_its_call(lab: Lab, folder: str, looks: list[int]) -> None:
    async with lab.worker(children=2):
        limited = [send(lab, "eat", folder=folder, who="self", mib=1) for _ in range(2)]
        await aeventually(lambda: len(notes(folder)) == 2, LONG)
        await some(looks, 2)
        (Path(folder) / "gate").touch()
        assert [await result.aget(LONG) for result in limited] == ["1 MiB"] * 2
        (Path(folder) / "gate").unlink()
        free = send(lab, "eat_freely", folder=folder, who="self", mib=512)
        limited = [send(lab, "eat", folder=folder, who="self", mib=1)]
        await aeventually(lambda: len(notes(folder)) == 4, LONG)
        await some(looks, 1)
        (Path(folder) / "gate").touch()
        assert [await result.aget(LONG) for result in (free, *limited)] == ["512 MiB", "1 MiB"]
    assert len(set(pids(folder))) == 2
    assert lab.events.named("task.retry") == []


@one_server
async def test_nobody_looks_while_nothing_is_limited(lab: Lab, folder: str, looks: list[int]) -> None:
    async with lab.worker(children=1) as worker:
        assert await send(lab, "eat", folder=folder, who="self", mib=1, times=0).aget(LONG) == "modest"
        watch = worker.children._memory
        assert watch._looking is not None
        await aeventually(watch._looking.done, LONG)
        looks.clear()
        assert await send(lab, "eat_freely", folder=folder, who="self", mib=1, times=0).aget(LONG) == "modest"
        assert watch._looking.done()
    assert looks == []


@one_server
async def test_one_that_eats_memory_after_its_timeout_has_timed_out(lab: Lab, folder: str) -> None:
    async with lab.worker(children=1):
        with pytest.raises(TaskFailed, match=r"took longer than its timeout of 0[.]3 s"):
            await send(lab, "eat_late", folder=folder).aget(LONG)
        await aeventually(lambda: not alive(pids(folder)[0]))
    assert notes(folder) == ["began"]


# -- what a child may keep ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ceilings", "held", "reached"),
    [
        (Ceilings(), 10**6, False),
        (Ceilings(max_rss=200), 199, False),
        (Ceilings(max_rss=200), 200, True),
        (Ceilings(max_rss=100), 10**6, False),  # a fresh one is there already
        (Ceilings(tightest=200), 149, False),  # half of the room from 100 to 200
        (Ceilings(tightest=200), 150, True),
        (Ceilings(tightest=80), 10**6, False),
        (Ceilings(max_rss=100, tightest=200), 150, True),
        (Ceilings(max_rss=140, tightest=200), 140, True),
    ],
)
def test_a_child_is_replaced_when_it_keeps_too_much(ceilings: Ceilings, held: int, reached: bool) -> None:
    assert ceilings.reached(held, fresh=100) is reached


def test_the_tightest_limit_of_a_task_counts() -> None:
    def tasks(*limits: str | None) -> list[TaskOptions]:
        return [TaskOptions(process=True, max_memory=limit) for limit in limits]

    inside = TaskOptions(max_memory="1MiB")  # from an app's defaults
    assert Ceilings.of(7, [inside, *tasks("2GiB", None, "1GiB")]) == Ceilings(7, 2**30)
    assert Ceilings.of(None, tasks(None)) == Ceilings()


def serving(worker: Worker) -> list[int]:
    """How many children served, at each change from here on."""
    counts: list[int] = []
    fill = worker.children.fill

    def counting() -> None:
        counts.append(worker.children.slots["child"])
        fill()

    worker.children.fill = counting
    return counts


@one_server
async def test_what_leaks_beyond_max_rss_is_replaced_between_its_calls_one_at_a_time(lab: Lab, folder: str) -> None:
    async with lab.worker(children=2, max_rss=200 * MIB) as worker:
        await aeventually(lambda: worker.children.slots["child"] == 2, LONG)
        counts = serving(worker)
        results = [send(lab, "leak", folder=folder, mib=100, gate="") for _ in range(7)]
        for result in results:
            await result.aget(LONG)
        await aeventually(lambda: len(lab.events.named("worker.child_worn")) >= 2, LONG)
        await aeventually(lambda: worker.children.slots["child"] == 2, LONG)
        assert set(counts) == {1, 2}
        await lab.empty()
    worn = lab.events.named("worker.child_worn")
    assert {event["pid"] for event in worn} <= set(pids(folder))
    assert len({event["pid"] for event in worn}) == len(worn)
    assert all(event["rss_bytes"] >= 200 * MIB for event in worn)
    assert lab.events.named("worker.child_died") == lab.events.named("task.released") == []


@one_server
async def test_two_that_are_worn_at_once_are_replaced_one_after_the_other(lab: Lab, folder: str) -> None:
    async with lab.worker(children=2, max_rss=150 * MIB) as worker:
        results = [send(lab, "leak", folder=folder, mib=150, gate="gate") for _ in range(2)]
        await aeventually(lambda: len(notes(folder)) == 2, LONG)
        counts = serving(worker)
        (Path(folder) / "gate").touch()
        assert [await result.aget(LONG) for result in results] == [1, 1]
        await aeventually(lambda: counts == [1, 2, 1, 2], LONG)
    worn = lab.events.named("worker.child_worn")
    assert [event["pid"] for event in worn] == sorted(pids(folder), key=[event["pid"] for event in worn].index)
    assert not any(map(alive, pids(folder)))


@one_server
async def test_what_one_call_keeps_fails_no_other(lab: Lab, folder: str) -> None:
    async with lab.worker(children=1):
        assert await send(lab, "leak", folder=folder, mib=200).aget(LONG) == 1
        (Path(folder) / "gate").touch()
        assert await send(lab, "eat", folder=folder, who="self", mib=100).aget(LONG) == "100 MiB"
    assert len(set(pids(folder))) == 2
    assert lab.events.named("task.retry") == []
