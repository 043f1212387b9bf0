"""`--max-tasks`, `--max-rss`: what is worn is replaced first, and drained then; nothing stops and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from typing import Any

import pytest

from streamtask.broker.keys import GROUP
from streamtask.supervisor import Limits, Supervisor, SupervisorOptions
from streamtask.worker.report import Reporter
from tests.cli.kit import environment
from tests.e2e.fleet import Fleet, Process
from tests.e2e.test_supervisor import LEASE, children, one_server, serving
from tests.support import aeventually, alive, eventually

#: The first process starts at once; each later one waits in its import for a file "go", and is broken with "broken".
APP = """
import asyncio, time
from pathlib import Path

folder = Path(__file__).parent
if (folder / "first").exists():
    (folder / "second").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
if (folder / "broken").exists():
    raise RuntimeError("a deployment went wrong")
(folder / "first").touch()

from tests.e2e.app_under_test import app, recorded

kept = []


@app.task(name="leak", result=False, max_deliveries=1)
async def leak(n: int, kib: int) -> None:
    with recorded(n):
        kept.append(b"x" * (kib * 1024))
        await asyncio.sleep(0.02)
"""
#: More for it, where it is wanted: with it all messages of its queue wait until a child serves.
CHILD = """

@app.task(name="child", process=True, max_deliveries=1)
def child(n: int, mib: int) -> None:
    with recorded(n):
        kept.append(b"x" * (mib * 2**20))
