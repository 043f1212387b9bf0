"""The building blocks that `benchmarks.floor` measures: statements, steps of an event loop, and talks with Redis.

Only names that stay are imported from streamtask, never the inside of its worker: the floor must be the same before and
after a change of that. What the worker does in ways of its own, such as the hand-off to a thread, is written down here
once more in its smallest form.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import timeit
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from queue import SimpleQueue
from typing import Any

import uvloop

from benchmarks.talks import talks
from streamtask.message import Message, decode, new_id
from streamtask.signature import Signature
from tests.servers import Server


@dataclass(frozen=True)
class Block:
    """One thing that is measured; `measure(n)` gives the seconds that n of it took."""

    group: str
    name: str
    size: int
    measure: Callable[[int], float]


def all_blocks(server: Server) -> list[Block]:
    """All of them, in the order of the table."""
    blocks = [Block("Python", name, size, partial(_statement, code)) for name, size, code in STATEMENTS]
    for loop, run in (("asyncio", asyncio.run), ("uvloop", uvloop.run)):
        blocks += [Block(loop, name, size, partial(_looped, run, clock, step)) for name, size, clock, step in STEPS]
    return blocks + [Block(group, name, size, measure) for group, name, size, measure in talks(server)]


# -- statements -------------------------------------------------------------------------------------------------------


async def _noop(n: int) -> None:
    """A task that does nothing."""


class _Slots:
    """As many slots as a delivery has in the worker."""

    __slots__ = tuple(f"slot{i}" for i in range(24))

    def __init__(self, first: Any, second: Any, third: Any) -> None:
        self.slot0, self.slot1, self.slot2 = first, second, third
        self.slot3 = self.slot4 = self.slot5 = self.slot6 = self.slot7 = self.slot8 = self.slot9 = None
        self.slot10 = self.slot11 = self.slot12 = self.slot13 = 0.0
        self.slot14 = self.slot15 = self.slot16 = self.slot17 = self.slot18 = self.slot19 = False
        self.slot20 = self.slot21 = self.slot22 = self.slot23 = False


class _Keywords:
    """As many values by keyword as the context of a task has."""

    __slots__ = ("a", "b", "c", "d", "e", "f", "g", "h")

    def __init__(self, *, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> None:
        self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h


_ARGS, _META = b'{"n":12345}', b'{"attempt":1,"headers":{"trace":"00-4bf92f3577b34da6"}}'
_ID, _ENTRY = b"9f86d081884c7d659a2feaa0c55ad015", "1764300000000-0"
_FIELDS = [b"task", b"benchmarks.work.noop", b"id", _ID, b"args", _ARGS]
#: The names of the statements below.
_NAMES: dict[str, Any] = {
    "json": json,
    "uuid4": uuid.uuid4,
    "new_id": new_id,
    "decode": decode,
    "Message": Message,
    "noop": _noop,
    "signature": Signature(_noop, "noop"),
    "Slots": _Slots,
    "Keywords": _Keywords,
    "monotonic": time.monotonic,
    "args": _ARGS,
    "entry": _ENTRY,
    "fields": _FIELDS,
    "with_meta": [*_FIELDS, b"meta", _META],
    "call": (12345,),
    "values": {"n": 12345},
    "nothing": {},
}
STATEMENTS = (
    ("a turn of an empty loop, part of each number here", 1_000_000, "pass"),
    ("first step of a coroutine by send", 200_000, "try: noop(1).send(None)\nexcept StopIteration: pass"),
    ("decode a message", 50_000, "decode(entry, fields)"),
    ("decode a message with meta", 20_000, "decode(entry, with_meta)"),
    ("Signature.load: arguments from JSON, validated", 100_000, "signature.load(args)"),
    ("Signature.bind: a call's arguments, validated", 50_000, "signature.bind(call, nothing)"),
    ("Signature.dump: arguments to JSON", 100_000, "signature.dump('noop', values)"),
    ("json.loads of the arguments", 50_000, "json.loads(args)"),
    ("new_id()", 100_000, "new_id()"),
    ("uuid4().hex", 50_000, "uuid4().hex"),
    ("an object of 24 slots, such as a delivery", 100_000, "Slots(1, 2, 3)"),
    (
        "an object by 8 keywords, such as a context",
        100_000,
        "Keywords(a=1, b=2, c=3, d=4, e=5, f=6, g=7, h=8)",
    ),
    ("a frozen dataclass, the message", 50_000, "Message('id', 'noop', args, nothing)"),
    ("time.monotonic()", 500_000, "monotonic()"),
)


def _statement(code: str, n: int) -> float:
    """With the garbage collector on, as in a worker."""
    return timeit.Timer(code, "import gc; gc.enable()", time.process_time, _NAMES).timeit(n)


# -- steps of an event loop -------------------------------------------------------------------------------------------


def _looped(
    run: Callable[[Coroutine[Any, Any, float]], float],
    clock: Callable[[], float],
    step: Callable[[int], Awaitable[None]],
    n: int,
) -> float:
    async def timed() -> float:
        started = clock()
        await step(n)
        return clock() - started

    return run(timed())


async def _awaited(n: int) -> None:
    for _ in repeat(None, n):
        await _noop(1)


async def _turns(n: int) -> None:
    for _ in repeat(None, n):
        await asyncio.sleep(0)


async def _tasks(n: int) -> None:
    """By the hundred, as they are read."""
    create = asyncio.get_running_loop().create_task
    for _ in repeat(None, n // 100):
        for task in [create(_noop(1)) for _ in repeat(None, 100)]:
            await task


async def _timeouts(n: int) -> None:
    for _ in repeat(None, n):
        async with asyncio.timeout(60):  # noqa: ASYNC100 - what it costs by itself is the question
            pass


async def _timers(n: int) -> None:
    """One timer set and cancelled."""
    call_later = asyncio.get_running_loop().call_later
    for _ in repeat(None, n):
        call_later(60, print).cancel()


async def _semaphores(n: int) -> None:
    semaphore = asyncio.Semaphore(100)
    for _ in repeat(None, n):
        async with semaphore:
            pass


async def _queues(n: int) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()
    for _ in repeat(None, n):
        queue.put_nowait(1)
        await queue.get()


async def _run_in_executor(n: int) -> None:
    """Ten at once."""
    loop, numbers = asyncio.get_running_loop(), iter(range(n))
    with ThreadPoolExecutor(10) as pool:

        async def caller() -> None:
            for number in numbers:
                await loop.run_in_executor(pool, abs, number)

        await asyncio.gather(*(caller() for _ in range(10)))


class _HandOff:
    """To ten threads, and back in batches: one wake-up of the loop for all that has ended by then."""

    def __init__(self, n: int) -> None:
        self._loop, self._ended, self._left = asyncio.get_running_loop(), asyncio.Event(), n
        self._jobs: SimpleQueue[int | None] = SimpleQueue()
        self._finished: deque[int] = deque()
        self._woken = False

    async def run(self) -> None:
        threads = [threading.Thread(target=self._serve) for _ in range(10)]
        for thread in threads:
            thread.start()
        for job in [*range(self._left), *(None for _ in threads)]:
            self._jobs.put(job)
        await self._ended.wait()
        for thread in threads:
            thread.join()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._finished.append(abs(job))
            if not self._woken:
                self._woken = True
                self._loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        self._woken = False
        while self._finished:
            self._finished.popleft()
            self._left -= 1
        if not self._left:
            self._ended.set()


STEPS = (
    ("await a coroutine directly", 200_000, time.process_time, _awaited),
    ("a turn of the loop: sleep(0)", 50_000, time.process_time, _turns),
    ("create_task, 100 at once, and await it", 50_000, time.process_time, _tasks),
    ("asyncio.timeout around nothing", 20_000, time.process_time, _timeouts),
    ("call_later and cancel", 50_000, time.process_time, _timers),
    ("a semaphore, free", 50_000, time.process_time, _semaphores),
    ("asyncio.Queue, put and get", 50_000, time.process_time, _queues),
    ("run_in_executor, 10 threads", 5_000, time.perf_counter, _run_in_executor),
    ("hand-off to 10 threads, completions in batches", 20_000, time.perf_counter, lambda n: _HandOff(n).run()),
)
