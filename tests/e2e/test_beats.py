"""Several beats as processes: each tick is sent once, whoever of them is killed, and whatever Redis does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from tests.e2e.fleet import Fleet
from tests.servers import Server, StartServer
from tests.support import eventually

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
