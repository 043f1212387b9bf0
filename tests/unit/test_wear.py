"""When a process is worn, by how much, and how often its parent is told."""

from __future__ import annotations

import asyncio

import pytest

from streamtask.heartbeat import Worn
from streamtask.supervisor import wear
from streamtask.supervisor.wear import Limits, Wear
from tests.support import aeventually

MIB = 2**20


@pytest.mark.parametrize(
    ("limits", "tasks", "rss", "reason", "spent"),
    [
        (Limits(), 10**9, 10**12, None, False),
        (Limits(max_tasks=100), 99, 10**12, None, False),
        (Limits(max_tasks=100), 100, 0, "max_tasks", False),
        (Limits(max_rss=200 * MIB), 10**9, 179 * MIB, None, False),
        (Limits(max_rss=200 * MIB), 0, 180 * MIB, "max_rss", False),  # four fifths of the way from 100 to 200 MiB
        (Limits(max_rss=200 * MIB), 0, 200 * MIB - 1, "max_rss", False),
        (Limits(max_rss=200 * MIB), 0, 200 * MIB, "max_rss", True),
        (Limits(max_tasks=100, max_rss=200 * MIB), 100, 120 * MIB, "max_tasks", False),
        (Limits(max_tasks=100, max_rss=200 * MIB), 100, 200 * MIB, "max_rss", True),
        (Limits(max_rss=100 * MIB), 0, 300 * MIB, None, False),  # not even the first task has room
        (Limits(max_tasks=100, max_rss=90 * MIB), 100, 300 * MIB, "max_tasks", False),
    ],
)
def test_a_process_is_judged_by_its_figures(
    limits: Limits, tasks: int, rss: int, reason: str | None, spent: bool
) -> None:
    worn = limits.judge(tasks, rss, fresh=100 * MIB)
    assert worn == (None if reason is None else Worn(reason, tasks, rss, spent))


@pytest.mark.parametrize("ceiling", [150, 100])
def test_a_ceiling_that_leaves_no_room_is_known(ceiling: int) -> None:
    assert Limits(max_rss=ceiling * MIB).too_low(100 * MIB) is (ceiling == 100)
    assert Limits(max_tasks=1).too_low(100 * MIB) is False
    assert (Limits().given, Limits(max_tasks=1).given, Limits(max_rss=1).given) == (False, True, True)


async def test_it_is_told_once_that_it_is_worn_and_once_that_it_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wear, "LOOK", 0.001)
    figures = {"tasks": 0, "rss": 0}
    monkeypatch.setattr(wear, "held", lambda: figures["rss"])
    told: list[Worn] = []
    looks = 0

    def tasks() -> int:
        nonlocal looks
        looks += 1
        return figures["tasks"]

    async def some_looks() -> None:
        before = looks
        await aeventually(lambda: looks >= before + 3, every=0.001)

    running = asyncio.create_task(Wear(Limits(max_tasks=5, max_rss=100), tasks, told.append).run())
    await some_looks()
    assert told == []
    figures["tasks"] = 6
    await some_looks()
    assert [(worn.reason, worn.tasks, worn.spent) for worn in told] == [("max_tasks", 6, False)]
    figures["rss"] = 100
    await asyncio.wait_for(running, 5)
    assert [(worn.reason, worn.rss, worn.spent) for worn in told[1:]] == [("max_rss", 100, True)]


async def test_with_tasks_alone_there_is_nothing_to_look_for_afterwards() -> None:
    told: list[Worn] = []
    await asyncio.wait_for(Wear(Limits(max_tasks=5), lambda: 5, told.append).run(), 5)
    assert len(told) == 1
