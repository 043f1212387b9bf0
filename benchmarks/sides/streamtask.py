"""streamtask: one app a kind, as a service that does nothing else would have it. All defaults but `result`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks import work
from streamtask import Reject, Retry, StreamTask, current

PACKAGES, SHARE = ("streamtask", "redis", "hiredis", "pydantic", "uvloop"), 1
RESULTS, EMPTIES = "{bench-stored:default}:result:*", True

quiet, stored, threads = StreamTask("bench-quiet"), StreamTask("bench-stored"), StreamTask("bench-threads")
sleep, pause = StreamTask("bench-sleep"), StreamTask("bench-pause")
idle, echo = StreamTask("bench-idle"), StreamTask("bench-echo")

# For benchmarks.scaling.
payload, spread, dead = StreamTask("bench-payload"), StreamTask("bench-spread"), StreamTask("bench-dead")

# For benchmarks.guarantees.
unique, timeout, expires, headers = (StreamTask(f"bench-{n}") for n in ("unique", "timeout", "expires", "headers"))
countdown, again, once, child = (StreamTask(f"bench-{n}") for n in ("countdown", "again", "once", "child"))


async def refuse(n: int) -> None:
    """Ends as a dead letter at once."""
    work.ran[n] += 1
    raise Reject("no such address")


async def fails_once(n: int) -> None:
    """Runs twice, and counts both times."""
    work.ran[n] += 1
    if current().attempt == 1:
        raise Retry(delay=0.001)


TASKS: dict[str, Any] = {
    "quiet": quiet.task(result=False)(work.noop),
    "stored": stored.task(work.noop),
    "threads": threads.task(result=False)(work.noop_sync),
    "sleep": sleep.task(result=False)(work.sleep),
    "pause": pause.task(result=False)(work.sleep_sync),
    "idle": idle.task(result=False)(work.stamp),
    "echo": echo.task(work.echo),
    "payload": payload.task(result=False)(work.payload),
    "dead": dead.task(result=False)(refuse),
    "unique": unique.task(result=False, unique=True)(work.noop),
    "timeout": timeout.task(result=False, timeout=60)(work.noop),
    "expires": expires.task(result=False, expires=3600)(work.noop),
    "headers": headers.task(result=False)(work.noop).options(headers={"trace": "00-4bf92f3577b34da6a3ce929d0e0e4736"}),
    "countdown": countdown.task(result=False)(work.noop).options(countdown=0.001),
    "again": again.task(result=False)(fails_once),
    "once": once.task(result=False, idempotent=False)(work.noop),
    "child": child.task(result=False, process=True)(work.noop_sync),
}
#: One task a queue, to be drained, and one that notes its start.
SPREAD: list[Any] = [spread.task(name=f"noop{i}", queue=f"q{i}", result=False)(work.noop) for i in range(work.QUEUES)]
STAMPS: list[Any] = [spread.task(name=f"stamp{i}", queue=f"q{i}", result=False)(work.stamp) for i in range(work.QUEUES)]


def _worker(kind: str, *options: str) -> list[str]:
    return ["-m", "streamtask", "worker", f"benchmarks.sides.streamtask:{kind}", *options]


WORKERS = {kind: _worker(kind) for kind in (*TASKS, "spread")} | {
    "pair": _worker("quiet", "--processes", "2"),
    "pause": _worker("pause", "--threads", "100"),
}


def one(kind: str, *args: Any) -> None:
    """Send one, and wait until Redis has it."""
    task = TASKS[kind] if kind != "spread" else STAMPS[args[0] % work.QUEUES]
    task.delay(*args)


async def aone(kind: str, *args: Any) -> None:
    """The same in an event loop."""
    await TASKS[kind].adelay(*args)


def many(kind: str, numbers: Iterable[int]) -> None:
    """Send many."""
    if kind == "spread":
        for i, task in enumerate(SPREAD):
            task.delay_many(task.s(n) for n in numbers if n % work.QUEUES == i)
        return
    task = TASKS[kind]
    task.delay_many(task.s(n) if kind != "payload" else task.s(n, work.BODY) for n in numbers)


def later(numbers: Iterable[int], ms: int) -> None:
    """Send many that are due at the same moment, which the task is told."""
    eta, due = datetime.now(UTC) + timedelta(milliseconds=ms), time.monotonic_ns() + ms * 1_000_000
    task = TASKS["idle"].options(eta=eta)
    task.delay_many(task.s(n, due) for n in numbers)


def ask(n: int) -> Any:
    """Send one and wait for its result."""
    return TASKS["echo"].delay(n).get(10)
