"""ArdiQ: its Rust core and command, 100 tasks at once. It stores each result."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ardiq import Ardiq

from benchmarks import work

PACKAGES, SHARE = ("ardiq",), 5

app = Ardiq(redis_url=os.environ["BENCHMARK_URL"], queue_name="bench", concurrency=100)
TASKS: dict[str, Any] = {
    "quiet": app.task(name="quiet")(work.noop),
    "threads": app.task(name="threads")(work.noop_sync),
    "sleep": app.task(name="sleep")(work.sleep),
    "idle": app.task(name="idle")(work.stamp),
    "echo": app.task(name="echo")(work.echo),
}
TASKS["stored"] = TASKS["quiet"]
PROGRAM = ["-m", "ardiq", "run", "benchmarks.sides.ardiq:app", "--quiet"]
WORKERS = dict.fromkeys(TASKS, PROGRAM) | {"pair": [*PROGRAM, "--workers", "2"]}


async def one(kind: str, *args: Any) -> None:
    """Send one."""
    await TASKS[kind].enqueue(*args)


aone = one


async def many(kind: str, numbers: Iterable[int]) -> None:
    """Send many in one call."""
    await app.enqueue_many(TASKS[kind].prepare(n) for n in numbers)


async def ask(n: int) -> Any:
    """Send one and wait for its result."""
    job = await TASKS["echo"].enqueue(n)
    return (await job.result(timeout=10)).value
