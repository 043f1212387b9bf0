"""Docket: its command, 50 tasks at once; 100 exhaust its client's connections. Coroutine tasks only."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from docket import Docket

from benchmarks import work

PACKAGES, SHARE = ("pydocket", "redis", "hiredis", "uvloop"), 10

URL = os.environ["BENCHMARK_URL"]
TASKS: dict[str, Any] = {"quiet": work.noop, "sleep": work.sleep, "idle": work.stamp, "echo": work.echo}
tasks = list(TASKS.values())
docket = Docket("bench", url=URL, execution_ttl=timedelta(seconds=0))
lasting = Docket("bench", url=URL)
PROGRAM = ["-m", "docket", "worker", "--docket", "bench", "--url", URL, "--tasks", "benchmarks.sides.docket:tasks"]
WORKERS = {kind: [*PROGRAM, "--concurrency", "50", "--logging-level", "WARNING"] for kind in TASKS}


@asynccontextmanager
async def ready() -> AsyncIterator[None]:
    """Open the client."""
    async with docket, lasting:
        yield


async def one(kind: str, *args: Any) -> None:
    """Send one."""
    await docket.add(TASKS[kind])(*args)


aone = one


async def ask(n: int) -> Any:
    """Send one and wait for its result."""
    execution = await lasting.add(work.echo)(n)
    return await execution.get_result()
