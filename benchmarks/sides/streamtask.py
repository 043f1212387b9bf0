"""streamtask: one app a kind, as a service that does nothing else would have it. All defaults but `result`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks import work
from streamtask import StreamTask

PACKAGES, SHARE = ("streamtask", "redis", "hiredis", "pydantic", "uvloop"), 1
RESULTS, EMPTIES = "{bench-stored:default}:result:*", True

quiet, stored, threads = StreamTask("bench-quiet"), StreamTask("bench-stored"), StreamTask("bench-threads")
sleep, pause = StreamTask("bench-sleep"), StreamTask("bench-pause")
idle, echo = StreamTask("bench-idle"), StreamTask("bench-echo")

TASKS: dict[str, Any] = {
    "quiet": quiet.task(result=False)(work.noop),
    "stored": stored.task(work.noop),
    "threads": threads.task(result=False)(work.noop_sync),
    "sleep": sleep.task(result=False)(work.sleep),
    "pause": pause.task(result=False)(work.sleep_sync),
    "idle": idle.task(result=False)(work.stamp),
    "echo": echo.task(work.echo),
}


def _worker(kind: str, *options: str) -> list[str]:
    return ["-m", "streamtask", "worker", f"benchmarks.sides.streamtask:{kind}", *options]


WORKERS = {kind: _worker(kind) for kind in TASKS} | {
    "pair": _worker("quiet", "--processes", "2"),
    "pause": _worker("pause", "--threads", "100"),
}


def one(kind: str, *args: Any) -> None:
    """Send one, and wait until Redis has it."""
    TASKS[kind].delay(*args)


async def aone(kind: str, *args: Any) -> None:
    """The same in an event loop."""
    await TASKS[kind].adelay(*args)


def many(kind: str, numbers: Iterable[int]) -> None:
    """Send many."""
    task = TASKS[kind]
    task.delay_many(task.s(n) for n in numbers)


def ask(n: int) -> Any:
    """Send one and wait for its result."""
    return TASKS["echo"].delay(n).get(10)
