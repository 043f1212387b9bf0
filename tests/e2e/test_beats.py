"""Several beats as processes: each tick is sent once, whoever of them is killed, and whatever Redis does."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime

import pytest

from tests.conftest import missing
from tests.e2e.fleet import Fleet
from tests.servers import INSTALL, Server, StartServer
from tests.servers.install import FAKETIME
from tests.support import eventually
from tests.worker.kit import one_server

#: Seconds between two ticks.
EVERY = 0.5
MakeFleet = Callable[[Server], Fleet]


def module(*names: str) -> str:
    """A module of one deploy, whose schedules have these names."""
    lines = ["from streamtask import Every", "from tests.e2e.app_under_test import app, tick"]
    for name in names:
        args = {"schedule": name}
        lines += [f"app.schedule(Every(seconds={EVERY}), name={name!r}, missed='all', args={args!r})(tick)"]
    return "\n".join(lines)


def ticks(fleet: Fleet, schedule: str = "often") -> list[float]:
    """The times of a schedule's ticks in the stream, as they were sent; nobody works them off."""
    entries = [fields for _, fields in fleet.client.xrange(fleet.keys().stream)]
    metas = [json.loads(fields[b"meta"]) for fields in entries if json.loads(fields[b"args"])["schedule"] == schedule]
    return [datetime.fromisoformat(meta["scheduled_for"]).timestamp() for meta in metas]


def check(fleet: Fleet, schedule: str = "often") -> list[float]:
    """Each tick once, in order, and none left out between the first and the last."""
    sent = ticks(fleet, schedule)
    wanted = [sent[0] + EVERY * n for n in range(round((sent[-1] - sent[0]) / EVERY) + 1)]
    assert sent == wanted
    assert len(set(sent)) == len(sent)
    return sent


def more(fleet: Fleet, count: int, schedule: str = "often") -> None:
    """Wait for so many more ticks."""
    before = len(ticks(fleet, schedule))
    eventually(lambda: len(ticks(fleet, schedule)) >= before + count, 30)


def test_killed_beats_cost_no_tick_and_double_none(fleet: Fleet) -> None:
    path = fleet.write("deploy", module("often"))
    beats = [fleet.beat(path) for _ in range(3)]
    for beat in beats:
        beat.ready()
    more(fleet, 2)
    for _ in range(2):  # the one that was fastest last
        beats.sort(key=lambda beat: max((e["tick"] for e in beat.events("beat.tick")), default=""))
        beats.pop().kill9()
        more(fleet, 2)
    last = ticks(fleet)[-1]
    beats[0].kill9()  # nobody ticks for a while
    late = fleet.beat(path).ready()
    eventually(lambda: ticks(fleet)[-1] > last + 2 * EVERY, 30)
    assert late.stop() == 0
    sent = check(fleet)
    told = Counter(event["tick"] for beat in fleet.processes for event in beat.events("beat.tick"))
    by = [len(beat.events("beat.tick")) for beat in fleet.processes]
    span = sent[-1] - sent[0]
    print(f"\n{fleet.server.name}: {len(sent)} ticks in {span:g} s by 4 beats, 3 killed -9; told by each: {by}")
    assert max(told.values()) == 1


def wrong_clock(hours: int) -> dict[str, str]:
    """The environment of a process whose wall clock is off."""
    if not FAKETIME.exists():
        missing(f"libfaketime is not installed: {INSTALL}")
    return {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"{hours:+d}h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def check_numbers(fleet: Fleet, count: int, hours: int) -> None:
    """`count` ticks by three beats, one of them with a wrong clock; two are killed at random."""
    seed = os.environ.get("STREAMTASK_TEST_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"\n{fleet.server.name}: STREAMTASK_TEST_SEED={seed}", flush=True)
    dice = random.Random(seed)
    path = fleet.write("deploy", module("often"))
    off = fleet.beat(path, **wrong_clock(hours)).ready()
    beats = [off, *(fleet.beat(path).ready() for _ in range(2))]
    moments = sorted(dice.sample(range(2, count), 2))
    killed = []
    for moment in moments:
        eventually(lambda moment=moment: len(ticks(fleet)) >= moment, 20 + moment)
        killed.append(beats.pop(dice.randrange(len(beats))))
        killed[-1].kill9()
    eventually(lambda: len(ticks(fleet)) >= count, 20 + count)
    assert [beat.stop() for beat in beats] == [0]
    sent = check(fleet)
    entries = [int(id.split(b"-")[0]) / 1000 for id, _ in fleet.client.xrange(fleet.keys().stream)]
    late = [entry - tick for entry, tick in zip(entries, sent, strict=True)]
    by = [len(beat.events("beat.tick")) for beat in fleet.processes]
    text = f"kill -9 after {moments} ticks, the one whose clock is off {'is killed' if off in killed else 'survives'}"
    print(f"{fleet.server.name}: {len(sent)} ticks, three beats, one {hours:+d} h: {text}; told by each: {by}")
    print(f"{fleet.server.name}: late by {min(late):.3f} to {max(late):.3f} s")
    assert min(late) >= 0  # none before its time by Redis
    assert off in killed or by[0] > 0


@one_server
def test_twenty_ticks_by_three_beats_two_killed_one_an_hour_off(fleet: Fleet) -> None:
    check_numbers(fleet, 20, hours=1)


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("hours", [1, -1])
def test_two_hundred_ticks_by_three_beats_two_killed_one_an_hour_off(fleet: Fleet, hours: int) -> None:
    check_numbers(fleet, 200, hours)


def test_a_schedule_that_left_the_code_stops_although_an_old_beat_runs(fleet: Fleet) -> None:
    old = fleet.beat(fleet.write("first", module("stays", "leaves"))).ready()
    more(fleet, 2, "leaves")
    new = fleet.beat(fleet.write("second", module("stays"))).ready()
    left = ticks(fleet, "leaves")
    more(fleet, 4, "stays")
    assert old.running
    assert ticks(fleet, "leaves") == left == check(fleet, "leaves")
    old.kill9()
    more(fleet, 1, "stays")
    assert new.stop() == 0
    stays = check(fleet, "stays")
    print(f"\n{fleet.server.name}: {len(left)} ticks of the schedule that left, {len(stays)} of the one that stays")
    assert stays[-1] > left[-1]


def test_a_beat_goes_on_when_redis_was_away(own_server: StartServer, server_name: str, fleets: MakeFleet) -> None:
    fleet = fleets(own_server(server_name, appendonly="yes", appendfsync="always"))
    beats = [fleet.beat(fleet.write("deploy", module("often"))).ready() for _ in range(2)]
    for end in (fleet.server.stop, fleet.server.kill9):
        more(fleet, 2)
        end()
        for beat in beats:
            beat.wait_for("redis.lost")
        fleet.server.start()
    more(fleet, 3)
    for beat in beats:  # its pause between two tries may be longer than the other one takes for three ticks
        beat.wait_for("redis.back")
    assert [beat.stop() for beat in beats] == [0, 0]
    sent = check(fleet)
    print(f"\n{fleet.server.name}: {len(sent)} ticks in {sent[-1] - sent[0]:g} s over two restarts of Redis")
