"""`--processes`: what dies is replaced and its messages move at once, what hangs is killed, signals mean one thing."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable

import psutil
import pytest

from streamtask import StreamTask
from streamtask.broker.keys import GROUP, worker
from streamtask.supervisor.giving_back import SECOND_LOOK
from tests.e2e.fleet import QUEUES, Fleet, Process
from tests.e2e.private import Place
from tests.servers import Server, StartServer
from tests.support import alive, eventually

#: None of these tests depends on the server, but those that say so.
one_server = pytest.mark.parametrize("server_name", ["redis-8.6"])
#: So long that nothing in these tests moves because a lease is over. Seconds.
LEASE = 120.0
APP = '''
import asyncio, ctypes, os, subprocess, time
from pathlib import Path
from tests.e2e.app_under_test import app, recorded

broken = Path("broken")
if broken.exists():
    raise RuntimeError("a deployment went wrong")


@app.task(name="segfault", result=False)
async def segfault(n: int) -> None:
    with recorded(n):
        ctypes.string_at(0)


@app.task(name="innocent", result=False)
async def innocent(n: int) -> None:
    with recorded(n):
        await asyncio.sleep(0.01)


@app.task(name="hog", result=False, max_deliveries=1)
async def hog(n: int) -> None:
    """A call into C that keeps the interpreter lock."""
    with recorded(n):
        ctypes.PyDLL(None).sleep(3600)


@app.task(name="hog_thread", result=False, max_deliveries=1)
def hog_thread(n: int) -> None:
    with recorded(n):
        ctypes.PyDLL(None).sleep(3600)


@app.task(name="block", result=False, max_deliveries=1)
async def block(n: int, pid: Path) -> None:
    """Blocks the event loop, with a process of its own beside it."""
    with recorded(n):
        pid.write_text(str(subprocess.Popen(["sleep", "3600"]).pid))
        time.sleep(3600)
'''


def crew(fleet: Fleet, processes: int = 2, *args: str, path: str = "", lease: float = LEASE) -> Process:
    """A parent whose children all serve."""
    where = {"path": path} if path else {}
    parent = fleet.worker("--processes", str(processes), *args, lease=lease, **where)  # type: ignore[arg-type]
    return serving(parent, processes)


def serving(parent: Process, times: int) -> Process:
    """Wait until so many starts of children have come to serve."""

    def ready() -> bool:
        if not parent.running:
            raise RuntimeError(f"it ended with {parent.popen.returncode}:\n{parent.tail()}")
        return len(parent.events("worker.ready")) >= times

    eventually(ready, 60)
    return parent


def children(parent: Process) -> set[int]:
    """The process ids of its children that live."""
    return {child.pid for child in psutil.Process(parent.pid).children() if alive(child.pid)}


def consumer_of(parent: Process, pid: int) -> str:
    """The name of a child that serves."""
    (name,) = [e["worker"] for e in parent.events("worker.ready") if f":{pid}/" in e["worker"]]
    return str(name)


def held_by(fleet: Fleet, pid: int) -> bool:
    return any(f":{pid}/" in name for queue in ("default", "threads") for name in fleet.holders(queue))


@one_server
def test_all_processes_serve_in_groups_of_their_own(fleet: Fleet) -> None:
    parent = crew(fleet, 3, "--concurrency", "1", "--prefetch", "0")
    gate = fleet.gate()
    ids = {fleet.send("hold", n=n, gate=gate.path).id for n in range(3)}
    eventually(lambda: {run.id for run in fleet.runs.of("start")} == ids)
    pids = children(parent)
    assert {run.pid for run in fleet.runs.of("start")} == pids
    assert {os.getpgid(pid) for pid in pids} == pids  # Ctrl-C in a terminal reaches the parent alone
    gate.open()
    fleet.finished(ids)
    assert parent.stop() == 0
    assert not any(map(alive, pids))
    assert len(parent.events("worker.supervising")) == 1
    assert {e["worker"] for e in parent.events("worker.started")} == {
        e["worker"] for e in parent.events("worker.ready")
    }


def test_what_a_killed_process_held_moves_at_once(fleet: Fleet) -> None:
    """On each server: by the one way a release wakes the readers, by the other they look each second."""
    parent = crew(fleet)
    gate = fleet.gate()
    results = [fleet.send(task, n=n, gate=gate.path) for n, task in enumerate(("hold", "hold_thread"))]
    ids = {result.id for result in results}
    eventually(lambda: {run.id for run in fleet.runs.of("start")} == ids)
    victim = fleet.runs.of("start")[0].pid
    lost = fleet.runs.open(victim)
    name = consumer_of(parent, victim)
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    again = eventually(lambda: [run for run in fleet.runs.of("start") if run.id in lost and run.pid != victim], 30)
    print(f"\n{fleet.server.name}: started again {again[0].at - killed_at:.3f} s after kill -9, lease {LEASE:g} s")
    eventually(lambda: {run.id for run in fleet.runs.of("start") if run.pid != victim} >= lost, 30)
    assert {run.deliveries for run in fleet.runs.of("start") if run.id in lost} == {1, 2}
    serving(parent, 3)
    (died,) = parent.events("worker.died")
    assert (died["of"], died["code"], died["restart_in_s"]) == (name, -9, 0.0)
    assert sum(e["messages"] for e in parent.events("worker.given_back")) == len(lost)
    assert fleet.client.exists(worker("fleet", name)) == 0
    for queue in ("default", "threads"):
        known = [row["name"].decode() for row in fleet.client.xinfo_consumers(fleet.keys(queue).stream, GROUP)]
        assert name not in known
    gate.open()
    assert {result.get(20) for result in results}.isdisjoint({victim})
    fleet.finished(ids).check_repeats([victim])
    assert parent.stop() == 0


@one_server
def test_a_segfault_kills_three_processes_and_buries_no_neighbour(fleet: Fleet) -> None:
    path = fleet.write("deadly", APP)
    poison = 20
    ids = [fleet.send("segfault" if n == poison else "innocent", n=n).id for n in range(60)]
    parent = crew(fleet, 2, "--concurrency", "10", path=path)
    eventually(lambda: fleet.left() == 0, 60)
    (dead,) = fleet.dead()
    assert (dead[b"dead_id"].decode(), dead[b"dead_reason"]) == (ids[poison], b"poison")
    assert fleet.runs.ended() == set(ids) - {ids[poison]}
    assert len(fleet.runs.of("start", id=ids[poison])) == 3
    assert [event["code"] for event in parent.events("worker.died")] == [-signal.SIGSEGV] * 3
    assert fleet.client.hlen(fleet.keys().suspects) == 0
    print(f"\na segfault among 60: {fleet.runs.report()}")
    assert parent.stop() == 0


@one_server
@pytest.mark.parametrize("task", ["hog", pytest.param("hog_thread", marks=pytest.mark.long)])
def test_a_process_whose_interpreter_lock_is_held_is_killed_and_says_where_it_stood(fleet: Fleet, task: str) -> None:
    """max_deliveries=1: its start was noted before, the note outlives the process, and so it is not started again."""
    path = fleet.write("deadly", APP)
    parent = crew(fleet, 1, "--stall-limit", "3s", path=path)
    (victim,) = children(parent)
    hog = fleet.send(task, n=1).id
    eventually(lambda: [run.id for run in fleet.runs.of("start")] == [hog])
    innocent = fleet.send("innocent", n=2).id
    eventually(lambda: innocent in fleet.runs.ended(), 60)
    eventually(lambda: fleet.left() == 0)
    stalled = parent.wait_for("worker.stalled", pid=victim)
    assert f"in {task}" in stalled["error.stack"]
    assert f"{fleet.folder}/deadly.py" in stalled["error.stack"]
    assert [dead[b"dead_id"].decode() for dead in fleet.dead()] == [hog]
    assert len(fleet.runs.of("start", id=hog)) == 1
    assert parent.stop() == 0


@one_server
def test_what_a_process_that_stands_still_has_started_is_killed_with_it(fleet: Fleet) -> None:
    path = fleet.write("deadly", APP)
    parent = crew(fleet, 1, "--stall-limit", "2s", path=path)
    file = fleet.folder / "pid"
    fleet.send("block", n=1, pid=str(file))
    beside = int(eventually(lambda: file.exists() and file.read_text()))
    fleet.strays.add(beside)
    parent.wait_for("worker.stalled")
    eventually(lambda: not alive(beside))
    eventually(lambda: fleet.left() == 0)
    assert parent.stop() == 0


@one_server
def test_who_slept_with_all_of_them_takes_nobody_for_stalled(fleet: Fleet) -> None:
    """A machine that is suspended: after it the parent's clock says that nobody beat for long."""
    parent = crew(fleet, 2, "--stall-limit", "4s")
    pids = children(parent)
    parent.freeze()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    frozen_at = time.monotonic()
    eventually(lambda: time.monotonic() - frozen_at > 6)
    parent.send_signal(signal.SIGCONT)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    id = fleet.send("nap", n=1, seconds=0.01).id
    fleet.finished({id})
    assert parent.stop() == 0
    assert parent.events("worker.stalled") == []
    assert parent.events("worker.died") == []


