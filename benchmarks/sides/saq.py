"""SAQ: Redis queue, its command, 100 jobs at once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from saq import Queue

from benchmarks import work

PACKAGES, SHARE = ("saq", "redis", "hiredis", "uvloop"), 10
RESULTS = "saq:job:default:*"

BODIES: dict[str, Any] = {
    "quiet": work.noop,
    "stored": work.noop,
    "threads": work.noop_sync,
    "sleep": work.sleep,
    "idle": work.stamp,
    "echo": work.echo,
}
queue = Queue.from_url(os.environ["BENCHMARK_URL"])


def _function(kind: str) -> Any:
    async def run(_: Any, **kwargs: Any) -> Any:
        return await BODIES[kind](**kwargs)

    def run_sync(_: Any, **kwargs: Any) -> Any:
        return BODIES[kind](**kwargs)

    return kind, run_sync if kind == "threads" else run


settings = {"queue": queue, "functions": list(map(_function, BODIES)), "concurrency": 100}
PROGRAM = ["-m", "saq", "benchmarks.sides.saq.settings", "--quiet"]
WORKERS = dict.fromkeys(BODIES, PROGRAM) | {"pair": [*PROGRAM, "--workers", "2"]}


@asynccontextmanager
async def ready() -> AsyncIterator[None]:
    """Open the client."""
    await queue.connect()
    yield
    await queue.disconnect()


async def one(kind: str, *args: Any) -> None:
    """Send one; what nobody asks for is not kept."""
    names = ("n", "sent")
    kept = {} if kind == "stored" else {"ttl": -1}
    await queue.enqueue(kind, **dict(zip(names, args, strict=False)), **kept)


aone = one


async def ask(n: int) -> Any:
    """Send one and wait for its result; asks every millisecond, for the default is 0.5 s."""
    return await queue.apply("echo", n=n, timeout=10, poll_interval=0.001)
