"""The building blocks that talk with Redis: parsing, packing, scripts, and what redis-py costs around a command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hiredis
import redis
import redis.asyncio
import uvloop

from streamtask.broker.scripts import DONE
from tests.servers import Server

STREAM, GROUP, CONSUMER = "floor:default", "workers", "floor"
#: Messages of a batch.
BATCH = 100
_FIELDS: list[str | bytes] = ["task", "benchmarks.work.noop", "id", "9f86d081884c7d659a2feaa0c55ad015"]
_FIELDS += ["args", b'{"n":12345}']
_READ = ("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT")

#: A group of the table, a name, how often it is done, and what gives the seconds of so many.
Talk = tuple[str, str, int, Callable[[int], float]]


def talks(server: Server) -> list[Talk]:
    """All of them."""
    floor = Floor(server)
    return [
        ("client", "hiredis: parse a message, of a reply of 100", 50_000, floor.parse),
        ("client", "hiredis: pack an XADD", 50_000, floor.pack),
        ("client", "hiredis: pack a message's part of an XACKDEL of 100", 50_000, floor.pack_ends),
        ("client", "redis-py, asyncio: XREADGROUP COUNT 100, a message", 10_000, lambda n: floor.redis_py(n, BATCH)),
        ("client", "redis-py, asyncio: XREADGROUP COUNT 1, a message", 1_000, lambda n: floor.redis_py(n, 1)),
        ("Redis CPU", "XADD, 100 in a pipeline", 10_000, floor.add),
        ("Redis CPU", "XADD that is taken once (IDMP), likewise", 10_000, floor.add_once),
        ("Redis CPU", "XREADGROUP COUNT 100, a message", 10_000, floor.read),
        ("Redis CPU", "XACKDEL of 100, a message", 10_000, floor.acknowledge),
        ("Redis CPU", "the fenced script DONE for 100, a message", 10_000, floor.done),
        ("Redis CPU", "the fenced script DONE for one", 2_000, floor.done_one),
        ("Redis CPU", "SET of a result, 100 in a pipeline", 10_000, floor.store),
        ("round trip", "PING by redis-py", 2_000, floor.ping),
        ("round trip", "PING by redis-py, asyncio on uvloop", 2_000, floor.ping_async),
    ]


class Floor:
    """A server, and a blocking client that gets it ready for what is measured."""

    def __init__(self, server: Server) -> None:
        self._url = server.url
        self._client: Any = redis.Redis.from_url(server.url, protocol=2)
        self._client.script_load(DONE.text)

    # -- the client's side --------------------------------------------------------------------------------------------

    def parse(self, n: int) -> float:
        """A hundred entries a reply, as bytes come from the socket."""
        entry = b"*2\r\n$15\r\n1764300000000-0\r\n*6\r\n" + b"".join(
            b"$%d\r\n%b\r\n" % (len(field), field)
            for field in (value.encode() if isinstance(value, str) else value for value in _FIELDS)
        )
        reply = b"*1\r\n*2\r\n$13\r\nfloor:default\r\n*100\r\n" + entry * BATCH
        reader = hiredis.Reader()
        started = time.process_time()
        for _ in range(n // BATCH):
            reader.feed(reply)
            reader.gets()
        return time.process_time() - started

    def pack(self, n: int) -> float:
        """One command at a time."""
        command = ("XADD", STREAM, "*", *_FIELDS)
        started = time.process_time()
        for _ in range(n):
            hiredis.pack_command(command)
        return time.process_time() - started

    def pack_ends(self, n: int) -> float:
        """A hundred entry ids a command."""
        command = ("XACKDEL", STREAM, GROUP, "IDS", BATCH, *[b"1764300000000-%d" % i for i in range(BATCH)])
        started = time.process_time()
        for _ in range(n // BATCH):
            hiredis.pack_command(command)
        return time.process_time() - started

    def redis_py(self, n: int, count: int) -> float:
        """The processor time of this process."""
        self._queued(n)

        async def read() -> float:
            client: Any = redis.asyncio.Redis.from_url(self._url)
            async with client:
                await client.ping()
                started = time.process_time()
                for _ in range(n // count):
                    await client.xreadgroup(GROUP, CONSUMER, {STREAM: ">"}, count=count)
                return time.process_time() - started

        return uvloop.run(read())

    def ping(self, n: int) -> float:
        """One after the other."""
        started = time.perf_counter()
        for _ in range(n):
            self._client.ping()
        return time.perf_counter() - started

    def ping_async(self, n: int) -> float:
        """One after the other."""

        async def pings() -> float:
            client: Any = redis.asyncio.Redis.from_url(self._url)
            async with client:
                await client.ping()
                started = time.perf_counter()
                for _ in range(n):
                    await client.ping()
                return time.perf_counter() - started

        return uvloop.run(pings())

    # -- the server's side --------------------------------------------------------------------------------------------

    def add(self, n: int) -> float:
        """Plain."""
        self._client.flushdb()
        with self._server_cpu() as took:
            self._batches([("XADD", STREAM, "*", *_FIELDS)] * n)
        return took[0]

    def add_once(self, n: int) -> float:
        """As streamtask sends it: the server remembers the last ids of each producer."""
        self._queued(1)
        self._client.execute_command("XCFGSET", STREAM, "IDMP-DURATION", 100, "IDMP-MAXSIZE", 1000)
        commands = [("XADD", STREAM, "IDMP", "producer", f"{i:032x}", "*", *_FIELDS) for i in range(n)]
        with self._server_cpu() as took:
            self._batches(commands)
        return took[0]

    def read(self, n: int) -> float:
        """New messages, which become pending."""
        self._queued(n)
        with self._server_cpu() as took:
            self._all_read(n)
        return took[0]

    def acknowledge(self, n: int) -> float:
        """What a loop without fencing does."""
        ids = self._pending(n)
        with self._server_cpu() as took:
            self._batches([("XACKDEL", STREAM, GROUP, "IDS", BATCH, *part) for part in _parts(ids)])
        return took[0]

    def done(self, n: int) -> float:
        """The same, of those only that are still ours."""
        ids = self._pending(n)
        with self._server_cpu() as took:
            replies = self._batches([_done(part) for part in _parts(ids)])
        _check_done(replies)
        return took[0]

    def done_one(self, n: int) -> float:
        """A call a message, as at little load: then no two messages are of the same millisecond."""
        self._queued(n, apart=True)
        ids = self._all_read(n)
        with self._server_cpu() as took:
            replies = self._batches([_done([id]) for id in ids])
        _check_done(replies)
        return took[0]

    def store(self, n: int) -> float:
        """What a result costs at least."""
        self._client.flushdb()
        with self._server_cpu() as took:
            self._batches([("SET", f"floor:result:{i:032x}", b"null", "PX", 900_000) for i in range(n)])
        return took[0]

    # -- getting ready ------------------------------------------------------------------------------------------------

    @contextmanager
    def _server_cpu(self) -> Iterator[list[float]]:
        """The seconds of CPU that the server takes meanwhile."""
        found: list[float] = []
        before = self._used_cpu()
        yield found
        found.append(self._used_cpu() - before)

    def _used_cpu(self) -> float:
        info = self._client.info("cpu")
        used: float = info["used_cpu_user"] + info["used_cpu_sys"]
        return used

    def _queued(self, n: int, apart: bool = False) -> None:
        """A stream of n messages, and its group; `apart`: each in a millisecond of its own."""
        self._client.flushdb()
        self._client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        self._batches([("XADD", STREAM, f"{i + 1}-0" if apart else "*", *_FIELDS) for i in range(n)])

    def _pending(self, n: int) -> list[bytes]:
        """Messages that were delivered; their entry ids."""
        self._queued(n)
        return self._all_read(n)

    def _all_read(self, n: int) -> list[bytes]:
        replies = self._batches([(*_READ, BATCH, "STREAMS", STREAM, ">")] * (n // BATCH))
        return [id for ((_, entries),) in (self._entries(reply) for reply in replies) for id, _ in entries]

    @staticmethod
    def _entries(reply: Any) -> Any:
        return reply.items() if isinstance(reply, dict) else reply

    def _batches(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """A hundred commands a round trip."""
        replies = []
        for part in _parts(commands):
            pipe = self._client.pipeline(transaction=False)
            for command in part:
                pipe.execute_command(*command)
            replies += pipe.execute()
        return replies


def _done(ids: Sequence[bytes]) -> tuple[Any, ...]:
    """Each was delivered once."""
    pairs = [word for id in ids for word in (id, 1)]
    return ("EVALSHA", DONE.sha, 1, STREAM, GROUP, CONSUMER, "task", "1", *pairs)


def _check_done(replies: Sequence[Any]) -> None:
    """A script that found nothing to do would be a quick one."""
    if any(status != 1 for reply in replies for status in reply):
        raise RuntimeError("DONE did not end what was pending")


def _parts(items: Sequence[Any]) -> Iterator[Any]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
