"""Bare redis-py loops, the limit that a worker is measured against: `python -m benchmarks.bare quiet URL STREAM`.

They read a hundred at a time, run each message in a Task (or a thread), and acknowledge a batch at once, while the next
batch is read. There are no leases, no fencing, no retries, no validation and no stop.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from queue import SimpleQueue
from typing import Any

import redis
import redis.asyncio
import uvloop

from benchmarks.ledger import delays, ran

GROUP, CONSUMER, COUNT, THREADS = "workers", "bare", 100, 10
BLOCK_MS, RESULT_TTL_MS = 5000, 900_000

Entries = list[tuple[bytes, dict[bytes, bytes]]]


def _number(fields: dict[bytes, bytes]) -> int:
    return int(fields[b"args"][5:-1])  # {"n":123}


def _entries(reply: Any) -> Entries:
    """The entries of a reply about one stream, in RESP2's or RESP3's form."""
    found: Entries = []
    for entries in reply.values() if isinstance(reply, dict) else [entries for _, entries in reply or ()]:
        found += entries[0] if isinstance(reply, dict) else entries
    return found


async def _noop(fields: dict[bytes, bytes]) -> None:
    ran[_number(fields)] += 1


async def _stamp(fields: dict[bytes, bytes]) -> None:
    n, sent = fields[b"args"][5:-1].split(b',"sent":')  # {"n":1,"sent":2}
    delays.append(time.monotonic_ns() - int(sent))
    ran[int(n)] += 1


class AsyncLoop:
    """Reads, runs a Task a message, and lets the acknowledgement of one batch overlap the next read."""

    def __init__(self, url: str, stream: str, *, stored: bool, stamped: bool) -> None:
        self._client: Any = redis.asyncio.Redis.from_url(url)
        self._stream, self._stored, self._run = stream, stored, _stamp if stamped else _noop

    async def serve(self) -> None:
        """Read for ever."""
        loop = asyncio.get_running_loop()
        ack: asyncio.Task[None] | None = None
        while True:
            reply = await self._client.xreadgroup(GROUP, CONSUMER, {self._stream: ">"}, count=COUNT, block=BLOCK_MS)
            entries = _entries(reply)
            for task in [loop.create_task(self._run(fields)) for _, fields in entries]:
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
            pipe.set(b"result:" + fields[b"id"], b"null", px=RESULT_TTL_MS)
        pipe.execute_command("XACKDEL", self._stream, GROUP, "IDS", len(ids), *ids)
        await pipe.execute()


def serve_threads(url: str, stream: str) -> None:
    """Read for ever, hand each message to one of a few threads, acknowledge what they have done by the batch."""
    client: Any = redis.Redis.from_url(url)
    jobs: SimpleQueue[tuple[bytes, dict[bytes, bytes]]] = SimpleQueue()
    done: SimpleQueue[bytes] = SimpleQueue()

    def slot() -> None:
        while True:
            entry_id, fields = jobs.get()
            ran[_number(fields)] += 1
            done.put(entry_id)

    for _ in range(THREADS):
        threading.Thread(target=slot, daemon=True).start()
    while True:
        entries = _entries(client.xreadgroup(GROUP, CONSUMER, {stream: ">"}, count=COUNT, block=BLOCK_MS))
        for entry in entries:
            jobs.put(entry)
        ids = [done.get() for _ in entries]
        if ids:
            client.execute_command("XACKDEL", stream, GROUP, "IDS", len(ids), *ids)


def main() -> None:
    """Serve one kind of messages until SIGTERM."""
    kind, url, stream = sys.argv[1:4]
    try:
        redis.Redis.from_url(url).xgroup_create(stream, GROUP, "0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    if kind == "threads":
        serve_threads(url, stream)
    else:
        uvloop.run(AsyncLoop(url, stream, stored=kind == "stored", stamped=kind == "idle").serve())


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the ledger is written
    main()
