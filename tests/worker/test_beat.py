"""Beat in process: ticks fire once, missed ones as their schedule says, and by the server's clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic_core import from_json

from streamtask import At, Cron, Every, RetryPolicy, StreamTask, Unique, current
from streamtask.when import When
from tests.support import aeventually
from tests.worker.kit import Lab, one_server

HOUR = 3_600_000


def now(lab: Lab) -> int:
    """The server's clock in ms."""
    seconds, micros = lab.client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def at(ms: int) -> datetime:
    """Milliseconds as a time of day."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def ticks(lab: Lab, queue: str = "default") -> list[int]:
    """The ticks (ms) of all messages in a queue, in the order in which they were sent."""
    found = []
    for _, fields in lab.client.xrange(lab.keys(queue).stream):
        moment = datetime.fromisoformat(from_json(fields[b"meta"])["scheduled_for"])
        found.append(round(moment.timestamp() * 1000))
    return found


def scheduled(
    app: StreamTask, when: When, name: str = "tick", task: dict[str, Any] | None = None, **options: Any
) -> None:
    """Give an app a schedule of a task that does nothing."""

    async def nothing() -> None: ...

    app.schedule(when, name=name, **options)(app.task(name=name, **(task or {}))(nothing))


def forget_since(lab: Lab, ms: int, name: str = "tick", queue: str = "default") -> None:
    """As if the last tick that any beat fired was at `ms`."""
    lab.client.hset(lab.keys(queue).ticks, name, ms)


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
