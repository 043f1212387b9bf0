"""`python -m benchmarks.scaling`: how speed and cost change with the length of a queue, the payload, the number of
queues, the number of messages due at once, and of dead letters. --n shrinks the numbers, and the names tell it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.child import LUMP
from benchmarks.report import Line, beside_bare, bullets
from benchmarks.rows import MIB, Case, Row, send
from benchmarks.run import Plan, run
from benchmarks.stage import Sample, Side, Stage, Wrong

QUEUED = (1, 1_000, 100_000, 1_000_000)
#: Bytes of a payload, and how many such messages.
PAYLOADS = {100: 50_000, 1_000: 50_000, 10_000: 10_000, 100_000: 2_000}
QUEUES, SPREAD = (1, 5, 20, 50), 50_000
DUE = (1, 100, 1_000, 10_000)
DEAD = 100_000
#: Seconds that a worker rests before its commands are counted, and for which they are.
REST, WATCH = 2.0, 4.0
#: Messages whose delays are measured.
STARTS = 100

NOTE = """Medians of {} interleaved rounds (lowest to highest where there are several). Ratio: streamtask's number to
the bare loop's in the same round. CPU and commands: as in the table of speed. Twice: runs beyond each message's first.
Every message ran, else there would be no number. Memory: of all keys of the queue, those too that remember the first
thousand ids for 100 s. 1 queued: sent one by one, and one divided by the start latency. Due at once: from the moment at
which all are due until the last one has begun. RSS: the most that the command held.
"""


def cases(factor: float) -> list[Case]:
    """All of them; with a factor below 1 of fewer messages."""
    return [
        *(_length_case(size) for size in _sizes(QUEUED, factor)),
        *(_payload_case(size, max(int(count * factor), 100)) for size, count in PAYLOADS.items()),
        *(_queues_case(count, max(int(SPREAD * factor), 100)) for count in QUEUES),
        *(_due_case(size) for size in _sizes(DUE, factor)),
        _dead_case(max(int(DEAD * factor), 100)),
    ]


def _sizes(sizes: tuple[int, ...], factor: float) -> list[int]:
    return sorted({max(int(size * factor), 1) for size in sizes})


# -- the length of a queue --------------------------------------------------------------------------------------------


def _length_case(size: int) -> Case:
    rows = (
        Row(f"queued_{size}_drain", f"{size:,} queued: drain", series="drain by length", at=size),
        Row(f"queued_{size}_send", f"{size:,} queued: send", series="send by length", at=size),
        Row(f"queued_{size}_memory", f"{size:,} queued: Redis memory of each", "B", series="memory by length", at=size),
    )
    return Case(rows, size, _length if size > 1 else _one, frozenset({"quiet", "many"}), exact=True)


def _length(stage: Stage, side: Side, size: int) -> tuple[Sample, ...]:
    """Many are sent once, to be timed and to be drained; few twice, as the first ones of a process are slow."""
    sent = send(("many" if size < LUMP else "fill",), stage, side, size)
    if size < LUMP:
        stage.clear()
        stage.tell(side, "fill", "quiet", size)
    memory = stage.queued_memory()
    return (stage.emptied(side, "quiet", "quiet", size), *sent, Sample(memory / size))


def _one(stage: Stage, side: Side, size: int) -> tuple[Sample, ...]:
    sent = send(("one",), stage, side, STARTS)
    stage.clear()
    stage.tell(side, "fill", "quiet", size)
    memory = stage.queued_memory()
    return (Sample(1 / _latency(stage, side, "idle")), *sent, Sample(memory / size))


def _latency(stage: Stage, side: Side, kind: str, **environment: str) -> float:
    """Seconds from a send to the start at an idle worker, the median."""
    stage.clear()
    with stage.worker(side, kind, **environment):
        delays: list[float] = stage.tell(side, "idle", STARTS, kind, **environment)["values"]
    return statistics.median(delays)


# -- the payload ------------------------------------------------------------------------------------------------------


def _payload_case(size: int, count: int) -> Case:
    text = f"{size} B" if size < 1000 else f"{size // 1000} KB"
    rows = (
        Row(f"payload_{size}_drain", f"{text} of payload: drain", series="drain by payload", at=size),
        Row(f"payload_{size}_send", f"{text} of payload: send", series="send by payload", at=size),
    )
    measure = partial(_payload, {"BENCHMARK_PAYLOAD": str(size)})
    return Case(rows, count, measure, frozenset({"payload", "many"}), exact=True)


def _payload(environment: dict[str, str], stage: Stage, side: Side, size: int) -> tuple[Sample, ...]:
    sent = send(("many",), stage, side, size, "payload", **environment)
    stage.clear()
    stage.tell(side, "fill", "payload", size, **environment)
    return (stage.emptied(side, "payload", "payload", size), *sent)


# -- queues -----------------------------------------------------------------------------------------------------------


def _queues_case(count: int, size: int) -> Case:
    name = f"{count} queues" if count > 1 else "1 queue"
    rows = (
        Row(f"queues_{count}_drain", f"{name}: drain", series="drain by queues", at=count),
        Row(f"queues_{count}_latency", f"{name}: start latency at idle, p50", "ms", "latency by queues", count),
        Row(f"queues_{count}_idle", f"{name}: commands that an idle worker sends", "1/s", "idle by queues", count),
    )
    measure = partial(_queues, {"BENCHMARK_QUEUES": str(count)})
    return Case(rows, size, measure, frozenset({"spread"}), exact=True)


def _queues(environment: dict[str, str], stage: Stage, side: Side, size: int) -> tuple[Sample, ...]:
    stage.clear()
    stage.tell(side, "fill", "spread", size, **environment)
    drained = stage.emptied(side, "spread", "spread", size, **environment)
    latency = _latency(stage, side, "spread", **environment)
    stage.clear()
    with stage.worker(side, "spread", **environment):
        stage.tell(side, "idle", STARTS, "spread", **environment)
        time.sleep(REST)
        idle = stage.commands_sent(WATCH) / WATCH
    return (drained, Sample(1000 * latency), Sample(idle))


# -- due at once ------------------------------------------------------------------------------------------------------


def _due_case(size: int) -> Case:
    row = Row(f"due_{size}", f"{size:,} due at once: until the last has begun", "ms", "due at once", size)
    return Case((row,), size, _due, frozenset({"idle", "later"}), exact=True)


def _due(stage: Stage, side: Side, size: int) -> tuple[Sample, ...]:
    stage.clear()
    with stage.worker(side, "idle") as process:
        stage.tell(side, "idle", 1)  # it is up, and has run something
        stage.ledger.clear()
        stage.tell(side, "later", size, 1000 + size // 2)
        stage.until(size, process)
        last = max(stage.ledger.delays[:size])
        time.sleep(1)  # for those that would come a second time
        return (Sample(last / 1e6, twice=stage.ledger.twice(size)),)


# -- dead letters -----------------------------------------------------------------------------------------------------


def _dead_case(size: int) -> Case:
    name = f"{size:,} dead letters"
    rows = [Row("dead_written", f"{name}: written by a worker", series="dead", at=size)]
    for slug, what in (
        ("dead_list", "`dead list`, the first page"),
        ("dead_count", "`inspect`, which counts them"),
        ("dead_walk", "`dead replay --all --dry-run`, which reads each"),
    ):
        rows += [Row(slug, f"{name}: {what}", "s", "dead", size), Row(f"{slug}_rss", "its RSS", "MiB", "dead", size)]
    return Case(tuple(rows), size, _dead, frozenset({"dead"}), exact=True)


def _dead(stage: Stage, side: Side, size: int) -> tuple[Sample, ...]:
    stage.clear()
    stage.tell(side, "fill", "dead", size)
    samples = [stage.emptied(side, "dead", "dead", size, dead=size)]
    for words, expected in (
        (("dead", "list"), f"{min(size, 10_000):,} dead letters"),
        (("inspect",), f"  {size:,} "),
        (("dead", "replay", "--all", "--dry-run"), f"would replay {size:,} of {size:,}"),
    ):
        took, held, printed = stage.command(*words, "--namespace", "bench-dead")
        if expected not in printed:
            raise Wrong(f"streamtask {' '.join(words)} does not say {expected!r}: {printed[-2000:]}")
        samples += [Sample(took), Sample(held / MIB)]
    return tuple(samples)


def page(where: dict[str, Any], lines: Sequence[Line], rounds: int) -> str:
    """The machine, and the table."""
    return "\n\n".join([bullets(where), beside_bare(lines), NOTE.format(rounds)])


PLAN = Plan(
    program="benchmarks.scaling",
    description=str(__doc__),
    name="scaling",
    cases=cases,
    rounds=1,
    page=page,
)

if __name__ == "__main__":
    sys.exit(run(PLAN))
