"""A worker that stood still (SIGSTOP, a paused machine) and wakes with a buffer that is no longer its own."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.e2e.fleet import Fleet
from tests.servers import Server, StartServer
from tests.support import eventually

LEASE = 1.0


def test_what_was_read_ahead_by_a_frozen_worker_is_not_started_when_it_wakes(fleet: Fleet) -> None:
    first = fleet.worker("--concurrency", "2", "--threads", "2", "--prefetch", "10s", lease=LEASE).ready()
    warm = fleet.many(200, seconds=0.001)  # the rate that makes it read ahead
    eventually(lambda: warm <= fleet.runs.ended())
    gate = fleet.gate()
    held = {fleet.send(task, n=0, gate=gate.path).id for task in ("hold", "hold_thread") for _ in range(2)}
    eventually(lambda: fleet.runs.open(first.pid) == held)
    behind = fleet.many(80, seconds=0.05)
    eventually(lambda: fleet.pending() > 24)
    first.freeze()
    kept = fleet.pending() - len(held)
    second = fleet.worker(lease=LEASE).ready()
    eventually(lambda: {run.id for run in fleet.runs.of("start", second.pid)} == held | behind, 20)
    first.send_signal(signal.SIGCONT)
    gate.open()
    report = fleet.finished(warm | held | behind)
    print(f"\n{fleet.server.name}: woke with {len(held)} tasks running and {kept} read ahead: {report}")
    assert kept > 20
    assert {run.id for run in fleet.runs.of("start", first.pid)} == warm | held
    assert set(report.started_twice) == held
    assert [worker.stop() for worker in (first, second)] == [0, 0]
    told = [event.get("count", 1) for event in first.events("task.done") + second.events("task.done")]
    assert sum(told) == len(warm | held | behind)  # a done that is not in time is not told


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.long)])
def test_a_redis_that_stands_still_for_longer_than_the_lease_takes_no_task_away(
    own_server: StartServer, server_name: str, fleets: Callable[[Server], Fleet], times: int
) -> None:
    """When it goes on, every lease looks run out, and each worker asks at once; the owners renew first."""
    fleet = fleets(own_server(server_name))
    workers = [fleet.worker("--concurrency", "8", lease=LEASE).ready() for _ in range(3)]
    gate = fleet.gate()
    held = {fleet.send("hold", n=n, gate=gate.path).id for n in range(6)}
    eventually(lambda: {run.id for run in fleet.runs.of("start")} == held)
    for turn in range(times):
        fleet.server.sigstop()
        frozen = time.monotonic()
        eventually(lambda frozen=frozen, turn=turn: time.monotonic() - frozen > (2.5 + turn / 7) * LEASE)
        fleet.server.sigcont()
        ids = fleet.many(10, seconds=0.01)
        eventually(lambda ids=ids: ids <= fleet.runs.ended())
        started = {run.id for run in fleet.runs.of("start")}
        woke = time.monotonic()
        eventually(lambda woke=woke: time.monotonic() - woke > 1.5 * LEASE)  # the claim holiday is over
        held |= started
    gate.open()
    report = fleet.finished(held)
    print(f"\n{fleet.server.name}: stood still {times} times for 2.5 s and more with 6 tasks running: {report}")
    assert report.started_twice == []
    assert [worker.stop() for worker in workers] == [0, 0, 0]