@one_server
def test_a_killed_parent_leaves_no_process_behind(fleet: Fleet) -> None:
    parent = crew(fleet)
    pids = children(parent)
    gate = fleet.gate()
    ids = {fleet.send("hold", n=n, gate=gate.path).id for n in range(4)}
    eventually(lambda: {run.id for run in fleet.runs.of("start")} == ids)
    parent.kill9()
    eventually(lambda: len(parent.events("worker.stopping", signal="the parent process is gone")) == 2)
    gate.open()  # they end in order: what runs may end
    fleet.finished(ids)
    eventually(lambda: not any(map(alive, pids)))
    assert fleet.runs.report().started_twice == []


@one_server
def test_a_parent_killed_while_its_children_start_leaves_none_behind(fleet: Fleet) -> None:
    slow = fleet.write("slow", "import time\ntime.sleep(1)\nfrom tests.e2e.app_under_test import app\n")
    parent = fleet.worker("--processes", "2", path=slow)
    pids = eventually(lambda: children(parent), 20)
    parent.kill9()
    eventually(lambda: not any(map(alive, pids)), 20)


@one_server
def test_a_rolling_restart_under_load_runs_nothing_twice(fleet: Fleet) -> None:
    slots = ("--concurrency", "10", "--threads", "5", "--prefetch", "500ms")
    old = crew(fleet, 2, *slots)
    ids = fleet.many(400, seconds=0.05)
    eventually(lambda: len(fleet.runs.ended()) > 50)
    new = crew(fleet, 2, *slots)
    if fleet.left() < 100:
        ids |= fleet.many(300, seconds=0.05)
    eventually(lambda: any(fleet.runs.open(pid) for pid in children(old)))
    pids = children(old)
    assert old.stop() == 0
    assert not any(fleet.runs.open(pid) for pid in pids)
    report = fleet.finished(ids, timeout=90)
    print(f"\nrolling restart of 2 x 2 processes: {report}")
    assert (report.once, report.takeovers, report.ended_twice) == (len(ids), 0, [])
    assert new.stop() == 0


