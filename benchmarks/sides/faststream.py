"""FastStream: a stream with a consumer group, 100 handlers at once. Batches it sends to lists only."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from benchmarks import work

PACKAGES, SHARE = ("faststream", "redis", "hiredis", "uvloop"), 10
#: The worker does not read the lists that `many` fills.
FILLS = False

URL, KINDS = os.environ["BENCHMARK_URL"], ("quiet", "threads", "sleep", "idle")
broker = RedisBroker(URL)
app = FastStream(broker)


def _stream(kind: str) -> StreamSub:
    return StreamSub(kind, group="workers", consumer=f"worker-{os.getpid()}", max_records=100, last_id=">")


@broker.subscriber(stream=_stream("quiet"), max_workers=100)
async def quiet(n: int) -> None:
    """Count it."""
    await work.noop(n)


@broker.subscriber(stream=_stream("threads"), max_workers=100)
def threads(n: int) -> None:
    """Count it, in a thread."""
    work.noop_sync(n)


@broker.subscriber(stream=_stream("sleep"), max_workers=100)
async def sleep(n: int) -> None:
    """Wait."""
    await work.sleep(n)


@broker.subscriber(stream=_stream("idle"), max_workers=100)
async def idle(n: int, sent: int) -> None:
    """Note when."""
    await work.stamp(n, sent)


PROGRAM = ["-m", "faststream", "run", "benchmarks.sides.faststream:app", "--log-level", "warning"]
WORKERS = dict.fromkeys(("quiet", "threads", "sleep", "idle"), PROGRAM) | {"pair": [*PROGRAM, "--workers", "2"]}


@asynccontextmanager
async def ready() -> AsyncIterator[None]:
    """Open the client."""
    client: Any = Redis.from_url(URL)
    for kind in KINDS:  # a group that the worker makes would not see what was sent before
        with suppress(ResponseError):
            await client.xgroup_create(kind, "workers", "0", mkstream=True)
    await client.aclose()
    async with broker:
        yield


async def one(kind: str, *args: Any) -> None:
    """Send one."""
    await broker.publish(args[0] if len(args) == 1 else dict(zip(("n", "sent"), args, strict=True)), stream=kind)


aone = one


async def many(kind: str, numbers: Iterable[int]) -> None:
    """Send many to a list, a thousand each."""
    messages = list(numbers)
    for start in range(0, len(messages), 1000):
        await broker.publish_batch(*messages[start : start + 1000], list=f"list-{kind}")
