"""`process=True` tasks and memory: what is too much for a task, and what a child may keep between two calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streamtask import TaskFailed
from streamtask.worker import memory
from tests.support import aeventually, alive
from tests.worker.children_kit import LONG, notes, pids, send, with_children
from tests.worker.conftest import MakeLab
from tests.worker.kit import Lab, one_server

#: The text of the failure; it is seen on its way to 512 MiB, or there.
TOO_MUCH = r"it used [2-9]\d\d([.]\d)? MiB, 256 MiB are allowed [(]max_memory[)]"


@pytest.fixture
async def lab(make_lab: MakeLab, url: str) -> Lab:
    """A lab with the app of the children."""
    return with_children(make_lab(), url)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Where the tasks write down what they do."""
    return str(tmp_path)


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


@pytest.mark.parametrize("who", ["self", "helper", "stranger"])
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
