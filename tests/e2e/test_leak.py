"""`--max-rss` against a task that leaks: the ceiling holds, all run exactly once, and the work does not stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import psutil
import pytest

from tests.e2e.fleet import Fleet, Process, Run
from tests.e2e.test_recycle import let_go, naps, start
from tests.e2e.test_supervisor import children, one_server

MIB = 2**20


@contextmanager
def memory_of(parent: Process) -> Iterator[dict[int, int]]:
    """The most bytes that each child of a parent held, seen from outside."""
    most: dict[int, int] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            for child in psutil.Process(parent.pid).children():
                try:
                    most[child.pid] = max(most.get(child.pid, 0), child.memory_info().rss)
                except psutil.Error:
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def busiest(runs: list[Run], seconds: float) -> int:
    """The most starts of one process within a time."""
    most, first = 0, dict[int, int]()
    by: dict[int, list[float]] = {}
    for run in runs:
        times = by.setdefault(run.pid, [])
        times.append(run.at)
        while run.at - times[first.get(run.pid, 0)] > seconds:
            first[run.pid] = first.get(run.pid, 0) + 1
        most = max(most, len(times) - first.get(run.pid, 0))
    return most


@one_server
@pytest.mark.parametrize(
    ("count", "kib", "at_once"), [(2000, 100, 10), pytest.param(50_000, 10, 40, marks=pytest.mark.long)]
)
def test_a_leak_stays_under_the_ceiling_and_all_run_exactly_once(
    fleet: Fleet, count: int, kib: int, at_once: int
) -> None:
    ceiling = 192
    let_go(fleet)
    ids = {fleet.send("leak", n=n, kib=kib).id for n in range(count)}
    parent = start(fleet, "--max-rss", f"{ceiling}MiB", "--concurrency", str(at_once))
    with memory_of(parent) as most:
        report = fleet.finished(ids, timeout=600)
    assert (report.once, report.takeovers) == (count, 0)
    starts = fleet.runs.of("start")
    slack = busiest(starts, 0.5) * kib * 1024  # a look is due each 0.1 s, and a busy loop comes late
    assert max(most.values()) <= ceiling * MIB + slack
    recycled = parent.events("worker.recycled")
    assert {event["code"] for event in recycled} == {0}
    assert len(recycled) >= count * kib / 1024 // ceiling
    ends = sorted(run.at for run in fleet.runs.of("end"))
    gap = max(b - a for a, b in pairwise(ends))
    print(
        f"\n{count} tasks that leak {kib} KiB each, {count * kib / 1024:.0f} MiB, in {ends[-1] - ends[0]:.1f} s:"
        f" {len(recycled)} processes replaced, at most {max(most.values()) / MIB:.1f} MiB held (ceiling {ceiling};"
        f" allowed for {slack / MIB:.1f} more), {len(parent.events('worker.spent'))} of them spent,"
        f" longest time without an end {gap:.2f} s; {report}"
    )
    assert parent.stop() == 0


@one_server
def test_at_the_ceiling_it_takes_nothing_more_although_no_replacement_serves(fleet: Fleet) -> None:
    parent = start(fleet, "--max-rss", "192MiB", "--concurrency", "4")
    (old,) = children(parent)
    ids = {fleet.send("leak", n=n, kib=512).id for n in range(800)}
    parent.wait_for("worker.recycled", 60, pid=old, code=0)
    (spent,) = parent.events("worker.spent")
    assert spent["pid"] == old
    started = fleet.runs.report()
    assert 0 < len(started.starts) < 800
    assert psutil.pid_exists(old) is False
    let_go(fleet)
    report = fleet.finished(ids)
    assert (report.once, report.takeovers) == (800, 0)
    assert parent.events("worker.died") == []
    assert parent.stop() == 0


@one_server
def test_a_ceiling_below_the_first_task_is_said_and_not_kept(fleet: Fleet) -> None:
    parent = start(fleet, "--max-rss", "8MiB")
    naps(fleet, 10)
    warnings = [event["msg"] for event in parent.events("worker.warning") if "--max-rss" in event["msg"]]
    assert len(warnings) == 1
    assert "before its first task" in warnings[0]
    assert parent.stop() == 0
    assert parent.events("worker.worn") == []
