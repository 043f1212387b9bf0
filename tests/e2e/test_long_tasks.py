"""Healthy tasks that run for many leases: nobody takes them over, also not when they hold up their worker's loop."""

from __future__ import annotations

import pytest

from tests.e2e.fleet import Fleet
from tests.support import eventually

APP = '''
import asyncio, time
from tests.e2e.app_under_test import app, recorded


@app.task(name="long", result=False)
async def long(n: int, seconds: float, block: float) -> None:
    """Holds up the event loop in the middle of it."""
    with recorded(n):
        await asyncio.sleep((seconds - block) / 2)
        time.sleep(block)
        await asyncio.sleep((seconds - block) / 2)
'''
MINUTE = (pytest.mark.long, pytest.mark.timeout(150))


@pytest.mark.parametrize(("seconds", "lease", "block"), [(6.0, 2.0, 3.0), pytest.param(60.0, 3.0, 10.0, marks=MINUTE)])
def test_a_long_task_runs_once_although_it_blocks_the_loop(
    fleet: Fleet, seconds: float, lease: float, block: float
) -> None:
    path = fleet.write("long", APP)
    workers = [fleet.worker(lease=lease, path=path).ready() for _ in range(2)]
    ids = {fleet.send("long", n=n, seconds=seconds, block=block).id for n in range(2)}
    ids |= {fleet.send("long", n=2, seconds=seconds, block=0.0).id}
    ids |= {fleet.send("work", n=3, seconds=seconds).id}
    eventually(lambda: {run.id for run in fleet.runs.of("start")} == ids)
    report = fleet.finished(ids, seconds + 30)
    by = [len(fleet.runs.of("end", worker.pid)) for worker in workers]
    text = f"4 tasks of {seconds:g} s, two of them block the loop for {block:g} s, lease {lease:g} s, {by} a worker"
    print(f"\n{fleet.server.name}: {text}: {report}")
    assert (report.once, report.takeovers, report.ended_twice) == (4, 0, [])
    assert [worker.events("task.lease_lost") for worker in workers] == [[], []]
    assert [worker.stop() for worker in workers] == [0, 0]