"""


def start(fleet: Fleet, *args: str) -> Process:
    """A parent whose first process serves; the others wait for "go"."""
    return fleet.worker(*args, path=fleet.write("worn", APP), lease=LEASE).ready()


def let_go(fleet: Fleet) -> None:
    (fleet.folder / "go").touch()


def naps(fleet: Fleet, count: int) -> set[str]:
    """Run so many short tasks to their end; their ids."""
    ids = {fleet.send("nap", n=n, seconds=0).id for n in range(count)}
    eventually(lambda: ids <= fleet.runs.ended(), 60)
    return ids


def held_up(fleet: Fleet, parent: Process, processes: int = 1) -> None:
    """Wait until a replacement stands in its import, beside the others."""
    eventually((fleet.folder / "second").exists, 30)
    assert len(children(parent)) == processes + 1


def story(parent: Process, *names: str) -> list[tuple[str, int]]:
    """These events in order, each with the process that it is about."""
    told = [json.loads(line) for line in parent.log.read_text().splitlines() if line.startswith("{")]
    return [(e["event"].removeprefix("worker."), _pid(e)) for e in told if e.get("event") in names]


def _pid(event: dict[str, Any]) -> int:
    return int(event.get("pid") or event["worker"].split(":")[1].partition("/")[0])


def is_ready(parent: Process) -> bool:
    """What a readiness probe says of it."""
    command = [sys.executable, "-m", "streamtask", "check", "ready", "--worker", str(parent.pid)]
    return subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == 0


@one_server
def test_the_replacement_comes_first(fleet: Fleet) -> None:
    """The old one works on for as long as its replacement needs to start, and nothing is counted as delivered twice."""
    parent = start(fleet, "--max-tasks", "5", "--concurrency", "2", "--prefetch", "10s")
    (old,) = children(parent)
    ids = naps(fleet, 5)
    held_up(fleet, parent)
    ids |= naps(fleet, 20)
    assert {run.pid for run in fleet.runs.of("start")} == {old}
    assert parent.events("worker.stopping") == []
    gate = fleet.gate()
    ids |= {fleet.send("hold", n=n, gate=gate.path).id for n in range(40)}  # two run, others are read ahead
    let_go(fleet)
    parent.wait_for("worker.draining")
    gate.open()
    parent.wait_for("worker.recycled", pid=old, code=0)
    report = fleet.finished(ids)
    assert (report.once, report.takeovers) == (len(ids), 0)
    (worn,) = parent.events("worker.worn", pid=old)
    assert (worn["reason"], worn["tasks"] >= 5, worn["level"]) == ("max_tasks", True, "info")
    assert parent.events("worker.died") == []
    assert parent.stop() == 0


@one_server
def test_one_that_drains_is_enough_for_a_place(fleet: Fleet) -> None:
    """The replacement is worn, too, while the old one still runs a long task: no third is started beside the two."""
    let_go(fleet)
    parent = start(fleet, "--max-tasks", "5", "--grace", "300")
    (old,) = children(parent)
    gate = fleet.gate()
    ids = {fleet.send("hold", n=0, gate=gate.path).id}
    eventually(lambda: len(fleet.runs.of("start")) == 1)
    ids |= naps(fleet, 5)
    parent.wait_for("worker.draining")
    (heir,) = children(parent) - {old}
    for _ in range(4):
        ids |= naps(fleet, 5)
    assert children(parent) == {old, heir}
    assert {run.pid for run in fleet.runs.of("start")[6:]} == {heir}
    eventually(lambda: is_ready(parent), 30)  # somebody serves in each place
    gate.open()
    parent.wait_for("worker.recycled", pid=heir)
    steps = story(parent, "worker.worn", "worker.recycled")
    assert steps[:4] == [("worn", old), ("recycled", old), ("worn", heir), ("recycled", heir)]
    assert fleet.finished(ids).once == len(ids)
    assert parent.stop() == 0


@one_server
def test_two_places_take_turns(fleet: Fleet) -> None:
    parent = fleet.worker(
        "--processes", "2", "--max-tasks", "5", "--concurrency", "1", path=fleet.write("worn", APP), lease=LEASE
    ).ready()
    let_go(fleet)
    serving(parent, 2)
    (fleet.folder / "go").unlink()
    (fleet.folder / "second").unlink()
    ids = set[str]()
    while len(parent.events("worker.worn")) < 2:
        ids |= naps(fleet, 5)
    old = {_pid(event) for event in parent.events("worker.worn")}
    held_up(fleet, parent, 2)
    ids |= naps(fleet, 10)
    assert len(children(parent)) == 3
    let_go(fleet)
    eventually(lambda: {event["pid"] for event in parent.events("worker.recycled")} >= old, 60)
    steps = story(parent, "worker.ready", "worker.recycled")[2:]
    assert [what for what, _ in steps[:4]] == ["ready", "recycled"] * 2
    assert fleet.finished(ids).once == len(ids)
    assert parent.stop() == 0


@one_server
@pytest.mark.parametrize("heir_serves", [False, True])
def test_a_stop_during_a_recycle_ends_all_in_order(fleet: Fleet, heir_serves: bool) -> None:
    """While the replacement is still in its import, and while the old one drains."""
    parent = start(fleet, "--max-tasks", "5", "--grace", "300")
    gate = fleet.gate()
    ids = {fleet.send("hold", n=0, gate=gate.path).id}
    eventually(lambda: len(fleet.runs.of("start")) == 1)
    ids |= naps(fleet, 5)
    held_up(fleet, parent)
    if heir_serves:
        let_go(fleet)
        parent.wait_for("worker.draining")
    pids = children(parent)
    parent.send_signal(signal.SIGTERM)
    eventually(lambda: len(parent.events("worker.stopping")) == 2 + heir_serves)
    eventually(lambda: sum(map(alive, pids)) == 1, 30)
    alone_at = time.monotonic()
    eventually(lambda: time.monotonic() - alone_at > 0.5)
    assert parent.running  # it waits for the old one
    gate.open()
    assert parent.end() == 0
    assert len(pids) == 2
    assert not any(map(alive, pids))
    assert fleet.finished(ids).once == len(ids)
    assert parent.events("worker.died") == []


@one_server
def test_a_replacement_that_cannot_start_takes_nobody_along(fleet: Fleet) -> None:
    """A deployment goes wrong under a running worker: it works on, and is replaced when that is mended."""
    parent = start(fleet, "--max-tasks", "5")
    (old,) = children(parent)
    (fleet.folder / "broken").touch()
    let_go(fleet)
    ids = naps(fleet, 5)
    deaths = eventually(lambda: died if len(died := parent.events("worker.died", code=4)) == 3 else None, 60)
    assert [death["restart_in_s"] for death in deaths] == [0.0, 1.0, 2.0]
    second, third = (datetime.fromisoformat(death["ts"]) for death in deaths[1:])
    assert (third - second).total_seconds() >= 1.0
    ids |= naps(fleet, 5)
    assert {run.pid for run in fleet.runs.of("start")} == {old}
    (fleet.folder / "broken").unlink()
    parent.wait_for("worker.recycled", 60, pid=old)
    assert fleet.finished(ids).once == len(ids)
    assert parent.stop() == 0


@one_server
def test_the_replacement_of_one_that_dies_meanwhile_takes_its_place(fleet: Fleet) -> None:
    parent = start(fleet, "--max-tasks", "5")
    (old,) = children(parent)
    naps(fleet, 5)
    held_up(fleet, parent)
    (heir,) = children(parent) - {old}
    os.kill(old, signal.SIGKILL)
    eventually(lambda: not alive(old))
    let_go(fleet)
    parent.wait_for("worker.recycled", pid=old, code=-9)
    naps(fleet, 1)
    assert children(parent) == {heir}
    assert parent.stop() == 0


@one_server
def test_a_burst_ends_although_its_processes_are_replaced(fleet: Fleet) -> None:
    """Its variable is read by the parent, and by the processes that count."""
    let_go(fleet)
    ids = fleet.many(300, seconds=0.01)
    slots = ("--concurrency", "2", "--threads", "2")
    parent = fleet.worker("--burst", *slots, path=fleet.write("worn", APP), STREAMTASK_WORKER_MAX_TASKS="20")
    assert parent.end(120) == 0
    report = fleet.finished(ids)
    assert (report.once, report.takeovers) == (300, 0)
    assert parent.events("worker.recycled")


@one_server
def test_a_burst_does_what_was_given_back_after_the_last_look(fleet: Fleet) -> None:
    """The replacement finds nothing and ends, while the old one still has what it gives back after its grace."""
    let_go(fleet)
    gate = fleet.gate()
    held = fleet.send("hold", n=0, gate=gate.path).id
    ids = {held} | {fleet.send("nap", n=n, seconds=0).id for n in range(5)}
    parent = fleet.worker("--burst", "--max-tasks", "5", "--grace", "1s", path=fleet.write("worn", APP))
    eventually(lambda: len(fleet.runs.of("start", id=held)) == 2, 60)
    gate.open()
    assert parent.end(60) == 0
    assert fleet.finished(ids).started_twice == [held]
    assert parent.events("worker.recycled", code=5)


#: A worker process that is worn at once and does not listen. The one that comes after it does.
STUBBORN = """
import os, signal, socket, sys, time
from pathlib import Path
import redis
from streamtask.heartbeat import Heartbeat, Worn
from streamtask.supervisor.parent import HANDOVER, Hello