@one_server
def test_who_signals_all_processes_at_once_is_heard_once(fleet: Fleet) -> None:
    """As systemd does by default, and some containers' inits: no process takes the second SIGTERM for "now"."""
    parent = crew(fleet)
    gate = fleet.gate()
    ids = {fleet.send("hold", n=n, gate=gate.path).id for n in range(4)}
    eventually(lambda: {run.id for run in fleet.runs.of("start")} == ids)
    pids = children(parent)
    parent.send_signal(signal.SIGTERM)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    busy = {run.pid for run in fleet.runs.of("start")}
    eventually(lambda: len(parent.events("worker.draining")) == len(busy))
    for pid in busy:
        os.kill(pid, signal.SIGTERM)
    gate.open()
    assert parent.end() == 0
    assert set(Counter(event["worker"] for event in parent.events("worker.stopping")).values()) == {1}
    assert fleet.finished(ids).once == 4


@one_server
def test_the_second_signal_stops_all_now_and_gives_back(fleet: Fleet) -> None:
    parent = crew(fleet, 2, "--grace", "300")
    gate = fleet.gate()
    ids = {fleet.send(task, n=n, gate=gate.path).id for n in range(2) for task in ("hold", "hold_thread")}
    eventually(lambda: {run.id for run in fleet.runs.of("start")} == ids)
    busy = {run.pid for run in fleet.runs.of("start")}
    parent.send_signal(signal.SIGINT)
    eventually(lambda: len(parent.events("worker.draining")) == len(busy))
    assert parent.stop(signal.SIGINT) == 130
    assert "Traceback" not in parent.log.read_text()
    # Also what ran in threads, which a process alone cannot give back: now that it has ended, its parent can.
    assert set(fleet.holders("default")) | set(fleet.holders("threads")) == {"released"}
    gate.open()
    heir = fleet.worker(lease=LEASE).ready()
    fleet.finished(ids).check_repeats(busy)
    assert heir.stop() == 0


