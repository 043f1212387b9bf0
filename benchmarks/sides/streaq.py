"""streaQ: its worker and command, 100 tasks at once. It stores each result; without one they expire at once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from streaq import Worker

from benchmarks import work

PACKAGES, SHARE = ("streaq", "coredis"), 10
RESULTS = "streaq:default:task:results:*"


def _app(threads: int) -> tuple[Worker[Any], dict[str, Any]]:
    app: Worker[Any] = Worker(redis_url=os.environ["BENCHMARK_URL"], concurrency=100, sync_concurrency=threads)
    tasks = {
        "quiet": app.task(name="quiet", ttl=0, silent=True)(work.noop),
        "stored": app.task(name="stored", silent=True)(work.noop),
        "threads": app.task(name="threads", ttl=0, silent=True)(work.noop_sync),
        "sleep": app.task(name="sleep", ttl=0, silent=True)(work.sleep),
        "pause": app.task(name="pause", ttl=0, silent=True)(work.sleep_sync),
        "idle": app.task(name="idle", ttl=0, silent=True)(work.stamp),
        "echo": app.task(name="echo", silent=True)(work.echo),
    }
    return app, tasks


worker, TASKS = _app(10)
wide, _ = _app(100)
WORKERS = {kind: ["-m", "streaq", "run", "benchmarks.sides.streaq:worker"] for kind in TASKS} | {
    "pair": ["-m", "streaq", "run", "benchmarks.sides.streaq:worker", "--workers", "2"],
    "pause": ["-m", "streaq", "run", "benchmarks.sides.streaq:wide"],
}


@asynccontextmanager
async def ready() -> AsyncIterator[None]:
    """Open the client."""
    async with worker:
        yield


async def one(kind: str, *args: Any) -> None:
    """Send one."""
    await TASKS[kind].enqueue(*args)


aone = one


async def many(kind: str, numbers: Iterable[int]) -> None:
    """Send many by one pipeline, a thousand each."""
    numbers = list(numbers)
    for start in range(0, len(numbers), 1000):
        await worker.enqueue_many([TASKS[kind].enqueue(n) for n in numbers[start : start + 1000]])


async def ask(n: int) -> Any:
    """Send one and wait for its result."""
    task = await TASKS["echo"].enqueue(n)
    return (await task.result(timeout=10)).result
