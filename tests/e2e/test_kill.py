"""Workers that are killed or frozen while they run tasks: nothing is lost, and others take over."""

from __future__ import annotations

import signal
import time
from itertools import pairwise

import pytest

from tests.e2e.fleet import Fleet, both_servers
from tests.support import Lost, eventually

LEASE = 2.0
pytestmark = both_servers


def longest(fleet: Fleet, lease: float) -> float:
    """Seconds within which a dead worker's messages are started elsewhere."""
    return lease + (1.0 if fleet.native else max(1.0, lease / 4))


SLOTS = ("--concurrency", "20", "--threads", "10")


@pytest.mark.parametrize(
    ("count", "kills"), [(3_000, 3), pytest.param(20_000, 10, marks=(pytest.mark.long, pytest.mark.timeout(300)))]
)
def test_kill_9_of_workers_loses_nothing(fleet: Fleet, count: int, kills: int) -> None:
    workers = [fleet.worker(*SLOTS, lease=LEASE) for _ in range(3)]
    for worker in workers:
        worker.ready()
    ids = fleet.many(count, seconds=0.1)
    killed: dict[int, float] = {}
    held: set[str] = set()  # by name: after two kills in a lease's time one message may have been in both hands
    with Lost() as lost:
        for turn in range(kills):
            wanted = count * (turn + 1) // (kills + 2)
            eventually(lambda wanted=wanted: len(fleet.runs.ended()) >= wanted, 60)
            victim = fleet.victim(workers)
            held |= fleet.runs.open(victim.pid)
            victim.kill9()
            killed[victim.pid] = time.monotonic()
            workers.remove(victim)
            workers.insert(0, fleet.worker(*SLOTS, lease=LEASE))  # victims are looked for from the front
            workers.append(workers.pop(0).ready())
        report = fleet.finished(ids, 120)
    print(f"\n{fleet.server.name}: {count} messages, {kills} kill -9 of workers that ran {len(held)} tasks: {report}")
    report.check_repeats(killed)
    takeovers = [
        second.at - killed[first.pid]
        for starts in report.starts.values()
        for first, second in pairwise(starts)
        if first.pid in killed and second.deliveries == first.deliveries + 1  # not read by one more that was killed
    ]
    print(f"{fleet.server.name}: taken over within {max(takeovers):.2f} s, in the middle of the work (lease {LEASE} s)")
    assert max(takeovers) <= longest(fleet, LEASE) + lost.seconds
    assert len(report.starts) == count
    assert held <= set(report.started_twice)  # all that ran in the killed ones had to run again
    assert all(worker.running for worker in workers)


@pytest.mark.parametrize("lease", [LEASE, pytest.param(8.0, marks=pytest.mark.long)])
def test_a_killed_worker_s_tasks_are_taken_over_while_nothing_else_goes_on(fleet: Fleet, lease: float) -> None:
    gate = fleet.gate()
    first = fleet.worker(lease=lease).ready()
    results = [fleet.send(task, n=1, gate=gate.path) for task in ("hold", "hold_thread")]
    ids = {result.id for result in results}
    eventually(lambda: fleet.runs.open(first.pid) == ids)
    second = fleet.worker(lease=lease).ready()
    first.freeze()
    first.kill9()
    killed_at = time.monotonic()
    assert fleet.runs.of("start", second.pid) == []
    with Lost() as lost:
        eventually(lambda: fleet.runs.open(second.pid) == ids, lease * 10)
    gate.open()
    assert [result.get(10) for result in results] == [second.pid] * 2
    report = fleet.finished(ids)
    took = [run.at - killed_at for run in fleet.runs.of("start", second.pid)]
    text = " and ".join(f"{seconds:.2f}" for seconds in took)
    print(
        f"\n{fleet.server.name}: two tasks taken over {text} s after the kill, nothing else going on (lease {lease} s)"
    )
    assert max(took) <= longest(fleet, lease) + lost.seconds
    assert [(run.deliveries, run.attempt) for run in fleet.runs.of("start", second.pid)] == [(2, 1)] * 2
    assert report.ended_twice == []
    report.check_repeats([first.pid])


def test_a_worker_that_was_frozen_longer_than_its_lease_drops_its_late_verdicts(fleet: Fleet) -> None:
    early, late = fleet.gate("early"), fleet.gate("late")
    first = fleet.worker(lease=LEASE).ready()
    results = [
        fleet.send("hold", n=1, gate=early.path),
        fleet.send("hold_thread", n=2, gate=early.path),
        fleet.send("hold", n=3, gate=late.path),
    ]
    ids = [result.id for result in results]
    eventually(lambda: fleet.runs.open(first.pid) == set(ids))
    first.freeze()
    second = fleet.worker(lease=LEASE).ready()
    eventually(lambda: fleet.runs.open(second.pid) == set(ids), LEASE * 10)
    early.open()
    assert [result.get(10) for result in results[:2]] == [second.pid] * 2
    first.send_signal(signal.SIGCONT)
    for id in ids:  # two by verdicts that come too late, one by the loss of its lease
        first.wait_for("task.lease_lost", id=id)
    eventually(lambda: fleet.runs.open(first.pid) == set())
    late.open()
    assert results[2].get(10) == second.pid
    report = fleet.finished(set(ids))
    print(f"\n{fleet.server.name}: frozen with 3 tasks: {report}")
    assert [result.get(10) for result in results] == [second.pid] * 3
    assert [result.info().status for result in results] == ["done"] * 3
    assert [len(fleet.runs.of("start", id=id)) for id in ids] == [2, 2, 2]
    assert [len(fleet.runs.of("end", id=id)) for id in ids] == [2, 2, 1]
    assert fleet.runs.of("cut by CancelledError", first.pid, ids[2])
    assert second.stop() == 0  # its log is complete now
    assert [len(second.events("task.done", id=id)) for id in ids] == [1, 1, 1]
    assert [len(first.events("task.done", id=id)) for id in ids] == [0, 0, 0]
    after = fleet.send("work", n=4, seconds=0)
    assert after.get(10) == first.pid