@one_server
def test_the_third_signal_ends_what_does_not_listen(fleet: Fleet) -> None:
    parent = crew(fleet, 1, "--stall-limit", "1h", path=fleet.write("deadly", APP))
    pids = children(parent)
    beside = fleet.folder / "pid"
    fleet.send("block", n=1, pid=str(beside))
    pids.add(int(eventually(lambda: beside.exists() and beside.read_text())))
    fleet.strays |= pids
    parent.send_signal(signal.SIGTERM)
    parent.wait_for("worker.stopping")
    parent.send_signal(signal.SIGTERM)
    parent.send_signal(signal.SIGINT)  # two kinds: signals of one kind that come together are one
    assert parent.end() == 130
    eventually(lambda: not any(map(alive, pids)))


@one_server
def test_a_process_that_hangs_at_the_stop_is_killed_at_the_limit(fleet: Fleet) -> None:
    parent = crew(fleet, 2, "--stall-limit", "2s")
    frozen = min(children(parent))
    os.kill(frozen, signal.SIGSTOP)
    assert parent.stop() == 70
    assert parent.events("worker.stalled", pid=frozen)


@one_server
def test_a_process_that_is_asked_to_end_is_replaced(fleet: Fleet) -> None:
    parent = crew(fleet)
    asked = min(children(parent))
    os.kill(asked, signal.SIGTERM)
    serving(parent, 3)
    (died,) = parent.events("worker.died")
    assert (died["pid"], died["code"], died["level"]) == (asked, 0, "info")
    assert len(children(parent)) == 2
    assert parent.stop() == 0


@one_server
def test_what_only_a_change_can_mend_ends_all(fleet: Fleet) -> None:
    missing = fleet.worker("--processes", "3", path="nothere:app")
    assert missing.end() == 4
    assert missing.log.read_text().count("cannot import 'nothere'") == 1
    assert fleet.worker("--processes", "2", "-Q", "nothere").end() == 2
    assert fleet.worker("--processes", "2", "--url", "redis://127.0.0.1:1").end() == 3
    path = fleet.write("deadly", APP)
    parent = crew(fleet, 2, path=path)
    (fleet.folder / "broken").touch()
    os.kill(min(children(parent)), signal.SIGKILL)
    assert parent.end() == 4
    assert "a deployment went wrong" in parent.log.read_text()
    assert len(parent.events("worker.stopping")) == 1  # the other one ended in order


