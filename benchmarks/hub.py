"""`python -m benchmarks.hub`: publishing through the hub, beside a bare Starlette handler that does the same XADD.

Each side is a process of its own on uvicorn, and keeps running; a third process sends, closed loop: each connection
sends again when it has its answer. CPU is that of the serving process and of Redis, in µs an event. Rounds are
interleaved. A number counts only if Redis has got every event.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis

from benchmarks.hub_load import BATCH, STREAM
from benchmarks.report import Line, as_json, beside_bare, bullets, machine
from benchmarks.rows import BARE, OURS, Row
from benchmarks.stage import REDIS, ROOT, Sample, Wrong, cpu_of
from tests.hub.kit import Hub
from tests.servers import INSTALL, Server, available

ROUNDS = 5
NOTE = """Medians of {} interleaved rounds (lowest to highest). Ratio: the hub's number divided by the bare handler's in
the same round, the median over rounds. CPU: µs an event of the serving process, and of Redis. An event has 200 bytes of
payload; streams keep 10,000 entries. The sender takes a share of the same two processors.
"""


@dataclass(frozen=True)
class Load:
    """A row: what is sent, over how many connections, how often."""

    kind: str
    connections: int
    requests: int
    name: str

    @property
    def row(self) -> Row:
        """Its line of the table."""
        return Row(f"{self.kind}_{self.connections}", self.name, "events/s")

    @property
    def events(self) -> int:
        """Of one request."""
        return BATCH if self.kind.startswith("batch") else 1


LOADS = (
    Load("one_json", 1, 2_000, "Publish, JSON, 1 connection"),
    Load("one_json", 16, 4_000, "Publish, JSON, 16 connections"),
    Load("one_binary", 16, 4_000, "Publish, binary, 16 connections"),
    Load("batch_json", 2, 20, "PublishBatch of 1000, JSON, 2 connections"),
    Load("batch_binary", 2, 20, "PublishBatch of 1000, binary, 2 connections"),
)


class Bench:
    """A Redis and both sides."""

    def __init__(self, server: Server, sides: dict[str, tuple[psutil.Process, str]]) -> None:
        self._redis: Any = redis.Redis.from_url(server.url)
        self._sides = sides

    def measure(self, side: str, load: Load, factor: float) -> Sample:
        """One number."""
        process, address = self._sides[side]
        requests = max(int(load.requests * factor), load.connections)
        events = requests * load.events
        self._redis.flushdb()
        self._redis.xgroup_create(STREAM, "group", "0", mkstream=True)
        cpu, before = cpu_of(process), self._redis.info("everything")
        words = [address, load.kind, str(load.connections), str(requests)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.hub_load", *words], cwd=ROOT, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise Wrong(f"{side}, {load.name}: {done.stderr[-2000:]}")
        cpu, after = cpu_of(process) - cpu, self._redis.info("everything")
        added = self._redis.xinfo_stream(STREAM)["entries-added"]
        if added != events:
            raise Wrong(f"{side}, {load.name}: {added:,} of {events:,} events are there")
        server_cpu = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
        commands = after["total_commands_processed"] - before["total_commands_processed"]
        return Sample(events / float(done.stdout), 1e6 * cpu / events, 1e6 * server_cpu / events, commands / events)


@contextmanager
def both(server: Server) -> Iterator[Bench]:
    """The hub with its defaults, and the bare handler."""
    command = [sys.executable, "-m", "benchmarks.hub_bare", server.url]
    with (
        Hub(server.folder, server.url) as hub,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as bare,
    ):
        assert bare.stdout is not None
        address = bare.stdout.readline().strip()
        sides = {OURS: (hub.popen.pid, hub.address), BARE: (bare.pid, address)}
        try:
            yield Bench(server, {name: (psutil.Process(pid), at) for name, (pid, at) in sides.items()})
        finally:
            bare.kill()


def measured(bench: Bench, loads: Sequence[Load], rounds: int, factor: float) -> list[Line]:
    """All loads, each by both sides in turn, in the other order the next round."""
    lines = [Line(load.row) for load in loads]
    for number in range(rounds + 1):
        for load, line in zip(loads, lines, strict=True):
            for side in (OURS, BARE) if number % 2 == 0 else (BARE, OURS):
                sample = bench.measure(side, load, factor)
                if number:  # the first round warms up
                    line.samples.setdefault(side, []).append(sample)
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return lines


def page(lines: Sequence[Line], rounds: int) -> str:
    """The table and what it means."""
    return f"{beside_bare(lines)}\n\n{NOTE.format(rounds)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hub", description=__doc__)
    parser.add_argument("--rows", default="", metavar="TEXT", help="only rows whose slug begins with TEXT")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default {ROUNDS}")
    parser.add_argument("--n", type=float, default=1.0, metavar="X", help="X times as many requests (default 1)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write hub.json and hub.md to DIR")
    options = parser.parse_args(arguments)
    if REDIS not in available():
        print(f"{REDIS} is not installed: {INSTALL}", file=sys.stderr)
        return 1
    loads = [load for load in LOADS if load.row.slug.startswith(options.rows)]
    with Server(REDIS, tcp=True) as server, both(server) as bench:
        where = machine(server.version, run=f"rounds {options.rounds}, N={options.n:g}")
        try:
            lines = measured(bench, loads, options.rounds, options.n)
        except Wrong as error:
            print(f"not counted: {error}", file=sys.stderr)
            return 1
    text = f"{bullets(where)}\n\n{page(lines, options.rounds)}"
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "hub.json").write_text(json.dumps(as_json(where, lines), indent=1) + "\n")
        (options.out / "hub.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