url, stream, group = sys.argv[1:]
parent = socket.socket(fileno=int(os.environ[HANDOVER]))
first, name = not Path("first").exists(), f"stubborn:{os.getpid()}"
Path("first").touch()
signal.signal(signal.SIGTERM, signal.SIG_IGN if first else lambda *_: sys.exit(0))
if first:
    client = redis.Redis.from_url(url)
    client.xgroup_create(stream, group, "0")
    client.xreadgroup(group, name, {stream: ">"}, count=1)
parent.send(Hello(name, url, "fleet", ("default",), (), ()).dump())
worn = Worn("max_tasks", 1, 1, False) if first else None
while True:
    beat = Heartbeat("worker", name, "fleet", os.getpid(), time.monotonic(), ready_since="now", worn=worn)
    parent.send(beat.dump())
    time.sleep(0.05)
"""


class Told(Reporter):
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def event(self, name: str, level: int, text: str, **fields: Any) -> None:
        self.events.append({"event": name, "level": level, "msg": text, **fields})

    def of(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]


@one_server
async def test_one_that_does_not_end_by_its_deadline_is_killed_and_what_it_held_given_back(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loop beats on, so nobody takes it for one that stands still."""
    monkeypatch.chdir(fleet.folder)
    stream = fleet.keys().stream
    fleet.client.xadd(stream, {"task": "nap"})
    command = [sys.executable, "-c", STUBBORN, fleet.server.url, stream, GROUP]
    plan = SupervisorOptions(command, environment(), 1, 3600.0, limits=Limits(max_tasks=1), deadline=1.0)
    told = Told()
    supervisor = Supervisor("parent", plan, told, lambda _: None)
    asked = time.monotonic()
    running = asyncio.create_task(supervisor.run())
    await aeventually(lambda: told.of("worker.recycled"), 30)
    (recycled,) = told.of("worker.recycled")
    assert recycled["code"] == -signal.SIGKILL
    assert recycled["took_s"] >= 1.0
    assert time.monotonic() - asked >= 1.0
    await aeventually(lambda: told.of("worker.given_back"), 30)
    assert [(event["of"], event["messages"]) for event in told.of("worker.given_back")] == [(recycled["of"], 1)]
    (row,) = fleet.client.xpending_range(stream, GROUP, "-", "+", 10)
    assert (row["consumer"], row["times_delivered"]) == (b"released", 1)
    supervisor.stop()
    assert await asyncio.wait_for(running, 30) == 0
    assert told.of("worker.died") == []


