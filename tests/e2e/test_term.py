"""Workers that are asked to end: what runs ends or goes back, nothing is run twice, and exit codes tell."""

from __future__ import annotations

import signal

from tests.e2e.fleet import Fleet, Process
from tests.support import eventually


def test_sigterm_lets_running_tasks_end_and_gives_buffered_ones_back_uncounted(fleet: Fleet) -> None:
    # Two slots a kind and a second of work read ahead: most of what it holds is only buffered.
    first = fleet.worker("--concurrency", "2", "--threads", "2", "--prefetch", "1s", "--log-level", "debug").ready()
    ids = fleet.many(400, seconds=0.05)
    eventually(lambda: len(fleet.runs.ended()) > 50 and fleet.pending() > 20)
    assert first.stop() == 0
    assert fleet.runs.open(first.pid) == set()
    assert fleet.runs.ended() == {run.id for run in fleet.runs.of("start")}
    released = first.events("task.released")
    assert 0 < fleet.pending() <= len(released)  # they wait under the name "released"
    done_by_first = len(fleet.runs.ended())
    second = fleet.worker().ready()
    report = fleet.finished(ids)
    print(f"\n{fleet.server.name}: SIGTERM: {done_by_first} ended, {len(released)} buffered given back; {report}")
    assert all(event["started"] is False for event in released)
    assert {run.deliveries for run in fleet.runs.of("start", second.pid)} == {1}
    assert (report.once, report.ended_twice) == (400, [])


def test_what_outlasts_grace_is_finished_by_another_worker(fleet: Fleet) -> None:
    gate = fleet.gate()
    first = fleet.worker("--grace", "0.3").ready()
    results = [fleet.send(task, n=1, gate=gate.path) for task in ("hold", "hold_thread")]
    coroutine, thread = ids = [result.id for result in results]
    eventually(lambda: fleet.runs.open(first.pid) == set(ids))
    assert first.stop() == 5
    assert fleet.runs.of("cut by CancelledError", first.pid, coroutine)
    # The coroutine waits under the name "released"; the thread was not given back: it might still have been running.
    assert set(fleet.holders("default")) == {"released"}
    assert set(fleet.holders("threads")).isdisjoint({"released"})
    second = fleet.worker().ready()
    eventually(lambda: fleet.runs.open(second.pid) == set(ids), 20)
    gate.open()
    assert [result.get(10) for result in results] == [second.pid] * 2
    fleet.finished(set(ids)).check_repeats([first.pid])
    for id in (coroutine, thread):  # a start counts, so that no token of a started attempt comes twice
        assert [(run.deliveries, run.attempt) for run in fleet.runs.of("start", id=id)] == [(1, 1), (2, 1)]
        assert len(fleet.runs.of("end", id=id)) == 1


def test_the_second_sigint_stops_at_once(fleet: Fleet) -> None:
    gate = fleet.gate()
    first = fleet.worker("--grace", "300").ready()
    held = [fleet.send(task, n=1, gate=gate.path) for task in ("hold", "hold_thread")]
    eventually(lambda: len(fleet.runs.open(first.pid)) == 2)
    first.send_signal(signal.SIGINT)
    first.wait_for("worker.draining")
    assert first.running
    assert first.stop(signal.SIGINT) == 130
    assert "Traceback" not in first.log.read_text()
    gate.open()
    second = fleet.worker().ready()
    assert [result.get(20) for result in held] == [second.pid] * 2
    fleet.finished({result.id for result in held}).check_repeats([first.pid])


def test_a_rolling_restart_under_load_runs_nothing_twice(fleet: Fleet) -> None:
    slots = ("--concurrency", "10", "--threads", "5", "--prefetch", "500ms")
    old = [fleet.worker(*slots) for _ in range(3)]
    for worker in old:
        worker.ready()
    ids = fleet.many(600, seconds=0.05)
    new: list[Process] = []
    busy = []
    for worker in old:
        new.append(fleet.worker(*slots).ready())
        eventually(lambda worker=worker: len(fleet.runs.of("end", worker.pid)) > 20)
        busy.append(_loaded(fleet, worker, ids))
        assert worker.stop() == 0
        assert fleet.runs.open(worker.pid) == set()
    report = fleet.finished(ids)
    print(
        f"\n{fleet.server.name}: rolling restart of 3 workers, {len(ids)} messages, {busy} running at SIGTERM: {report}"
    )
    assert (report.once, report.takeovers, report.ended_twice) == (len(ids), 0, [])
    assert all(fleet.runs.of("start", worker.pid) for worker in new)


def _loaded(fleet: Fleet, worker: Process, ids: set[str]) -> int:
    """Send until this worker is in the middle of tasks, with more to come; how many it runs."""

    def busy() -> int:
        if fleet.left() < 200:
            ids.update(fleet.many(300, seconds=0.05))
        return len(fleet.runs.open(worker.pid))

    return eventually(busy)
