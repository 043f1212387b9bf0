"""Bare redis-py loops, the limit that streamtask is measured against: `python -m benchmarks.sides.bare KIND`.

They read a hundred at a time, run each message in a Task (or a thread), and acknowledge a batch at once, while the next
batch is read. There are no leases, no fencing, no retries, no validation and no stop. Producers send what streamtask
sends, and check nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable
from queue import SimpleQueue
from typing import Any

import redis
import redis.asyncio
import uvloop

from benchmarks import work

URL = os.environ["BENCHMARK_URL"]
PACKAGES, SHARE = ("redis", "hiredis", "uvloop"), 1
RESULTS, EMPTIES = "result:*", True
KINDS = ("quiet", "stored", "threads", "sleep", "pause", "idle", "echo", "pair", "payload")
WORKERS = {kind: ["-m", "benchmarks.sides.bare", kind] for kind in KINDS}

#: Messages of one read, which are also the sleepers at once; of one pipeline of `many`; threads of the no-op.
COUNT, PIPELINE, THREADS = 100, 100, 10
GROUP, BLOCK_MS, RESULT_TTL_MS = "workers", 5000, 900_000

Fields = dict[bytes, bytes]
Entries = list[tuple[bytes, Fields]]


def stream_of(kind: str) -> str:
    """The stream of a kind, by streamtask's rule for keys."""
    return f"bench-{kind}:default"


def _number(fields: Fields) -> int:
    return int(fields[b"args"][5:-1])  # {"n":123}


def _number_before(fields: Fields) -> int:
    return int(fields[b"args"][5:].partition(b",")[0])  # {"n":123,"body":"..."}


def _numbers(fields: Fields) -> list[int]:
    return [int(number) for number in fields[b"args"][5:-1].split(b',"sent":')]  # {"n":1,"sent":2}


def _entries(reply: Any) -> Entries:
    """The entries of a reply about one stream, in RESP2's or RESP3's form."""
    found: Entries = []
    for entries in reply.values() if isinstance(reply, dict) else [entries for _, entries in reply or ()]:
        found += entries[0] if isinstance(reply, dict) else entries
    return found


#: The coroutine of a message, for each kind that runs on the event loop.
CALLS: dict[str, Callable[[Fields], Coroutine[Any, Any, Any]]] = {
    "quiet": lambda fields: work.noop(_number(fields)),
    "stored": lambda fields: work.noop(_number(fields)),
    "sleep": lambda fields: work.sleep(_number(fields)),
    "idle": lambda fields: work.stamp(*_numbers(fields)),
    "echo": lambda fields: work.echo(_number(fields)),
    "payload": lambda fields: work.payload(_number_before(fields), ""),
}


class AsyncLoop:
    """Reads, runs a Task a message, and lets the acknowledgement of one batch overlap the next read."""

    def __init__(self, kind: str, consumer: str) -> None:
        self._client: Any = redis.asyncio.Redis.from_url(URL)
        self._stream, self._consumer, self._call = stream_of(kind), consumer, CALLS[kind]
        self._stored, self._told = kind in {"stored", "echo"}, kind == "echo"

    async def serve(self) -> None:
        """Read for ever."""
        loop = asyncio.get_running_loop()
        ack: asyncio.Task[None] | None = None
        while True:
            streams = {self._stream: ">"}
            reply = await self._client.xreadgroup(GROUP, self._consumer, streams, count=COUNT, block=BLOCK_MS)
            entries = _entries(reply)
            for task in [loop.create_task(self._call(fields)) for _, fields in entries]:
                await task
            if ack is not None:
                await ack
            ack = loop.create_task(self._settle(entries))

    async def _settle(self, entries: Entries) -> None:
        ids = [entry_id for entry_id, _ in entries]
        if not ids:
            return
        if not self._stored:
            await self._client.execute_command("XACKDEL", self._stream, GROUP, "IDS", len(ids), *ids)
            return
        pipe = self._client.pipeline(transaction=False)
        for _, fields in entries:
            pipe.set(b"result:" + fields[b"id"], fields[b"args"] if self._told else b"null", px=RESULT_TTL_MS)
            if self._told:
                pipe.lpush(b"told:" + fields[b"id"], fields[b"args"])
        pipe.execute_command("XACKDEL", self._stream, GROUP, "IDS", len(ids), *ids)
        await pipe.execute()