def in_children(fleet: Fleet, count: int, mib: int = 0) -> tuple[set[str], set[int]]:
    """Run so many tasks that keep so much memory in children to their end; their ids, and the processes."""
    ids = {fleet.send("child", n=n, mib=mib).id for n in range(count)}
    eventually(lambda: ids <= fleet.runs.ended(), 60)
    return ids, {run.pid for run in fleet.runs.of("start") if run.id in ids}


@one_server
def test_tasks_in_children_count_and_a_worn_worker_takes_its_children_along(fleet: Fleet) -> None:
    let_go(fleet)
    parent = fleet.worker("--max-tasks", "5", "--children", "2", path=fleet.write("worn", APP + CHILD), lease=LEASE)
    (old,) = children(parent.ready())
    early, first = in_children(fleet, 5)
    parent.wait_for("worker.recycled", 60, pid=old, code=0)
    assert not any(map(alive, first))
    late, second = in_children(fleet, 4)
    assert not first & second
    report = fleet.finished(early | late)
    assert (report.once, report.takeovers) == (9, 0)
    assert parent.events("worker.died") == parent.events("worker.child_died") == []
    assert parent.stop() == 0


@one_server
def test_a_child_beyond_max_rss_is_replaced_and_its_worker_is_not(fleet: Fleet) -> None:
    let_go(fleet)
    path = fleet.write("worn", APP + CHILD)
    parent = fleet.worker("--max-rss", "160MiB", "--children", "2", path=path, lease=LEASE).ready()
    early, _ = in_children(fleet, 12, mib=40)
    eventually(lambda: len(parent.events("worker.child_worn")) >= 2, 60)
    worn = {event["pid"] for event in parent.events("worker.child_worn")}
    eventually(lambda: not any(map(alive, worn)), 30)
    late, ran = in_children(fleet, 4)
    assert not worn & ran
    report = fleet.finished(early | late)
    assert (report.once, report.takeovers) == (16, 0)
    assert parent.events("worker.worn") == parent.events("worker.child_died") == []
    assert parent.stop() == 0
