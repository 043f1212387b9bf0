"""The stage of a measurement: a private Redis, a full queue, a process that empties it, and who watches them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import redis

from benchmarks import ledger
from tests.servers import Server

GROUP = "workers"
#: Seconds between two looks at a queue that is being emptied, and the longest that a drain may take.
LOOK, PATIENCE = 0.01, 120.0


class Wrong(Exception):
    """A measurement whose numbers mean nothing: tasks were lost, or a process died."""


@dataclass(frozen=True)
class Drain:
    """One emptied queue. CPU in microseconds a task; `twice` counts runs beyond each message's first."""

    rate: float
    worker_cpu: float
    redis_cpu: float
    twice: int


@dataclass(frozen=True)
class Worked:
    """What a worker process wrote down at its end."""

    ran: int
    twice: int
    delays: list[int]


class Stage:
    """A server for one run of the benchmarks. Measurements use database 0, full queues wait as copies in database 1."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self._folder = server.folder
        self._client: Any = redis.Redis.from_url(self.url)
        self._shelf: Any = redis.Redis.from_url(self.url.removesuffix("/0") + "/1")
        self.version = server.version

    def clear(self) -> None:
        """Empty database 0."""
        self._client.flushdb()

    def keep(self, stream: str) -> int:
        """Put a full queue on the shelf, for `fill`; returns its length."""
        length: int = self._client.xlen(stream)
        self._client.execute_command("MOVE", stream, 1)
        self.clear()
        return length

    def fill(self, stream: str) -> None:
        """Make database 0 hold nothing but a copy of the full queue."""
        self.clear()
        self._shelf.execute_command("COPY", stream, stream, "DB", 0)

    def length(self, stream: str) -> int:
        """Messages that are not done."""
        length: int = self._client.xlen(stream)
        return length

    def redis_cpu(self) -> float:
        """Seconds of CPU that the server has used."""
        info = self._client.info("cpu")
        cpu: float = info["used_cpu_user"] + info["used_cpu_sys"]
        return cpu

    def until_empty(self, stream: str, process: subprocess.Popen[bytes], *, below: int = 1, look: float = LOOK) -> int:
        """Wait until fewer than `below` messages are left, looking each `look` seconds; returns how many."""
        deadline = time.monotonic() + PATIENCE
        while (left := self.length(stream)) >= below:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Wrong(f"{left:,} messages left in {stream}, worker exit code {process.returncode}")
            time.sleep(look)
        return left

    def drain(self, program: Sequence[str], stream: str, total: int, results: str = "") -> Drain:
        """Let a program empty a queue of `total` messages.

        Counted from the first look that finds something done until nothing is left, so the start of the program costs
        nothing. Raises `Wrong` unless every message ran, none is left pending, due or dead, and every result is there
        (`results`: their key pattern).
        """
        self.fill(stream)
        if (length := self.length(stream)) != total:
            raise Wrong(f"{stream}: {length:,} of {total:,} messages are queued")
        with self.process(program) as (process, worked):
            left = self.until_empty(stream, process, below=total)
            started, before = time.perf_counter(), self._cpu(process)
            self.until_empty(stream, process)
            took, after = time.perf_counter() - started, self._cpu(process)
            self._check(stream, total, results)
        if (found := worked()).ran != total:
            raise Wrong(f"{stream}: {found.ran:,} of {total:,} messages ran")
        worker_cpu, redis_cpu = (1e6 * (b - a) / left for a, b in zip(before, after, strict=True))
        return Drain(left / took, worker_cpu, redis_cpu, found.twice)

    @contextmanager
    def process(self, program: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], Any]]:
        """A worker process; ends with SIGTERM, after which the function beside it tells what it has done."""
        path, log = self._folder / "ledger.json", self._folder / "worker.log"
        path.unlink(missing_ok=True)
        environment = os.environ | {ledger.PATH: str(path), "STREAMTASK_URL": self.url}
        with log.open("wb") as output:
            process = subprocess.Popen([sys.executable, "-m", *program], env=environment, stdout=output, stderr=output)
        try:
            yield process, lambda: Worked(**json.loads(path.read_text()))
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        except Wrong as error:
            raise Wrong(f"{error}\n{log.read_text(errors='replace')[-2000:]}") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _cpu(self, process: subprocess.Popen[bytes]) -> tuple[float, float]:
        """Seconds of CPU that the worker and the server have used."""
        times = psutil.Process(process.pid).cpu_times()
        return times.user + times.system, self.redis_cpu()

    def _check(self, stream: str, total: int, results: str) -> None:
        tag = "{" + stream + "}"
        left = {
            "pending": self._client.xpending(stream, GROUP)["pending"],
            "due": self._client.zcard(f"{tag}:due"),
            "dead": self._client.xlen(f"{tag}:dead"),
        }
        if any(left.values()):
            raise Wrong(f"{stream}: {left}")
        if results and (stored := sum(1 for _ in self._client.scan_iter(results, count=5000))) != total:
            raise Wrong(f"{stream}: {stored:,} of {total:,} results stored")