def serve_threads(kind: str, run: Callable[[int], None], threads: int) -> None:
    """Read for ever, hand each message to one of the threads, acknowledge what they have done by the batch."""
    client: Any = redis.Redis.from_url(URL)
    jobs: SimpleQueue[tuple[bytes, Fields]] = SimpleQueue()
    done: SimpleQueue[bytes] = SimpleQueue()

    def slot() -> None:
        while True:
            entry_id, fields = jobs.get()
            run(_number(fields))
            done.put(entry_id)

    for _ in range(threads):
        threading.Thread(target=slot, daemon=True).start()
    while True:
        entries = _entries(client.xreadgroup(GROUP, "bare", {stream_of(kind): ">"}, count=COUNT, block=BLOCK_MS))
        for entry in entries:
            jobs.put(entry)
        ids = [done.get() for _ in entries]
        if ids:
            client.execute_command("XACKDEL", stream_of(kind), GROUP, "IDS", len(ids), *ids)


def main() -> None:
    """Serve one kind of messages until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    kind, consumer = sys.argv[1], "bare"
    if kind == "pair":
        kind, consumer = "quiet", "bare-parent" if os.fork() else "bare-child"
    try:
        redis.Redis.from_url(URL).xgroup_create(stream_of(kind), GROUP, "0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    if kind in CALLS:
        uvloop.run(AsyncLoop(kind, consumer).serve())
    elif kind == "threads":
        serve_threads(kind, work.noop_sync, THREADS)
    else:
        serve_threads(kind, work.sleep_sync, COUNT)


CLIENT: Any = redis.Redis.from_url(URL)
ASYNC_CLIENT: Any = redis.asyncio.Redis.from_url(URL)
NUMBER = itertools.count()


def _message(*args: int) -> Any:
    """The same entry as streamtask writes, without what makes it safe."""
    text = b'{"n":%d}' if len(args) == 1 else b'{"n":%d,"sent":%d}'
    return {"task": "benchmarks.work.noop", "id": f"{next(NUMBER):032x}", "args": text % args}


def _payload(n: int) -> Any:
    return _message(n) | {"args": f'{{"n":{n},"body":"{work.BODY}"}}'}


def one(kind: str, *args: int) -> None:
    """Send one, and wait until Redis has it."""
    CLIENT.xadd(stream_of(kind), _message(*args))


def many(kind: str, numbers: Iterable[int]) -> None:
    """Send many, a hundred a pipeline."""
    stream, rest = stream_of(kind), iter(numbers)
    while batch := list(itertools.islice(rest, PIPELINE)):
        pipe = CLIENT.pipeline(transaction=False)
        for n in batch:
            pipe.xadd(stream, _message(n) if kind != "payload" else _payload(n))
        pipe.execute()


async def aone(kind: str, *args: int) -> None:
    """Send one in an event loop."""
    await ASYNC_CLIENT.xadd(stream_of(kind), _message(*args))


async def flight(kind: str, size: int, width: int) -> None:
    """`width` at once, as a hand would do it: in one pipeline."""
    for start in range(0, size, width):
        pipe = ASYNC_CLIENT.pipeline(transaction=False)
        for n in range(start, min(start + width, size)):
            pipe.xadd(stream_of(kind), _message(n))
        await pipe.execute()


def ask(n: int) -> int:
    """Send one, wait on the list that its result is pushed to."""
    message = _message(n)
    CLIENT.xadd(stream_of("echo"), message)
    _, told = CLIENT.blpop(f"told:{message['id']}", 10)
    return int(told[5:-1])


if __name__ == "__main__":
    main()
