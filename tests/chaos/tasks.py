"""The tasks of a chaos run: each kind of slot, with and without retries, results and a unique key.

Every start is written down, as for the fleet's own app, and so is every time that the process stood still.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time

from streamtask import RetryPolicy, StreamTask, Unique, current
from tests.e2e.app_under_test import DEATHS, RUNS, recorded

SOON = RetryPolicy(base=0.1, max_delay=0.5)
#: Retries of the tasks that fail.
RETRIES = 2
#: Seconds between two looks at the clock, and how late one must be to be written down.
LOOK, STALLED = 0.05, 0.01


class Failed(Exception):
    """What a task raises that is meant to fail."""


def build(url: str | None = None) -> StreamTask:
    """The app; a sender gives the address at which it sends."""
    app = StreamTask("fleet", url)

    @app.task(name="quick", result=False, max_deliveries=DEATHS, retry=SOON)
    async def quick(n: int, seconds: float) -> None:
        with recorded(n):
            await asyncio.sleep(seconds)

    @app.task(name="answer", queue="threads", max_deliveries=DEATHS, retry=SOON)
    def answer(n: int, seconds: float) -> int:
        with recorded(n):
            time.sleep(seconds)
        return n

    @app.task(name="flaky", max_deliveries=DEATHS, max_retries=RETRIES, retry=SOON)
    async def flaky(n: int, seconds: float, fails: int) -> int:
        with recorded(n):
            await asyncio.sleep(seconds)
            if current().attempt <= fails:
                raise Failed(n)
        return n

    @app.task(name="flaky_thread", queue="threads", max_deliveries=DEATHS, max_retries=RETRIES, retry=SOON)
    def flaky_thread(n: int, seconds: float, fails: int) -> None:
        with recorded(n):
            time.sleep(seconds)
            if current().attempt <= fails:
                raise Failed(n)

    @app.task(name="single", max_deliveries=DEATHS, unique=Unique(by=("key",)), retry=SOON)
    async def single(n: int, seconds: float, key: int) -> None:
        with recorded(n):
            await asyncio.sleep(seconds)

    return app


def watch_the_clock(path: str) -> None:
    """Write down whenever this process got no time for a while: it was frozen, or the machine was busy."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    while True:
        asleep = time.monotonic()
        time.sleep(LOOK)
        late = time.monotonic() - asleep - LOOK
        if late > STALLED:
            line = {"what": "stalled", "n": f"{late:.3f}", "id": "", "pid": os.getpid(), "at": time.monotonic()}
            os.write(file, json.dumps(line | {"deliveries": 0, "attempt": 0}).encode() + b"\n")


app = build()
if RUNS in os.environ:
    threading.Thread(target=watch_the_clock, args=(os.environ[RUNS],), daemon=True).start()
