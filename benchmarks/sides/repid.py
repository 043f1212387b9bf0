"""repid: Redis streams, read by the hundred, 1000 tasks at once by default, or 100 sleepers. It stores no results."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from repid import RedisServer, Repid, Router

from benchmarks import work

PACKAGES, SHARE = ("repid", "redis", "hiredis", "uvloop"), 5

KINDS = ("quiet", "threads", "sleep", "pause", "idle")
WORKERS = {kind: ["-m", "benchmarks.sides.repid", kind] for kind in (*KINDS, "pair")}

app = Repid(title="bench", version="1")
app.servers.register_server("default", RedisServer(os.environ["BENCHMARK_URL"], batch_size=100), is_default=True)
router = Router()
router.actor(name="quiet", channel="quiet")(work.noop)
router.actor(name="sleep", channel="sleep")(work.sleep)
router.actor(name="idle", channel="idle")(work.stamp)
router.actor(name="threads", channel="threads", pool_executor=ThreadPoolExecutor(10))(work.noop_sync)
router.actor(name="pause", channel="pause", pool_executor=ThreadPoolExecutor(100))(work.sleep_sync)
app.include_router(router)


@asynccontextmanager
async def ready() -> AsyncIterator[None]:
    """Open the client."""
    async with app.servers.default.connection():
        yield


async def one(kind: str, *args: Any) -> None:
    """Send one."""
    payload = dict(zip(("n", "sent"), args, strict=False))
    await app.send_message_json(channel=kind, payload=payload, headers={"topic": kind})


aone = one


async def _work(kind: str) -> None:
    async with ready():
        await app.run_worker(tasks_limit=100 if kind in {"sleep", "pause"} else 1000, register_signals=[signal.SIGTERM])


if __name__ == "__main__":
    if sys.argv[1] == "pair":
        os.fork()
    uvloop.run(_work(sys.argv[1]))
