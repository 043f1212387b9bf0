"""What is measured: each case has a streamtask side and a bare side, which get the same messages."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis

from benchmarks import tasks
from benchmarks.stage import Stage, Wrong
from streamtask import StreamTask

#: Messages of one pipeline of the bare loop.
PIPELINE = 100
#: Seconds between two messages to an idle worker, so that each finds it waiting.
REST = (0.002, 0.004)


@dataclass(frozen=True)
class Sample:
    """One number of one round. CPU in microseconds a task, where it was looked at."""

    value: float
    cpu: float | None = None
    redis_cpu: float | None = None
    twice: int = 0


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    unit: str = "tasks/s"


Side = Callable[[Stage, int], tuple[Sample, ...]]


@dataclass(frozen=True)
class Case:
    """A measurement with its two sides; each gives one sample a row. `size` is the number of messages."""

    rows: tuple[Row, ...]
    size: int
    app: Side
    bare: Side
    prepare: Callable[[Stage, int], None] | None = None


def stream_of(app: StreamTask) -> str:
    """The stream of an app's only queue."""
    return app.post.keys("default").stream


def worker(name: str) -> tuple[str, ...]:
    """The program of a worker as a user starts it, with default settings."""
    return ("streamtask", "worker", f"benchmarks.tasks:{name}")


def _drain(app: StreamTask, kind: str, stage: Stage, size: int) -> tuple[Sample, ...]:
    results = f"{{{stream_of(app)}}}:result:*" if kind == "stored" else ""
    drain = stage.drain(worker(kind), stream_of(app), size, results)
    return (Sample(drain.rate, drain.worker_cpu, drain.redis_cpu, drain.twice),)


def _bare_drain(app: StreamTask, kind: str, stage: Stage, size: int) -> tuple[Sample, ...]:
    stream = stream_of(app)
    results = "result:*" if kind == "stored" else ""
    drain = stage.drain(("benchmarks.bare", kind, stage.url, stream), stream, size, results)
    return (Sample(drain.rate, drain.worker_cpu, drain.redis_cpu, drain.twice),)


def _shelve(task: Any, app: StreamTask, stage: Stage, size: int) -> None:
    """Put a full queue on the stage's shelf, as a producer would have filled it."""
    stage.clear()
    task.delay_many(task.s(n) for n in range(size))
    if stage.keep(stream_of(app)) != size:
        raise Wrong("not all messages were queued")


def _timed(stage: Stage, stream: str, size: int, send: Callable[[], object]) -> tuple[Sample, ...]:
    stage.clear()
    redis_cpu, cpu, started = stage.redis_cpu(), time.process_time(), time.perf_counter()
    send()
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    redis_cpu = stage.redis_cpu() - redis_cpu
    if (length := stage.length(stream)) != size:
        raise Wrong(f"{length:,} of {size:,} messages were queued")
    return (Sample(size / took, 1e6 * cpu / size, 1e6 * redis_cpu / size),)


def _delay(stage: Stage, size: int) -> tuple[Sample, ...]:
    def send() -> None:
        for n in range(size):
            _ = tasks.noop.delay(n)

    return _timed(stage, stream_of(tasks.quiet), size, send)


def _delay_many(stage: Stage, size: int) -> tuple[Sample, ...]:
    def send() -> None:
        tasks.noop.delay_many(tasks.noop.s(n) for n in range(size))

    return _timed(stage, stream_of(tasks.quiet), size, send)


def _message(n: int) -> Any:
    """The same entry as streamtask writes, without what makes it safe."""
    return {"task": tasks.noop.name, "id": f"{n:032x}", "args": b'{"n":%d}' % n}


def _bare_xadd(stage: Stage, size: int) -> tuple[Sample, ...]:
    client, stream = redis.Redis.from_url(stage.url), stream_of(tasks.quiet)

    def send() -> None:
        for n in range(size):
            client.xadd(stream, _message(n))

    return _timed(stage, stream, size, send)


def _bare_pipelined(stage: Stage, size: int) -> tuple[Sample, ...]:
    client, stream = redis.Redis.from_url(stage.url), stream_of(tasks.quiet)

    def send() -> None:
        for start in range(0, size, PIPELINE):
            pipe = client.pipeline(transaction=False)
            for n in range(start, min(start + PIPELINE, size)):
                pipe.xadd(stream, _message(n))
            pipe.execute()

    return _timed(stage, stream, size, send)


def _latency(program: tuple[str, ...], send: Callable[[int], object], stage: Stage, size: int) -> tuple[Sample, ...]:
    """Start latency at idle: from just before the send until the task's first line. Gives the p50 and the p99 in ms."""
    stream = stream_of(tasks.idle)
    stage.clear()
    with stage.process(program) as (process, worked):
        for n in range(size + 20):  # the first ones warm up, and wait until the worker is there
            send(n)
            stage.until_empty(stream, process, look=0.001)
            time.sleep(random.uniform(*REST))
    found = worked()
    if found.ran != size + 20:
        raise Wrong(f"{found.ran:,} of {size + 20:,} messages ran")
    delays = sorted(found.delays[20:])
    return tuple(Sample(delays[int(len(delays) * part)] / 1e6, twice=found.twice) for part in (0.5, 0.99))


def _app_latency(stage: Stage, size: int) -> tuple[Sample, ...]:
    return _latency(worker("idle"), lambda n: tasks.stamp.delay(n, time.monotonic_ns()), stage, size)


def _bare_latency(stage: Stage, size: int) -> tuple[Sample, ...]:
    client, stream = redis.Redis.from_url(stage.url), stream_of(tasks.idle)

    def send(n: int) -> None:
        client.xadd(
            stream, {"task": "stamp", "id": f"{n:032x}", "args": b'{"n":%d,"sent":%d}' % (n, time.monotonic_ns())}
        )

    return _latency(("benchmarks.bare", "idle", stage.url, stream), send, stage, size)


def _drain_case(name: str, size: int, app: StreamTask, kind: str, task: Any) -> Case:
    sides = (partial(_drain, app, kind), partial(_bare_drain, app, kind))
    return Case((Row(name),), size, *sides, prepare=partial(_shelve, task, app))


CASES = (
    _drain_case("drain, async no-op, result=False", 100_000, tasks.quiet, "quiet", tasks.noop),
    _drain_case("drain, async no-op, results stored", 50_000, tasks.stored, "stored", tasks.noop_stored),
    _drain_case("drain, sync no-op (threads), result=False", 50_000, tasks.threads, "threads", tasks.noop_sync),
    Case((Row("enqueue one by one: delay / xadd"),), 20_000, _delay, _bare_xadd),
    Case((Row("enqueue in bulk: delay_many / pipelined by 100"),), 100_000, _delay_many, _bare_pipelined),
    Case(
        (Row("start latency at idle, p50", "ms"), Row("start latency at idle, p99", "ms")),
        400,
        _app_latency,
        _bare_latency,
    ),
)
