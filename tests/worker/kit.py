"""What the in-process tests share: workers and beats in the test's own loop, their events, and a plain client."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
import redis

from streamtask import StreamTask
from streamtask.beat import Beat
from streamtask.broker.keys import GROUP, QueueKeys, queue_keys
from streamtask.child.origin import Origin
from streamtask.settings import Settings
from streamtask.task import Task
from streamtask.worker import Worker, WorkerOptions
from streamtask.worker.report import Reporter
from tests.servers import NAMES
from tests.support import aeventually

T = TypeVar("T")
#: For tests that wait long and do not depend on what the server can: one is enough.
one_server = pytest.mark.parametrize("server_name", ["valkey-8.1"])
#: For tests of what a worker does with its own slots and threads, which need not run on the oldest Redis too.
two_servers = pytest.mark.parametrize("server_name", NAMES)


@dataclass(frozen=True)
class Event:
    """One event as it was told."""

    name: str
    fields: dict[str, Any]


class Events(Reporter):
    """Keeps what a worker or beat tells."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self.done_ids: list[str] = []

    def event(self, name: str, level: int, msg: str, **fields: Any) -> None:
        self.all.append(Event(name, {"msg": msg, "level": level, **fields}))

    def done(self, task: str, id: str, attempt: int, duration: float, waited: float) -> None:
        self.done_ids.append(id)

    def named(self, name: str) -> list[dict[str, Any]]:
        """The fields of all events of one name."""
        return [event.fields for event in self.all if event.name == name]


class Lab:
    """One app on one server. Tasks are local functions of the test, registered under their own short names."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.url = url
        self.app = StreamTask("lab", url, settings=Settings(**settings), on_blocking_send="allow")
        self.client = redis.Redis.from_url(url)
        self.events = Events()
        self.workers: list[Worker] = []
        self.origin: Origin | None = None  # where children of this app find it
        self._stops: dict[str, Callable[[], object]] = {}

    def task(self, fn: Callable[..., Any], **options: Any) -> Task[..., Any]:
        """Make a local function a task under its own name."""
        made: Task[..., Any] = self.app.task(name=options.pop("name", fn.__name__), **options)(fn)
        return made

    def keys(self, queue: str = "default") -> QueueKeys:
        """The keys of a queue, also of one that the app does not know."""
        return queue_keys("lab", queue)

    @asynccontextmanager
    async def worker(self, app: StreamTask | None = None, **options: Any) -> AsyncIterator[Worker]:
        """A worker that is ready; it is stopped at the end. Its lease is 3 s unless another is given."""
        settings = WorkerOptions(**({"lease": 3.0, "grace": 5.0} | options))
        worker = Worker(app or self.app, settings, self.events, self.origin)
        self.workers.append(worker)
        ready = len(self.events.named("worker.ready"))
        running = asyncio.create_task(worker.run())
        try:
            await aeventually(lambda: running.done() or len(self.events.named("worker.ready")) > ready)
            yield worker
        finally:
            worker.stop()
            await ended(running)

    @asynccontextmanager
    async def thread_worker(self, **options: Any) -> AsyncIterator[Worker]:
        """A worker with a loop of its own, in a thread: its tasks may block it without blocking the test."""
        started: Future[Worker] = Future()

        async def serve() -> int:
            async with self.worker(**options) as worker:
                stop = asyncio.Event()
                loop = asyncio.get_running_loop()
                self._stops[worker.consumer] = lambda: loop.call_soon_threadsafe(stop.set)
                started.set_result(worker)
                await stop.wait()
            return 0

        running = asyncio.create_task(asyncio.to_thread(asyncio.run, serve()))
        worker = await asyncio.wait_for(asyncio.wrap_future(started), 10)
        try:
            yield worker
        finally:
            self._stops[worker.consumer]()
            await ended(running)

    @asynccontextmanager
    async def beat(self, app: StreamTask | None = None, **options: Any) -> AsyncIterator[Beat]:
        """A beat that ticks; it is stopped at the end."""
        beat = Beat(app or self.app, self.events, **options)
        await beat.connect()
        running = asyncio.create_task(beat.serve())
        try:
            yield beat
        finally:
            beat.stop()
            await ended(running)

    async def burst(self, **options: Any) -> int:
        """Run a worker until nothing is left; returns its exit code."""
        settings = WorkerOptions(**({"lease": 3.0, "burst": True} | options))
        worker = Worker(self.app, settings, self.events, self.origin)
        self.workers.append(worker)
        return await ended(asyncio.create_task(worker.run()))

    # -- what Redis holds ----------------------------------------------------------------------------------------------

    def dead(self, queue: str = "default") -> list[dict[bytes, bytes]]:
        """The dead letters, oldest first."""
        return [fields for _, fields in self.client.xrange(self.keys(queue).dead)]

    def pending(self, queue: str = "default") -> list[tuple[str, str, int]]:
        """The pending list: (entry id, consumer, deliveries) a row."""
        rows = self.client.xpending_range(self.keys(queue).stream, GROUP, "-", "+", 1000)
        return [(row["message_id"].decode(), row["consumer"].decode(), row["times_delivered"]) for row in rows]

    def left(self, queue: str = "default") -> int:
        """Messages that are not final: in the stream or due."""
        keys = self.keys(queue)
        return int(self.client.xlen(keys.stream)) + int(self.client.zcard(keys.due))

    async def empty(self, *queues: str, timeout: float = 10) -> None:
        """Wait until every message of these queues is final, and check that nothing else of them stays behind."""
        for queue in queues or ("default",):
            await aeventually(lambda queue=queue: self.left(queue) == 0, timeout)
            keys = self.keys(queue)
            assert self.pending(queue) == []
            for name in (keys.body, keys.where, keys.suspects):
                assert self.client.hgetall(name) == {}, name

    def ghost(self, count: int = 100, queue: str = "default", name: str = "ghost") -> list[bytes]:
        """A consumer that reads like a worker and is never heard of again; returns the entry ids that it holds."""
        self.group(queue)
        found = self.client.xreadgroup(GROUP, name, {self.keys(queue).stream: ">"}, count=count)
        return [entry for _, entries in found for entry, _ in entries]

    def steal(self, entry: str | bytes, queue: str = "default", name: str = "thief") -> None:
        """What another worker does to an entry whose lease has run out."""
        self.client.xclaim(self.keys(queue).stream, GROUP, name, 0, [entry])

    def group(self, queue: str = "default") -> None:
        """Make the group of a queue, where it is missing."""
        with contextlib.suppress(redis.ResponseError):  # BUSYGROUP: it is there
            self.client.xgroup_create(self.keys(queue).stream, GROUP, "0", mkstream=True)

    async def close(self) -> None:
        """Close the clients."""
        self.client.close()
        self.app.close()
        await self.app.aclose()


async def ended(task: asyncio.Task[T], timeout: float = 25) -> T:
    """The result of a loop that is about to end; when it does not, AssertionError with what every task waits for."""
    done, _ = await asyncio.wait({task}, timeout=timeout)
    if not done:
        stacks = io.StringIO()
        for other in asyncio.all_tasks():
            other.print_stack(file=stacks)
        task.cancel()
        raise AssertionError(f"not stopped within {timeout} s:\n{stacks.getvalue()}")
    return task.result()
