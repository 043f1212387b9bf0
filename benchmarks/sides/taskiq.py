"""Taskiq: the Redis stream broker, which acknowledges; a result backend only where results are asked for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks import work

PACKAGES, SHARE = ("taskiq", "taskiq-redis", "redis", "hiredis", "uvloop"), 10
RESULTS = "result:*"
URL = os.environ["BENCHMARK_URL"]

quiet = RedisStreamBroker(url=URL)
backend: Any = RedisAsyncResultBackend(redis_url=URL, result_ex_time=600, prefix_str="result")
stored = RedisStreamBroker(url=URL).with_result_backend(backend)
TASKS: dict[str, Any] = {
    "quiet": quiet.task(task_name="quiet")(work.noop),
    "stored": stored.task(task_name="stored")(work.noop),
    "threads": quiet.task(task_name="threads")(work.noop_sync),
    "sleep": quiet.task(task_name="sleep")(work.sleep),
    "pause": quiet.task(task_name="pause")(work.sleep_sync),
    "idle": quiet.task(task_name="idle")(work.stamp),
    "echo": stored.task(task_name="echo")(work.echo),
}


def _worker(app: str, workers: int = 1, threads: int = 10) -> list[str]:
    program = ["-m", "taskiq", "worker", f"benchmarks.sides.taskiq:{app}", "--log-level", "WARNING"]
    return [*program, "--workers", str(workers), "--max-threadpool-threads", str(threads)]


WORKERS = {kind: _worker("quiet") for kind in TASKS} | {
    "pair": _worker("quiet", workers=2),
    "pause": _worker("quiet", threads=100),
    "stored": _worker("stored"),
    "echo": _worker("stored"),
}


@asynccontextmanager
async def ready() -> AsyncIterator[None]:
    """Open the brokers."""
    for broker in (quiet, stored):
        await broker.startup()
    yield
    for broker in (quiet, stored):
        await broker.shutdown()


async def one(kind: str, *args: Any) -> None:
    """Send one."""
    await TASKS[kind].kiq(*args)


aone = one


async def ask(n: int) -> Any:
    """Send one and wait for its result; asks every millisecond, for the default is 0.2 s."""
    task = await TASKS["echo"].kiq(n)
    return (await task.wait_result(check_interval=0.001, timeout=10)).return_value
