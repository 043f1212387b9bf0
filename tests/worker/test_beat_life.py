"""Beats that come and go, with newer code, with broken schedules, and over an empty Redis."""

from __future__ import annotations

import pytest
from pydantic_core import from_json

from streamtask import Every, StreamTask, Unique
from tests.support import aeventually
from tests.worker.kit import Lab, one_server
from tests.worker.ticks import now, scheduled, ticks


async def test_a_schedule_that_left_the_code_stops_for_older_beats_too(lab: Lab) -> None:
    older, newer = (StreamTask("lab", lab.url) for _ in range(2))
    for app in (older, newer):
        scheduled(app, Every(seconds=0.1), name="stays", task={"queue": "stays"})
    scheduled(older, Every(seconds=0.1), name="leaves", task={"queue": "leaves"}, missed="all")
    async with lab.beat(older):
        await aeventually(lambda: len(ticks(lab, "leaves")) >= 2)
        async with lab.beat(newer):
            stopped = len(ticks(lab, "leaves"))
            seen = len(ticks(lab, "stays"))
            await aeventually(lambda: len(ticks(lab, "stays")) >= seen + 6)
            assert len(ticks(lab, "leaves")) <= stopped + 1  # one may have been on its way
            assert lab.client.hkeys("lab:schedules").count(b"leaves") == 0
            final = len(ticks(lab, "leaves"))
        seen = len(ticks(lab, "stays"))
        await aeventually(lambda: len(ticks(lab, "stays")) >= seen + 3)
        assert len(ticks(lab, "leaves")) == final
    returned = now(lab)
    async with lab.beat(older):  # back in the code: it starts anew, and makes up for nothing
        await aeventually(lambda: len(ticks(lab, "leaves")) >= final + 3)
    assert all(tick > returned for tick in ticks(lab, "leaves")[final:])


@one_server
async def test_one_schedule_that_cannot_be_sent_stops_no_other(lab: Lab) -> None:
    def broken(**_: object) -> str:
        raise RuntimeError("a key function of the user's")

    scheduled(lab.app, Every(seconds=0.1), name="a", task={"queue": "a"})
    scheduled(lab.app, Every(seconds=0.1), name="b", task={"queue": "b", "unique": Unique(by=broken)})
    scheduled(lab.app, Every(seconds=0.1), name="c", task={"queue": "c"})
    async with lab.beat():
        await aeventually(lambda: ticks(lab, "a"))
        lab.client.delete(lab.keys("a").stream)
        lab.client.set(lab.keys("a").stream, "no stream")
        seen = len(ticks(lab, "c"))
        await aeventually(lambda: len(ticks(lab, "c")) >= seen + 5)
        lab.client.delete(lab.keys("a").stream)
        await aeventually(lambda: ticks(lab, "a"))


@one_server
async def test_beats_go_on_after_everything_is_gone(lab: Lab) -> None:
    scheduled(lab.app, Every(seconds=0.1), missed="all")
    async with lab.beat(), lab.beat():
        await aeventually(lambda: len(ticks(lab)) >= 3)
        lab.client.flushall()
        gone = now(lab)
        await aeventually(lambda: len(ticks(lab)) >= 3)
    found = ticks(lab)
    assert found == list(range(found[0], found[-1] + 1, 100))
    assert found[0] > gone - 100


@one_server
@pytest.mark.parametrize("moves", [True, False])
async def test_a_beat_moves_what_is_due_without_any_worker(lab: Lab, moves: bool) -> None:
    async def later() -> None: ...

    scheduled(lab.app, Every(seconds=0.1), name="pulse", task={"queue": "pulse"})
    await lab.task(later).options(countdown=0.01).adelay()
    async with lab.beat(mover=moves):
        await aeventually(lambda: len(ticks(lab, "pulse")) >= 3)
        if moves:
            await aeventually(lambda: lab.client.xlen(lab.keys().stream) == 1)
        assert (lab.client.zcard(lab.keys().due) == 0) == moves


async def test_a_beat_says_that_it_is_there_and_leaves(lab: Lab) -> None:
    scheduled(lab.app, Every(hours=1), args={})
    async with lab.beat() as beat:
        key = f"lab:worker:{beat.consumer}"
        await aeventually(lambda: lab.client.exists(key))
        assert from_json(lab.client.get(key))["kind"] == "beat"
        assert from_json(lab.client.hget("lab:schedules", "tick"))["when"] == "every 1 h"
    assert not lab.client.exists(key)
