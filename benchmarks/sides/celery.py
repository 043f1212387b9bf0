"""Celery: Redis broker; the prefetch that its guide to optimizing names for short tasks. It has no coroutine tasks."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from benchmarks import work

PACKAGES, SHARE = ("celery", "redis"), 10
RESULTS = "celery-task-meta-*"

app = Celery("bench", broker=os.environ["BENCHMARK_URL"], backend=os.environ["BENCHMARK_URL"])
app.conf.update(worker_prefetch_multiplier=128, broker_connection_retry_on_startup=True)
noop = app.task(name="noop", ignore_result=True)(work.noop_sync)
TASKS: dict[str, Any] = {
    "quiet": noop,
    "stored": app.task(name="stored")(work.noop_sync),
    "threads": noop,
    "pause": app.task(name="pause", ignore_result=True)(work.sleep_sync),
    "idle": app.task(name="idle", ignore_result=True)(work.stamp_sync),
    "echo": app.task(name="echo")(work.echo_sync),
}


def _worker(pool: str, concurrency: int) -> list[str]:
    program = ["-m", "celery", "-A", "benchmarks.sides.celery", "worker", "--loglevel", "WARNING"]
    return [*program, "--pool", pool, "--concurrency", str(concurrency)]


WORKERS = {
    "quiet": _worker("prefork", 1),
    "pair": _worker("prefork", 2),
    "stored": _worker("prefork", 1),
    "threads": _worker("threads", 10),
    "pause": _worker("threads", 100),
    "idle": _worker("solo", 1),
    "echo": _worker("solo", 1),
}


def one(kind: str, *args: Any) -> None:
    """Send one."""
    TASKS[kind].delay(*args)


def ask(n: int) -> Any:
    """Send one and wait for its result."""
    return TASKS["echo"].delay(n).get(timeout=10)
