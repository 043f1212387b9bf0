"""Huey: Redis storage with blocking reads, its threads; processes where there are two. It has no coroutine tasks."""

from __future__ import annotations

import os
from typing import Any

from huey import RedisHuey

from benchmarks import work

PACKAGES, SHARE = ("huey", "redis", "hiredis"), 10
RESULTS = ""  # in one hash

quiet = RedisHuey("quiet", url=os.environ["BENCHMARK_URL"], results=False)
stored = RedisHuey("stored", url=os.environ["BENCHMARK_URL"])
noop = quiet.task(name="noop")(work.noop_sync)
TASKS: dict[str, Any] = {
    "quiet": noop,
    "stored": stored.task(name="stored")(work.echo_sync),
    "threads": noop,
    "pause": quiet.task(name="pause")(work.sleep_sync),
    "idle": quiet.task(name="idle")(work.stamp_sync),
    "echo": stored.task(name="echo")(work.echo_sync),
}


def _worker(app: str, kind: str, count: int) -> list[str]:
    program = ["-m", "huey.bin.huey_consumer", f"benchmarks.sides.huey.{app}", "--quiet", "--no-periodic"]
    return [*program, "--worker-type", kind, "--workers", str(count)]


WORKERS = {
    "quiet": _worker("quiet", "thread", 1),
    "pair": _worker("quiet", "process", 2),
    "stored": _worker("stored", "thread", 1),
    "threads": _worker("quiet", "thread", 10),
    "pause": _worker("quiet", "thread", 100),
    "idle": _worker("quiet", "thread", 1),
    "echo": _worker("stored", "thread", 1),
}


def one(kind: str, *args: Any) -> None:
    """Send one."""
    TASKS[kind](*args)


def ask(n: int) -> Any:
    """Send one and wait for its result; asks every millisecond, for the default is 0.1 s and more."""
    return TASKS["echo"](n).get(blocking=True, timeout=10, max_delay=0.001)
