"""The stage of a measurement: a private Redis, full queues on a shelf, a worker that empties them, and who watches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from benchmarks.ledger import PATH, Ledger
from tests.servers import Server

ROOT = Path(__file__).resolve().parents[1]
#: The server of all measurements.
REDIS = "redis-8.6"
#: Seconds between two looks at what ran, the longest that nothing more runs, the longest that a worker takes to end.
LOOK, PATIENCE, STOP = 0.01, 20.0, 5.0
#: Fewer messages than this are looked at more often, but not more often than each so many seconds.
MANY, SHORTEST = 10_000, 0.0005
#: The longest that a producer may take, in seconds.
PRODUCER = 300.0
#: Databases of the server: number 0 is measured, the others are the shelf.
DATABASES = 256


class Wrong(Exception):
    """A measurement whose numbers mean nothing: tasks were lost, or a process died."""


@dataclass(frozen=True)
class Side:
    """One framework, or the bare loop: its Python, and what `benchmarks.child about` says of it."""

    name: str
    python: str
    about: dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """One number of one round. CPU in microseconds, and commands of Redis, a task, where they were looked at."""

    value: float
    cpu: float | None = None
    redis_cpu: float | None = None
    commands: float | None = None
    twice: int = 0


@dataclass
class Stage:
    """A server for one run of the benchmarks."""

    server: Server
    _shelf: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.url, self.version = self.server.url, self.server.version
        self.ledger = Ledger(self.server.folder / "ledger")
        self._log = self.server.folder / "worker.log"
        self._client: Any = redis.Redis.from_url(self.url, decode_responses=True)
        self._environment = os.environ | {
            PATH: str(self.server.folder / "ledger"),
            "BENCHMARK_URL": self.url,
            "STREAMTASK_URL": self.url,
            "PYTHONPATH": str(ROOT),
        }

    def about(self, name: str, python: str) -> Side:
        """Ask a side what it can do."""
        return Side(name, python, self.tell(Side(name, python, {}), "about"))

    def tell(self, side: Side, *words: str | int, **environment: str) -> Any:
        """The answer of `benchmarks.child`, run by the side's Python; raises `Wrong` with what it printed."""
        command = [side.python, "-m", "benchmarks.child", side.name, *map(str, words)]
        environ = self._environment | environment
        done = subprocess.run(
            command, cwd=ROOT, env=environ, check=False, capture_output=True, text=True, timeout=PRODUCER
        )
        if done.returncode:
            raise Wrong(f"{side.name} {' '.join(map(str, words))}: exit code {done.returncode}: {done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def clear(self) -> None:
        """Empty database 0 and the ledger."""
        self._client.flushdb()
        self.ledger.clear()

    def fill(self, side: Side, kind: str, size: int) -> None:
        """Make database 0 hold nothing but `size` messages of the side, which sends them the first time only."""
        self.clear()
        place = self._shelf.get((side.name, kind, size))
        if place is None:
            self.tell(side, "fill", kind, size)
            place = self._shelf[side.name, kind, size] = len(self._shelf) + 1
            self._client.swapdb(0, place)
        shelf: Any = redis.Redis.from_url(self.url.removesuffix("/0") + f"/{place}")  # bytes: keys are a peer's
        pipe = shelf.pipeline(transaction=False)
        for key in shelf.scan_iter(count=10_000):
            pipe.execute_command("COPY", key, key, "DB", 0)
        pipe.execute()
        shelf.close()
        self.check_queued(size)

    def check_queued(self, size: int) -> None:
        """Raise `Wrong` unless something in database 0 is as long as the number of messages."""
        if (length := max(self._lengths(), default=0)) < size:
            raise Wrong(f"{length:,} of {size:,} messages are queued")

    def queued_memory(self) -> int:
        """Bytes of all keys of database 0."""
        pipe = self._client.pipeline(transaction=False)
        for key in self._client.scan_iter(count=10_000):
            pipe.memory_usage(key, samples=0)
        return sum(pipe.execute())

    def command(self, *words: str) -> tuple[float, int, str]:
        """Run a `streamtask` command: seconds, the most bytes of memory that it held, and what it printed."""
        command = [sys.executable, "-m", "streamtask", *words]
        started = time.perf_counter()
        with subprocess.Popen(
            command, cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            printed = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise Wrong(f"streamtask {' '.join(words)}: exit code {process.returncode}: {printed[-2000:]}")
        return time.perf_counter() - started, used.ru_maxrss * 1024, printed

    def commands_sent(self, seconds: float) -> int:
        """Commands that clients send within so long; not those that scripts call, which `usage` counts, too."""
        sent, end = 0, time.monotonic() + seconds
        with self._client.monitor() as monitor:
            while time.monotonic() < end:
                if monitor.connection.can_read(timeout=0.1):
                    sent += monitor.next_command()["client_type"] != "lua"
        return sent

    def usage(self) -> tuple[float, int, int]:
        """Seconds of CPU, commands (those that scripts call, too), and bytes that the server has used."""
        info = self._client.info("everything")
        cpu: float = info["used_cpu_user"] + info["used_cpu_sys"]
        return cpu, info["total_commands_processed"], info["used_memory"]

    @contextmanager
    def worker(self, side: Side, kind: str, **environment: str) -> Iterator[psutil.Process]:
        """The side's worker, which ends with SIGTERM, or SIGKILL when that takes long."""
        command = [side.python, "-m", "benchmarks.child", side.name, "work", kind]
        with self.process(command, **environment) as process:
            yield process

    @contextmanager
    def process(self, command: list[str], **environment: str) -> Iterator[psutil.Process]:
        """A process with a group of its own; a `Wrong` gets the end of what it printed."""
        with self._log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment | environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield psutil.Process(process.pid)
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP)
        except Wrong as error:
            raise Wrong(f"{error}\n{self._log.read_text(errors='replace')[-2000:]}") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def until(
        self, total: int, process: psutil.Process, *, least: int = 0, empty: Sequence[str] = (), look: float = LOOK
    ) -> int:
        """Wait until `least` of `total` messages ran (0: all), and until these queues are empty.

        Returns how many ran. Raises `Wrong` when the worker dies, or does nothing for a while.
        """
        before, deadline = 0, time.monotonic() + PATIENCE
        while (ran := self.ledger.count(total)) < (least or total) or any(map(self._waiting, empty)):
            if ran > before:
                before, deadline = ran, time.monotonic() + PATIENCE
            if process.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
                raise Wrong(f"{ran:,} of {total:,} messages ran, then no more")
            time.sleep(look)
        return ran

    def drain(self, side: Side, worker: str, kind: str, total: int) -> Sample:
        """Let a worker empty a queue of `total` messages."""
        self.fill(side, kind, total)
        return self.emptied(side, worker, kind, total)

    def emptied(self, side: Side, worker: str, kind: str, total: int, *, dead: int = 0, **environment: str) -> Sample:
        """Let a worker empty what is queued: `total` messages, of which `dead` end as dead letters.

        Counted from the first look that finds something done until all ran (and, of streamtask and the bare loop, are
        acknowledged), so the start of the program costs nothing. Raises `Wrong` unless every message ran; of streamtask
        and the bare loop also unless none is left pending or due, and every result is there.
        """
        streams = self._streams() if side.about["empties"] else []
        look = max(LOOK * min(1.0, total / MANY), SHORTEST)
        with self.worker(side, worker, **environment) as process:
            before = self.until(total, process, least=1, look=look)
            started, cpu, usage = time.perf_counter(), cpu_of(process), self.usage()
            self.until(total, process, empty=streams, look=look)
            took, cpu = max(time.perf_counter() - started, look), cpu_of(process) - cpu
            after = self.usage()
            left = total - before or total  # all between two looks: at least so fast
            self._check_ended(streams, dead)
            if kind == "stored" and (pattern := side.about["results"]):
                self._check_stored(pattern, total)
        redis_cpu, commands = after[0] - usage[0], after[1] - usage[1]
        twice = self.ledger.twice(total)
        return Sample(left / took, 1e6 * cpu / left, 1e6 * redis_cpu / left, commands / left, twice)

    def _waiting(self, stream: str) -> int:
        """How many messages a queue holds, those that are still to become due too."""
        pipe = self._client.pipeline(transaction=False)
        return sum(pipe.xlen(stream).zcard(f"{{{stream}}}:due").execute())

    def _streams(self) -> list[str]:
        """The streams of database 0, those too of which all messages are still to become due."""
        due = {key[1:-5] for key in self._client.scan_iter(_type="zset") if key.endswith("}:due")}
        return sorted(due | set(self._client.scan_iter(_type="stream")))

    def _check_ended(self, streams: Sequence[str], dead: int) -> None:
        """Raise `Wrong` if anything is left, or more or less is dead than should be."""
        found = 0
        for stream in streams:
            pending, due = self._client.xpending(stream, "workers")["pending"], self._client.zcard(f"{{{stream}}}:due")
            found += self._client.xlen(f"{{{stream}}}:dead")
            if pending or due:
                raise Wrong(f"{stream}: {pending} pending, {due} due")
        if found != dead:
            raise Wrong(f"{found:,} dead letters, not {dead:,}")

    def _check_stored(self, pattern: str, total: int) -> None:
        """Raise `Wrong` if a result is missing, and stays so for a while."""
        deadline = time.monotonic() + STOP
        while (stored := sum(1 for _ in self._client.scan_iter(pattern, count=5000))) < total:
            if time.monotonic() > deadline:
                raise Wrong(f"{stored:,} of {total:,} results stored")
            time.sleep(LOOK)

    def _lengths(self) -> Iterator[int]:
        """How many items each collection of database 0 holds."""
        for kind, command in {"stream": "XLEN", "list": "LLEN", "zset": "ZCARD", "hash": "HLEN"}.items():
            for key in self._client.scan_iter(count=10_000, _type=kind):
                yield self._client.execute_command(command, key)


def cpu_of(process: psutil.Process) -> float:
    """Seconds of CPU that a process and its children have used."""
    found = 0.0
    for member in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            found += times.user + times.system
    return found


def rss_of(process: psutil.Process) -> int:
    """Bytes of memory that a process and its children hold."""
    return sum(member.memory_info().rss for member in (process, *process.children(recursive=True)))
