"""The app of the tests with a fleet of processes. Each run of a task is written down, whatever becomes of its process.

A line is one `os.write` to a file that is opened for appending: lines of several processes never mix, and a process
that is killed loses none.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from streamtask import StreamTask, current

#: The variable that names the file of the runs.
RUNS = "FLEET_RUNS"
#: More deaths than a test causes: no message may end as a dead letter because its workers were killed.
DEATHS = 20

app = StreamTask("fleet")


@app.task(name="nap", result=False, max_deliveries=DEATHS)
async def nap(n: int, seconds: float) -> None:
    """A coroutine without a result: its end is written by the cheap script."""
    with recorded(n):
        await asyncio.sleep(seconds)


@app.task(name="work", queue="threads", max_deliveries=DEATHS)
def work(n: int, seconds: float) -> int:
    """A thread task with a result."""
    with recorded(n):
        time.sleep(seconds)
    return os.getpid()


@app.task(name="hold", max_deliveries=DEATHS)
async def hold(n: int, gate: Path) -> int:
    """Runs until the test opens the gate."""
    with recorded(n):
        while not gate.exists():
            await asyncio.sleep(0.02)
    return os.getpid()


@app.task(name="hold_thread", queue="threads", max_deliveries=DEATHS)
def hold_thread(n: int, gate: Path) -> int:
    """The same in a thread, which nobody can cancel."""
    with recorded(n):
        while not gate.exists():
            time.sleep(0.02)
    return os.getpid()


@app.task(name="echo", max_retries=0)
def echo(n: int = 0, text: str = "") -> int:
    """What the garbage of tests/worker/garbage.py calls."""
    with recorded(n):
        return n + len(text)


@app.task(name="tick", result=False)
async def tick(schedule: str) -> None:
    """What schedules send; only read in the stream, never run."""


@contextmanager
def recorded(n: int) -> Iterator[None]:
    """Write down the start of this run, and its end or what cut it short."""
    _write("start", n)
    try:
        yield
    except BaseException as error:
        _write(f"cut by {type(error).__name__}", n)
        raise
    _write("end", n)


def _write(what: str, n: int) -> None:
    here = current()
    line = {
        "what": what,
        "n": str(n)[:20],
        "id": here.id,
        "pid": os.getpid(),
        "deliveries": here.deliveries,
        "attempt": here.attempt,
        "at": time.monotonic(),  # Linux: one clock for all processes
        "late": time.time() - here.started_at.timestamp(),
    }
    os.write(_file(), json.dumps(line).encode() + b"\n")


@cache
def _file() -> int:
    return os.open(os.environ[RUNS], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
