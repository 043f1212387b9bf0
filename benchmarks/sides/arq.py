"""arq: its command, 100 jobs at once. Coroutine tasks only."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arq import create_pool, func
from arq.connections import ArqRedis, RedisSettings

from benchmarks import work

PACKAGES, SHARE = ("arq", "redis", "hiredis", "uvloop"), 20
RESULTS = "arq:result:*"

BODIES: dict[str, Any] = {
    "quiet": work.noop,
    "stored": work.noop,
    "sleep": work.sleep,
    "idle": work.stamp,
    "echo": work.echo,
}
pool: ArqRedis


def _function(kind: str) -> Any:
    async def run(_: Any, *args: Any) -> Any:
        return await BODIES[kind](*args)

    return func(run, name=kind, keep_result=600 if kind in {"stored", "echo"} else 0)


class WorkerSettings:
    """What the command reads."""

    functions = tuple(map(_function, BODIES))
    redis_settings = RedisSettings.from_dsn(os.environ["BENCHMARK_URL"])
    max_jobs = 100


WORKERS = {kind: ["-m", "arq", "benchmarks.sides.arq.WorkerSettings"] for kind in BODIES}


@asynccontextmanager
async def ready() -> AsyncIterator[None]:
    """Open the client."""
    global pool  # noqa: PLW0603
    pool = await create_pool(WorkerSettings.redis_settings)
    yield
    await pool.aclose()


async def one(kind: str, *args: Any) -> None:
    """Send one."""
    await pool.enqueue_job(kind, *args)


aone = one


async def ask(n: int) -> Any:
    """Send one and wait for its result; asks every millisecond, for the default is 0.5 s."""
    job = await pool.enqueue_job("echo", n)
    assert job is not None
    return await job.result(timeout=10, poll_delay=0.001)