def test_what_died_while_redis_was_away_is_given_back_when_it_is_there_again(
    own_server: StartServer, fleets: Callable[[Server], Fleet]
) -> None:
    fleet = fleets(own_server(appendonly="yes", appendfsync="always"))
    parent = crew(fleet)
    gate = fleet.gate()
    ids = {fleet.send("hold", n=n, gate=gate.path).id for n in range(4)}
    eventually(lambda: {run.id for run in fleet.runs.of("start")} == ids)
    victim = fleet.runs.of("start")[0].pid
    fleet.server.kill9()
    os.kill(victim, signal.SIGKILL)
    parent.wait_for("worker.died", code=-9)
    died_at = time.monotonic()
    eventually(lambda: time.monotonic() - died_at > 2 * SECOND_LOOK)  # so that more than the second look is needed
    fleet.server.start()
    eventually(lambda: not held_by(fleet, victim), 60)
    gate.open()
    fleet.finished(ids).check_repeats([victim])
    assert parent.stop() == 0


def test_one_that_does_not_reach_redis_ends_nobody_who_has(
    own_server: StartServer, fleets: Callable[[Server], Fleet]
) -> None:
    """The second process is held up in its import until Redis is gone."""
    fleet = fleets(own_server(appendonly="yes", appendfsync="always"))
    code = """
import time
from pathlib import Path
from tests.e2e.app_under_test import app
if Path("first").exists():
    Path("second").touch()
    while not Path("go").exists():
        time.sleep(0.01)
Path("first").touch()
"""
    parent = fleet.worker("--processes", "2", path=fleet.write("slow", code), lease=LEASE).ready()
    eventually((fleet.folder / "second").exists, 20)
    fleet.server.kill9()
    (fleet.folder / "go").touch()
    parent.wait_for("worker.died", code=3)
    fleet.server.start()
    serving(parent, 2)
    assert parent.stop() == 0


def test_who_has_worked_goes_on_trying_although_no_process_is_left_that_has(
    own_server: StartServer, fleets: Callable[[Server], Fleet]
) -> None:
    """Each death in a row of processes that reach no Redis is a passing state, not only the first."""
    fleet = fleets(own_server(appendonly="yes", appendfsync="always"))
    parent = crew(fleet, 1)
    fleet.server.kill9()
    os.kill(min(children(parent)), signal.SIGKILL)
    eventually(lambda: len(parent.events("worker.died", code=3)) >= 2, 60)
    fleet.server.start()
    serving(parent, 1)
    id = fleet.send("nap", n=1, seconds=0.01).id
    fleet.finished({id})
    assert parent.stop() == 0


@one_server
def test_a_burst_ends_when_all_have_ended(fleet: Fleet) -> None:
    path = fleet.write("deadly", APP)
    ids = [fleet.send("segfault" if n == 5 else "innocent", n=n).id for n in range(40)]
    parent = fleet.worker("--processes", "2", "--burst", path=path, lease=LEASE)
    assert parent.end(60) == 0
    assert fleet.left() == 0
    assert fleet.runs.ended() == set(ids) - {ids[5]}
    assert Counter(dead[b"dead_id"].decode() for dead in fleet.dead()) == {ids[5]: 1}


@pytest.mark.long
def test_a_private_server_that_ended_with_the_processes_is_started_to_give_back(
    place: Place, valkey81: Server, fleets: Callable[[Server], Fleet]
) -> None:
    fleet = fleets(valkey81)  # for its folder and its runs
    private = {"STREAMTASK_URL": f"embedded://{place.folder}", "PATH": f"{place.program.parent}:{os.environ['PATH']}"}
    parent = serving(fleet.worker("--processes", "2", lease=LEASE, **private), 2)
    user, gate = place.user(), fleet.gate()
    with StreamTask("fleet", user.read(), queues=QUEUES) as app:
        ids = {app.send("hold", {"n": n, "gate": gate.path}, queue="default").id for n in range(4)}
    eventually(lambda: {run.id for run in fleet.runs.of("start")} == ids)
    user.end()
    for pid in children(parent):
        os.kill(pid, signal.SIGKILL)
    gate.open()
    eventually(lambda: fleet.runs.ended() == ids, 30)
    assert parent.stop() == 0
