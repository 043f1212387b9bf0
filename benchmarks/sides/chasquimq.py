"""ChasquiMQ: its Rust core with coroutine handlers, 100 at once as by default."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from chasquimq import Job, Queue, Worker

from benchmarks import work

PACKAGES, SHARE = ("chasquimq",), 5

URL = os.environ["BENCHMARK_URL"]
BODIES: dict[str, Any] = {
    "quiet": work.noop,
    "stored": work.echo,
    "sleep": work.sleep,
    "idle": work.stamp,
    "echo": work.echo,
}
WORKERS = {kind: ["-m", "benchmarks.sides.chasquimq", kind] for kind in (*BODIES, "pair")}
queues: dict[str, Queue] = {}


@asynccontextmanager
async def ready() -> AsyncIterator[None]:
    """Open the clients."""
    for kind in BODIES:
        queues[kind] = Queue(kind, redis_url=URL)
    yield
    for queue in queues.values():
        await queue.close()


async def one(kind: str, *args: Any) -> None:
    """Send one."""
    await queues[kind].add(kind, args)


aone = one


async def many(kind: str, numbers: Iterable[int]) -> None:
    """Send many, a thousand a call."""
    jobs = [{"name": kind, "data": (n,)} for n in numbers]
    for start in range(0, len(jobs), 1000):
        await queues[kind].add_bulk(jobs[start : start + 1000])


async def ask(n: int) -> Any:
    """Send one and wait for its result; asks every millisecond, for the default is 0.1 s."""
    job = await queues["echo"].add("echo", (n,))
    return await job.wait_for_result(timeout=10, poll_interval=0.001)


async def _work(kind: str) -> None:
    body = BODIES[kind]

    async def handle(job: Job) -> Any:
        return await body(*job.data)

    worker = Worker(kind, handle, redis_url=URL, store_results=kind in {"stored", "echo"})
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, lambda: asyncio.get_running_loop().create_task(worker.close())
    )
    await worker.run()


if __name__ == "__main__":
    if sys.argv[1] == "pair":
        os.fork()
    asyncio.run(_work("quiet" if sys.argv[1] == "pair" else sys.argv[1]))
