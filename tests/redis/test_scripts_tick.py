"""TICK: a schedule's tick fires once, whoever offers it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streamtask.broker.link import ResponseError
from streamtask.broker.scripts import TICK
from tests.redis.kit import LONG, Stage

FIRED, LOST, FIRST, FUTURE = 1, 0, 2, -1
LOCK = "{ns:q}:unique:overlap:every"


def tick(
    stage: Stage, expected: object, new: object, *mids: str, lock: str = "", name: str = "every", ttl: int = LONG
) -> Any:
    """Status, last, now, sent."""
    keys = [stage.keys.stream, stage.keys.ticks, *([lock] if lock else [])]
    messages = [part for mid in mids for part in (mid, 6, "task", "t", "id", mid, "args", "{}")]
    status, last, now, sent = stage.run(TICK, keys, name, str(expected), str(new), ttl, *messages)
    return status, int(last), int(now), sent


def start(stage: Stage, name: str = "every") -> int:
    """First sight, and then as if it had been a minute ago; gives the last tick."""
    _, last, _, _ = tick(stage, "", 0, name=name)
    stage("HSET", stage.keys.ticks, name, last - 60_000)
    return last - 60_000


def test_first_sight_remembers_now_and_fires_nothing(stage: Stage) -> None:
    """Or a new schedule with missed="all" would fire since 1970."""
    before = stage.time()
    status, last, now, sent = tick(stage, "", 5, "m")
    assert (status, sent) == (FIRST, 0)
    assert before <= last == now <= stage.time()
    assert stage.hash(stage.keys.ticks) == {"every": str(now).encode()}
    assert stage.ids() == []


def test_who_knows_the_last_tick_fires_the_next(stage: Stage) -> None:
    last = start(stage)
    assert tick(stage, last, last + 1000, "m")[:2] == (FIRED, last + 1000)
    ((_, fields),) = stage.entries()
    assert fields == {b"task": b"t", b"id": b"m", b"args": b"{}"}
    assert tick(stage, last + 1000, last + 2000, "n")[0] == FIRED


def test_who_comes_second_fires_nothing_and_learns_the_last_tick(stage: Stage) -> None:
    """Also with the same tick: a lost reply shows as last == mine, and it was fired."""
    last = start(stage)
    tick(stage, last, last + 1000, "m")
    assert tick(stage, last, last + 1000, "m")[:2] == (LOST, last + 1000)
    assert tick(stage, last, last + 3000, "n")[:2] == (LOST, last + 1000)
    assert tick(stage, "", last + 3000, "n")[:2] == (LOST, last + 1000)
    assert len(stage.ids()) == 1


def test_any_number_of_beats_fire_each_tick_once(stage: Stage) -> None:
    last = start(stage)

    def beat(n: int) -> list[int]:
        mine, known, own = [], last, Stage(stage.url)
        while known < last + 50:
            status, known, _, _ = tick(own, known, known + 1, f"{n}:{known + 1}")
            mine += [known] if status == FIRED else []
        own.link.close()
        return mine

    with ThreadPoolExecutor(4) as threads:
        fired = [at for mine in threads.map(beat, range(4)) for at in mine]
    assert sorted(fired) == list(range(last + 1, last + 51))
    assert len(stage.ids()) == 50


def test_a_beat_whose_clock_is_ahead_fires_nothing(stage: Stage) -> None:
    """It would fire 04:00 at 03:00, and all the others would be refused for an hour."""
    last = start(stage)
    status, known, now, sent = tick(stage, last, last + 3_600_000, "m")
    assert (status, known, sent) == (FUTURE, last, 0)
    assert now < last + 3_600_000
    assert stage.ids() == []
    assert tick(stage, last, last + 1000, "m")[0] == FIRED


def test_missed_ticks_fire_together_and_in_order(stage: Stage) -> None:
    last = start(stage)
    assert tick(stage, last, last + 3000, "a", "b", "c")[3] == 3
    assert [fields[b"id"] for _, fields in stage.entries()] == [b"a", b"b", b"c"]


def test_ticks_that_the_policy_drops_are_passed_over(stage: Stage) -> None:
    last = start(stage)
    assert tick(stage, last, last + 3000)[::3] == (FIRED, 0)
    assert stage.hash(stage.keys.ticks) == {"every": str(last + 3000).encode()}
    assert stage.ids() == []


def test_schedules_do_not_know_each_other(stage: Stage) -> None:
    last = start(stage)
    other = start(stage, "other")
    assert tick(stage, last, last + 1000, "m")[0] == FIRED
    assert tick(stage, other, other + 500, "n", name="other")[0] == FIRED


def test_overlap_skip_leaves_a_tick_out_while_the_former_message_lives(stage: Stage) -> None:
    last = start(stage)
    assert tick(stage, last, last + 1000, "m", lock=LOCK)[3] == 1
    assert stage("GET", LOCK) == b"m"
    assert 0 < stage("PTTL", LOCK) <= LONG
    assert tick(stage, last + 1000, last + 2000, "n", lock=LOCK)[::3] == (FIRED, 0), "the tick is over all the same"
    assert tick(stage, last + 2000, last + 4000, "o", "p", lock=LOCK)[3] == 0
    stage("DEL", LOCK)
    assert tick(stage, last + 4000, last + 6000, "q", "r", lock=LOCK)[3] == 1, (
        "and the first of two locks out the second"
    )
    assert [fields[b"id"] for _, fields in stage.entries()] == [b"m", b"q"]


@pytest.mark.parametrize("wrong", ["stream", "ticks", "lock"])
def test_a_wrong_type_fires_nothing_and_moves_no_tick(stage: Stage, wrong: str) -> None:
    last = start(stage)
    if wrong == "ticks":
        stage("DEL", stage.keys.ticks)
    key = LOCK if wrong == "lock" else getattr(stage.keys, wrong)
    stage("RPUSH", key, "somebody's")
    stage("EXPIRE", key, 60)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        tick(stage, last, last + 1000, "m", lock=LOCK)
    if wrong != "ticks":
        assert stage.hash(stage.keys.ticks) == {"every": str(last).encode()}
    if wrong != "stream":
        assert stage.ids() == []


def test_full_memory_fires_nothing_and_moves_no_tick(full: Callable[[Callable[[Stage], None]], Stage]) -> None:
    known: list[int] = []
    stage = full(lambda stage: known.append(start(stage)))
    (last,) = known
    for schedule, expected in (("every", last), ("new", "")):
        with pytest.raises(ResponseError, match="maxmemory"):
            tick(stage, expected, last + 1000, "m", name=schedule)
    assert stage.hash(stage.keys.ticks) == {"every": str(last).encode()}
    assert stage.ids() == []
