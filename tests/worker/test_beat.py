"""Beat in process: ticks fire once, missed ones as their schedule says, and by the server's clock."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic_core import from_json

from streamtask import At, Cron, Every, RetryPolicy, Unique, current
from streamtask.beat import REMOVED
from tests.support import aeventually
from tests.worker.kit import Lab, one_server
from tests.worker.ticks import HOUR, at, forget_since, now, scheduled, ticks


async def test_several_beats_fire_each_tick_once(lab: Lab) -> None:
    scheduled(lab.app, Every(seconds=0.1), missed="all")
    async with lab.beat(), lab.beat(), lab.beat():
        await aeventually(lambda: len(ticks(lab)) >= 12)
    found = ticks(lab)
    assert found == list(range(found[0], found[-1] + 1, 100))
    assert sum(event["sent"] for event in lab.events.named("beat.tick")) == len(found)


async def test_the_tick_reaches_the_task_and_its_retries(lab: Lab) -> None:
    seen: list[tuple[int, datetime | None]] = []

    async def report() -> None:
        seen.append((current().attempt, current().scheduled_for))
        if current().attempt == 1:
            raise OSError("again")

    task = lab.task(report, retry=RetryPolicy(base=0.01, jitter="none"))
    moment = at(now(lab) + 200)
    lab.app.schedule(At(moment))(task)
    async with lab.worker(), lab.beat():
        await aeventually(lambda: len(seen) == 2)
        await lab.empty()
    assert seen == [(1, moment), (2, moment)]
    assert ticks(lab) == []


async def test_first_sight_fires_nothing_that_is_past(lab: Lab) -> None:
    scheduled(lab.app, Every(hours=1), missed="all")
    scheduled(lab.app, At(at(now(lab) - HOUR)), name="late", missed="all")
    async with lab.beat():
        await aeventually(lambda: lab.client.hlen(lab.keys().ticks) == 2)
    assert ticks(lab) == []
    assert abs(int(lab.client.hget(lab.keys().ticks, "tick")) - now(lab)) < 60_000


@pytest.mark.parametrize(
    ("missed", "options", "expected"),
    [
        ("all", {}, [-9, -8, -7, -6, -5, -4, -3, -2, -1, 0]),
        ("all", {"max_catch_up": 3}, [-9, -8, -7, -6, -5, -4, -3, -2, -1, 0]),
        ("all", {"max_age": 3.5 * 3600}, [-3, -2, -1, 0]),
        ("once", {}, [0]),
        ("once", {"max_age": 60}, []),
        ("skip", {}, []),
        ("skip", {"grace": 1200}, [0]),
    ],
)
async def test_missed_ticks_follow_the_policy(
    lab: Lab, missed: str, options: dict[str, Any], expected: list[int]
) -> None:
    """The last tick was ten hours and ten minutes ago; the newest one was due ten minutes ago."""
    newest = now(lab) - 600_000
    scheduled(lab.app, Every(hours=1, anchor=at(newest)), missed=missed, **options)
    forget_since(lab, newest - 10 * HOUR)
    async with lab.beat(), lab.beat():
        await aeventually(lambda: int(lab.client.hget(lab.keys().ticks, "tick")) == newest)
    assert ticks(lab) == [newest + hours * HOUR for hours in expected]
    assert bool(lab.events.named("beat.missed")) == (not expected)
    assert [event["sent"] for event in lab.events.named("beat.tick")] == [1] * len(expected)


@one_server
async def test_a_beat_that_paused_calls_in_what_it_missed(lab: Lab) -> None:
    scheduled(lab.app, Every(seconds=0.1), missed="all")
    async with lab.beat():
        await aeventually(lambda: len(ticks(lab)) >= 3)
    stopped = ticks(lab)[-1]
    await aeventually(lambda: now(lab) - stopped > 600)
    async with lab.beat():
        await aeventually(lambda: len(ticks(lab)) >= 15)
    found = ticks(lab)
    assert found == list(range(found[0], found[-1] + 1, 100))


@one_server
async def test_overlap_skip_leaves_ticks_out_while_one_is_unfinished(lab: Lab) -> None:
    gate = asyncio.Event()
    starts: list[datetime | None] = []

    async def slow() -> None:
        starts.append(current().scheduled_for)
        if len(starts) == 1:
            await gate.wait()

    lab.app.schedule(Every(seconds=0.1), overlap="skip")(lab.task(slow, result=False))
    async with lab.worker(), lab.beat():
        await aeventually(lambda: len(starts) == 1)
        before = len(lab.events.named("beat.tick"))
        await aeventually(lambda: len(lab.events.named("beat.tick")) >= before + 4)
        assert len(starts) == 1
        assert lab.left() == 1
        gate.set()
        await aeventually(lambda: len(starts) >= 3)
    assert len(set(starts)) == len(starts)


@one_server
async def test_a_unique_task_does_not_pile_up(lab: Lab) -> None:
    scheduled(lab.app, Every(seconds=0.1), task={"unique": Unique()})
    async with lab.beat():
        await aeventually(lambda: len(lab.events.named("beat.tick")) >= 4)
    assert len(ticks(lab)) == 1
    assert sum(event["sent"] for event in lab.events.named("beat.tick")) == 1


@one_server
async def test_of_several_ticks_in_one_call_only_those_that_were_sent_are_told_as_sent(lab: Lab) -> None:
    newest = now(lab) - 600_000
    scheduled(lab.app, Every(hours=1, anchor=at(newest)), missed="all", overlap="skip")
    forget_since(lab, newest - 3 * HOUR)
    async with lab.beat():
        await aeventually(lambda: len(lab.events.named("beat.tick")) == 3)
    assert ticks(lab) == [newest - 2 * HOUR]
    assert [event["sent"] for event in lab.events.named("beat.tick")] == [1, 0, 0]


@one_server
async def test_a_schedule_that_is_back_in_the_code_starts_now(lab: Lab) -> None:
    """What fell due while it was out of it is not made up for."""
    scheduled(lab.app, Every(seconds=0.1), missed="all")
    lab.client.hset(lab.keys().ticks, "tick", REMOVED)
    back = now(lab)
    async with lab.beat():
        await aeventually(lambda: len(ticks(lab)) >= 3)
    assert ticks(lab)[0] > back - 1000


@one_server
@pytest.mark.parametrize("hours", [1, -1])
async def test_a_host_with_a_wrong_clock_fires_by_the_servers(
    lab: Lab, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own clock is an hour off: nothing of the next hour fires, and what is due does at the next look."""
    monkeypatch.setattr("streamtask.beat.LOOK", 0.3)  # 5 s are much for a test
    scheduled(lab.app, Every(seconds=0.2), missed="all")
    async with lab.beat() as beat:
        await aeventually(lambda: len(ticks(lab)) >= 2)
        seen = len(ticks(lab))
        beat.clock.saw(now(lab) + hours * HOUR)
        await aeventually(lambda: len(ticks(lab)) >= seen + 3)
        assert abs(beat.clock.now() - now(lab)) < 1000
    found = ticks(lab)
    assert found == list(range(found[0], found[-1] + 1, 200))
    assert found[-1] <= now(lab)


