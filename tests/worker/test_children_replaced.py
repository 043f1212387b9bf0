"""Child processes that end and are replaced, many times: nothing of them stays behind."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from streamtask import TaskFailed
from streamtask.worker import Worker, children
from streamtask.worker.child import Child
from tests.support import aeventually, alive
from tests.worker.children_kit import LONG, notes, pids, send
from tests.worker.kit import Lab, one_server


@pytest.fixture
def lab(children_lab: Lab) -> Lab:
    """The one with children."""
    return children_lab


@one_server
async def test_what_a_child_has_started_ends_with_it(lab: Lab, folder: str) -> None:
    (Path(folder) / "gate").touch()
    async with lab.worker(children=1):
        assert await send(lab, "eat_freely", folder=folder, who="helper", mib=1).aget(LONG) == "full"
        helper = int(notes(folder)[1].split()[1])
        assert alive(helper)
        os.kill(pids(folder)[0], signal.SIGKILL)
        await aeventually(lambda: not alive(helper), LONG)


def held_up(worker: Worker) -> dict[str, int]:
    """What a leak would add to."""
    me = psutil.Process()
    found = {"files": me.num_fds(), "tasks": len(asyncio.all_tasks()), "children": len(me.children())}
    gc.collect()
    known = [found for found in gc.get_objects() if isinstance(found, Child)]
    return found | {"known": len(known), "busy": len(worker.children._busy)}


@one_server
async def test_children_that_are_replaced_thirty_times_leave_nothing_behind(
    lab: Lab, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are killed before they serve, others then, idle or not."""
    monkeypatch.setattr(children, "PAUSES", (0.0,))
    start, started = Child.start, 0

    async def kill_most(self: Child, *args: Any) -> None:
        nonlocal started
        await start(self, *args)
        started += 1
        if started % 10:
            self.kill()

    async with lab.worker(children=1) as worker:
        await send(lab, "pid").aget(LONG)
        before = held_up(worker)
        monkeypatch.setattr(Child, "start", kill_most)
        for _ in range(2):
            os.kill(await send(lab, "pid").aget(LONG), signal.SIGKILL)
        assert await send(lab, "crash", folder=folder, how="kill", times=1).aget(LONG) == "survived"
        assert started >= 3 * 10

        def more() -> list[str]:
            """What a leak would show in, by thirty; a few tasks and connections of a worker come and go."""
            return [what for what, now in held_up(worker).items() if now > before[what] + 10]

        await aeventually(lambda: more() == [])


@one_server
async def test_a_child_is_replaced_also_when_tasks_have_all_threads_of_the_loops_pool(lab: Lab) -> None:
    let_go = threading.Event()
    async with lab.worker(children=1):
        first = await send(lab, "pid").aget(LONG)
        blocked = [asyncio.create_task(asyncio.to_thread(let_go.wait)) for _ in range(64)]
        try:
            os.kill(first, signal.SIGKILL)
            assert await send(lab, "pid").aget(LONG) != first
        finally:
            let_go.set()
            await asyncio.gather(*blocked)


@one_server
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans as the first one does")
async def test_in_the_first_process_of_a_container_nothing_stays_behind_as_a_zombie(lab: Lab, folder: str) -> None:
    adopt = ctypes.CDLL(None).prctl
    adopt(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    try:
        async with lab.worker(children=1) as worker:
            assert await send(lab, "crash", folder=folder, how="fork", times=1).aget(LONG) == "survived"
            with pytest.raises(TaskFailed):
                await send(lab, "stubborn", folder=folder).aget(LONG)
            await aeventually(lambda: worker.children.slots["child"] == 1, LONG)
            statuses = [process.status() for process in psutil.Process().children()]
            assert psutil.STATUS_ZOMBIE not in statuses
    finally:
        adopt(36, 0, 0, 0, 0)
