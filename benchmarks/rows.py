"""What is measured: each case is the same for all sides, and gives one sample a row."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.stage import Sample, Side, Stage, Wrong, rss_of

#: Bytes of a MiB, and seconds that a worker is left alone before its memory is looked at.
MIB, QUIET = 1024 * 1024, 1.0
#: The name of the side whose modules the bare process imports for the comparison of memory.
OURS, BARE = "streamtask", "bare"


@dataclass(frozen=True)
class Row:
    """A line of the table. `slug` is what ROWS= selects by; `at` is its place on the axis of a `series` of rows."""

    slug: str
    name: str
    unit: str = "tasks/s"
    series: str = ""
    at: float = 0.0


@dataclass(frozen=True)
class Case:
    """A measurement; `size` is the number of messages, `needs` the kinds and ways that a side must have for it.

    `exact`: so many, whatever the side and the factor.
    """

    rows: tuple[Row, ...]
    size: int
    measure: Callable[[Stage, Side, int], tuple[Sample, ...]]
    needs: frozenset[str]
    exact: bool = False

    def suits(self, side: Side) -> bool:
        """Can the side do it?"""
        return self.needs <= {*side.about["kinds"], *side.about["ways"]}

    def size_for(self, side: Side, factor: float) -> int:
        """The number of messages for a side: fewer for the slow ones."""
        return self.size if self.exact else max(int(self.size * factor / side.about["share"]), 100)


def _drain(worker: str, kind: str, stage: Stage, side: Side, size: int) -> tuple[Sample, ...]:
    return (stage.drain(side, worker, kind, size),)


def send(
    action: tuple[str | int, ...], stage: Stage, side: Side, size: int, kind: str = "quiet", **environment: str
) -> tuple[Sample, ...]:
    """By the child's action, with the words behind the number of messages."""
    stage.clear()
    before = stage.usage()
    answer = stage.tell(side, action[0], kind, size, *action[1:], **environment)
    after = stage.usage()
    stage.check_queued(size)
    redis_cpu, commands = after[0] - before[0], after[1] - before[1]
    return (Sample(size / answer["took"], 1e6 * answer["cpu"] / size, 1e6 * redis_cpu / size, commands / size),)


def _latency(stage: Stage, side: Side, size: int) -> tuple[Sample, ...]:
    """Start latency at idle: from just before the send until the task's first line."""
    stage.clear()
    with stage.worker(side, "idle"):
        delays = sorted(stage.tell(side, "idle", size)["values"])
    return tuple(Sample(1e3 * delays[int(len(delays) * part)]) for part in (0.5, 0.99))


def _round_trip(stage: Stage, side: Side, size: int) -> tuple[Sample, ...]:
    stage.clear()
    with stage.worker(side, "echo"):
        took = stage.tell(side, "echo", size)["values"]
    return (Sample(1e3 * statistics.median(took)),)


def _queued_memory(stage: Stage, side: Side, size: int) -> tuple[Sample, ...]:
    stage.clear()
    before = stage.usage()[2]
    stage.tell(side, "stock", "quiet", size)
    stage.check_queued(size)
    return (Sample((stage.usage()[2] - before) / size),)


def _rss(stage: Stage, side: Side, size: int) -> tuple[Sample, ...]:
    """A worker that has run a few tasks, and rests. Of the bare side: a process that imports streamtask's modules."""
    if side.name != BARE:
        return (Sample(_idle_rss(stage, side, size) / MIB),)
    modules = stage.server.folder / "modules"
    _idle_rss(stage, Side(OURS, side.python, {}), size, BENCHMARK_MODULES=str(modules))
    program = f"import importlib, time\nfor name in {modules.read_text().split()}: importlib.import_module(name)\n"
    with stage.process([side.python, "-c", f"{program}time.sleep(60)"]) as process:
        time.sleep(QUIET + 1)
        if not process.is_running():
            raise Wrong("the bare process did not start")
        return (Sample(rss_of(process) / MIB),)


def _idle_rss(stage: Stage, side: Side, size: int, **environment: str) -> int:
    stage.clear()
    stage.tell(side, "fill", "quiet", size)
    with stage.worker(side, "quiet", **environment) as process:
        stage.until(size, process)
        time.sleep(QUIET)
        return rss_of(process)


def _drain_case(slug: str, name: str, size: int, kind: str, worker: str = "") -> Case:
    return Case((Row(slug, name),), size, partial(_drain, worker or kind, kind), frozenset({worker or kind}))


def _send_case(slug: str, name: str, size: int, way: str, *action: str | int) -> Case:
    return Case((Row(slug, name),), size, partial(send, action), frozenset({way}))


CASES = (
    _drain_case("drain_async", "drain, async no-op, no result", 100_000, "quiet"),
    _drain_case("drain_async_results", "drain, async no-op, results stored", 50_000, "stored"),
    _drain_case("drain_async_2_processes", "drain, async no-op, no result, 2 processes", 200_000, "quiet", "pair"),
    _drain_case("drain_sync", "drain, sync no-op in threads, no result", 50_000, "threads"),
    _drain_case("sleep_async", "10 ms asyncio.sleep, 100 at once", 20_000, "sleep"),
    _drain_case("sleep_sync", "10 ms time.sleep, 100 threads", 20_000, "pause"),
    _send_case("enqueue_one", "enqueue, one by one", 20_000, "one", "one"),
    _send_case("enqueue_100_in_flight", "enqueue, 100 in flight", 50_000, "aone", "flight", 100),
    _send_case("enqueue_10_in_flight", "enqueue, 10 in flight", 50_000, "aone", "flight", 10),
    _send_case("enqueue_many", "enqueue, many in one call", 100_000, "many", "many"),
    Case(
        (
            Row("latency_p50", "start latency at idle, p50", "ms"),
            Row("latency_p99", "start latency at idle, p99", "ms"),
        ),
        400,
        _latency,
        frozenset({"idle", "one"}),
    ),
    Case((Row("round_trip", "round trip with result, p50", "ms"),), 400, _round_trip, frozenset({"echo", "ask"})),
    Case((Row("memory", "Redis memory, a queued task", "B"),), 20_000, _queued_memory, frozenset({"quiet"})),
    Case((Row("rss", "RSS, idle worker", "MiB"),), 100, _rss, frozenset({"quiet"})),
)