async def test_cron_means_the_clock_on_the_wall_of_its_zone(lab: Lab) -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    scheduled(lab.app, Cron("30 4 * * *", timezone="Asia/Tokyo"))
    here = at(now(lab)).astimezone(tokyo)
    newest = here.replace(hour=4, minute=30, second=0, microsecond=0)
    newest -= timedelta(days=1) if newest > here else timedelta(0)
    forget_since(lab, round(newest.timestamp() * 1000) - 1000)
    async with lab.beat():
        await aeventually(lambda: ticks(lab))
    assert ticks(lab) == [round(newest.timestamp() * 1000)]
    following = from_json(lab.client.hget("lab:schedules", "tick"))["next"]
    assert at(following).astimezone(tokyo) == newest + timedelta(days=1)


@one_server
async def test_a_moment_is_once_and_what_is_off_is_off(lab: Lab) -> None:
    moment = now(lab) + 200
    scheduled(lab.app, At(at(moment)), name="moment")
    scheduled(lab.app, Every(seconds=0.1), name="off", task={"queue": "off"}, enabled=False)
    scheduled(lab.app, Every(seconds=0.1), name="pulse", task={"queue": "pulse"})
    async with lab.beat():
        await aeventually(lambda: len(ticks(lab, "pulse")) >= 5)
    async with lab.beat():
        await aeventually(lambda: len(ticks(lab, "pulse")) >= 8)
    assert ticks(lab) == [moment]
    assert ticks(lab, "off") == []
