"""Dramatiq: Redis broker, coroutine tasks by its AsyncIO middleware, results by its Results middleware."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks import work

PACKAGES, SHARE = ("dramatiq", "redis", "hiredis"), 10
RESULTS = ""  # their keys are bare hashes

broker = RedisBroker(url=os.environ["BENCHMARK_URL"])
broker.add_middleware(AsyncIO())
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["BENCHMARK_URL"])))
dramatiq.set_broker(broker)
TASKS: dict[str, Any] = {
    "quiet": dramatiq.actor(work.noop, actor_name="quiet"),
    "stored": dramatiq.actor(work.echo, actor_name="stored", store_results=True),
    "threads": dramatiq.actor(work.noop_sync, actor_name="threads"),
    "sleep": dramatiq.actor(work.sleep, actor_name="sleep"),
    "pause": dramatiq.actor(work.sleep_sync, actor_name="pause"),
    "idle": dramatiq.actor(work.stamp_sync, actor_name="idle"),
    "echo": dramatiq.actor(work.echo_sync, actor_name="echo", store_results=True),
}


def _worker(processes: int, threads: int) -> list[str]:
    program = ["-m", "dramatiq", "benchmarks.sides.dramatiq"]
    return [*program, "--processes", str(processes), "--threads", str(threads)]


WORKERS = {kind: _worker(1, 10) for kind in TASKS} | {
    "pair": _worker(2, 10),
    "sleep": _worker(1, 100),
    "pause": _worker(1, 100),
}


def one(kind: str, *args: Any) -> None:
    """Send one."""
    TASKS[kind].send(*args)


def ask(n: int) -> Any:
    """Send one and wait for its result."""
    return TASKS["echo"].send(n).get_result(block=True, timeout=10_000)
