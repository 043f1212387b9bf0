"""`python -m benchmarks.children`: CPU tasks of 50 ms on two child processes, beside concurrent.futures.

Rounds are interleaved. What is measured is the time from the begin of the first task to the end of the last one, as the
tasks themselves see it; both sides start warm. Every result is fetched and counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from streamtask import StreamTask
from tests.servers import INSTALL, Server, available

REDIS = "redis-8.6"
CHILDREN, SECONDS = 2, 0.05

app = StreamTask("children", queues=["default"])


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds from the first begin to the last end, and ms a task in which a process did not run one."""

    took: float
    idle: float

    def __str__(self) -> str:
        return f"{self.took:.3f} s (idle {self.idle:.2f} ms a task)"


@app.task(process=True)
def burn(loops: int) -> tuple[float, float]:
    """So many turns of a loop in pure Python; when it began and ended, by the machine's monotonic clock."""
    return burned(loops)


def burned(loops: int) -> tuple[float, float]:
    """The same, for the pool."""
    began = time.monotonic()
    total = 0
    for turn in range(loops):
        total += turn & 3
    return began, time.monotonic()


def calibrated() -> int:
    """Turns of the loop that take 50 ms here: the best of some tries."""
    best = min(end - began for began, end in (burned(1_000_000) for _ in range(5)))
    return int(1_000_000 * SECONDS / best)


def summed_up(times: list[tuple[float, float]], tasks: int) -> Round:
    """Of all tasks; each must have given its times."""
    assert len(times) == tasks, f"{len(times)} of {tasks} tasks gave a result"
    took = max(end for _, end in times) - min(began for began, _ in times)
    return Round(took, (CHILDREN * took - sum(end - began for began, end in times)) / tasks * 1000)


def by_pool(loops: int, tasks: int) -> Round:
    """One round of the pool."""
    with ProcessPoolExecutor(CHILDREN) as pool:
        list(pool.map(burned, [1] * CHILDREN * 4))
        return summed_up(list(pool.map(burned, [loops] * tasks)), tasks)


def by_children(loops: int, tasks: int) -> Round:
    """One round of streamtask: a worker of its own, which has begun to serve."""
    command = [sys.executable, "-m", "streamtask", "worker", "benchmarks.children:app", "--children", str(CHILDREN)]
    worker = subprocess.Popen([*command, "--log-level", "error"], cwd=Path(__file__).parents[1])
    try:
        for result in [burn.delay(1) for _ in range(CHILDREN * 4)]:
            result.get(timeout=60)
        results = burn.delay_many(burn.s(loops) for _ in range(tasks))
        return summed_up([result.get(timeout=120) for result in results], tasks)
    finally:
        worker.terminate()
        worker.wait()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.children", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=80)
    options = parser.parse_args()
    if REDIS not in available():
        print(f"{REDIS} is not installed: {INSTALL}", file=sys.stderr)
        return 1
    loops, ratios = calibrated(), []
    print(
        f"{options.tasks} tasks of {loops:,} turns (50 ms) on {CHILDREN} processes; ideal without any overhead: ",
        end="",
    )
    print(f"{options.tasks * SECONDS / CHILDREN:.2f} s")
    with Server(REDIS, tcp=True) as server:
        os.environ["STREAMTASK_URL"] = server.url
        for number in range(options.rounds):
            sides = [by_pool, by_children] if number % 2 == 0 else [by_children, by_pool]
            took = {side: side(loops, options.tasks) for side in sides}
            pool, children = took[by_pool], took[by_children]
            ratios.append(children.took / pool.took)
            line = f"pool {pool}  children {children}  ratio {ratios[-1]:.3f}  load {os.getloadavg()[0]:.1f}"
            print(line, flush=True)
    print(f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); the goal is 1.05")
    return 0


if __name__ == "__main__":
    sys.exit(main())
