"""A chaos run: a producer, three workers behind a proxy that fails, and faults at moments that a seed has chosen."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.evidence import Fault
from tests.chaos.judge import Judge, Judgement
from tests.chaos.producer import Producer
from tests.chaos.proxy import Proxy
from tests.chaos.tasks import build
from tests.e2e.fleet import QUEUES, Fleet, Process
from tests.support import eventually

PATH = "tests.chaos.tasks:app"
SLOTS = ("--concurrency", "20", "--threads", "10", "--prefetch", "300ms")
WORKERS = 3
#: Exit codes of a worker that could not be started because Redis was not there or refused just then.
UNREACHED = {1, 3}


@dataclass(frozen=True)
class Plan:
    """How many messages, and how many faults of each kind."""

    count: int
    kill: int
    freeze: int
    redis_term: int = 1
    redis_kill: int = 1
    redis_freeze: int = 0
    flush_scripts: int = 2
    full: int = 1
    flush_all: int = 0
    lease: float = 2.0
    rate: float = 0.01
    timeout: float = 240.0

    def moments(self, dice: random.Random) -> list[tuple[int, str]]:
        """Each fault with the number of finished messages at which it comes."""
        names = ("kill", "freeze", "redis_term", "redis_kill", "redis_freeze", "flush_scripts", "full", "flush_all")
        faults = [name for name in names for _ in range(getattr(self, name))]
        return sorted((dice.randrange(int(self.count * 0.05), int(self.count * 0.8)), name) for name in faults)


class Progress:
    """How many messages are finished: ended or dead. Reads each line of the runs once."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._read = fleet, 0
        self._ended: set[str] = set()

    def count(self) -> int:
        """As of now."""
        lines = self._fleet.runs.all()
        self._ended.update(run.id for run in lines[self._read :] if run.what == "end")
        self._read = len(lines)
        return len(self._ended)


class Chaos:
    """One run on one server. `run()` returns when nothing is left in Redis."""

    def __init__(self, fleet: Fleet, proxy: Proxy, plan: Plan, seed: str) -> None:
        self.fleet, self.proxy, self.plan = fleet, proxy, plan
        self._dice = random.Random(seed)
        self.producer = Producer(build(proxy.url), plan.count, seed)
        self._progress = Progress(fleet)
        self.workers: list[Process] = []
        self.faults: list[Fault] = []
        self.unreached = 0
        self.flushed: set[int] = set()

    # -- the run -----------------------------------------------------------------------------------------------------

    def run(self) -> Judgement:
        """Send, run, break; then judge."""
        moments = self.plan.moments(self._dice)
        self.workers = [self._worker() for _ in range(WORKERS)]
        self.producer.start()
        deadline = time.monotonic() + self.plan.timeout
        try:
            while not self._over(moments):
                if moments and self.producer.finished >= moments[0][0]:
                    getattr(self, f"_{moments.pop(0)[1]}")()
                assert time.monotonic() < deadline, f"not over in {self.plan.timeout} s: {self._state()}"
                time.sleep(0.02)
        finally:
            self.producer.stop()
        self._stop()
        return self.judge()

    def _stop(self) -> None:
        """End the workers, through the same proxy; each that could begin ends well."""
        for worker in self.workers:
            eventually(lambda worker=worker: worker.events("worker.ready") or not worker.running, 60)
            assert not worker.events("worker.ready") or worker.stop() == 0, worker.tail()

    def _over(self, moments: Sequence[object]) -> bool:
        """Was everything sent, broken and finished?"""
        self.producer.wanted = bool(moments)
        self._tend()
        return not moments and not self.producer.is_alive() and self.fleet.left() == 0 and self.fleet.pending() == 0

    def _tend(self) -> None:
        """Let the producer know how far the workers are. And what systemd or Kubernetes do: a worker that ended is
        started again.
        """
        if self.producer.error is not None:
            raise self.producer.error
        self.producer.finished = self._progress.count() + self._deaths() + len(self.flushed)
        for number, worker in enumerate(self.workers):
            if not worker.running:
                self._check_end(worker)
                self.workers[number] = self._worker()

    def _check_end(self, worker: Process) -> None:
        """Nobody killed it: it must not have been able to begin."""
        served = worker.events("worker.ready")
        assert not served, f"a worker ended by itself with {worker.popen.returncode}:\n{worker.tail()}"
        assert worker.popen.returncode in UNREACHED, worker.tail()
        assert "Traceback" not in worker.log.read_text(), worker.tail()
        self.unreached += 1

    def _state(self) -> str:
        client, keys = self.fleet.client, [self.fleet.keys(queue) for queue in QUEUES]
        held = [client.xpending_range(key.stream, "workers", "-", "+", 10) for key in keys]
        return f"{self.producer.accepted} accepted, {self.producer.finished} finished, {self.fleet.left()} left: {held}"

    def _worker(self) -> Process:
        return self.fleet.worker(*SLOTS, lease=self.plan.lease, path=PATH)

    def _deaths(self) -> int:
        return sum(int(self.fleet.client.xlen(self.fleet.keys(queue).dead)) for queue in QUEUES)

    # -- the faults --------------------------------------------------------------------------------------------------

    def _note(self, kind: str, at: float, pid: int | None = None) -> None:
        self.faults.append(Fault(kind, at, time.monotonic(), pid))

    def _wait(self, seconds: float) -> None:
        """A fault that lasts."""
        until = time.monotonic() + seconds
        eventually(lambda: time.monotonic() >= until, seconds + 30)

    def _victim(self) -> tuple[Process, float]:
        """Frozen, and in the middle of tasks; since when."""

        def found() -> tuple[Process, float] | None:
            self._tend()
            self._dice.shuffle(self.workers)
            for worker in self.workers:
                if self.fleet.runs.open(worker.pid):
                    at = time.monotonic()
                    worker.freeze()
                    if self.fleet.runs.open(worker.pid):
                        return worker, at
                    worker.send_signal(signal.SIGCONT)
            return None

        victim = eventually(found, 60)
        assert victim is not None
        return victim

    def _kill(self) -> None:
        victim, at = self._victim()
        victim.kill9()
        self._note("kill -9", at, victim.pid)
        self.workers[self.workers.index(victim)] = self._worker()

    def _freeze(self) -> None:
        victim, at = self._victim()
        self._wait(self.plan.lease * 1.6)
        victim.send_signal(signal.SIGCONT)
        self._note("SIGSTOP", at, victim.pid)

    def _redis_term(self) -> None:
        self._away("redis SIGTERM", self.fleet.server.stop)

    def _redis_kill(self) -> None:
        self._away("redis kill -9", self.fleet.server.kill9)

    def _redis_freeze(self) -> None:
        """Connections stay open, and nothing is answered."""
        at = time.monotonic()
        self.fleet.server.sigstop()
        self._wait(self.plan.lease * 1.3)
        self.fleet.server.sigcont()
        self._note("redis SIGSTOP", at)

    def _away(self, kind: str, end: object) -> None:
        at = time.monotonic()
        assert callable(end)
        end()
        self._wait(self._dice.uniform(0.1, self.plan.lease * 1.2))
        self.fleet.server.start()
        self._note(kind, at)

    def _flush_scripts(self) -> None:
        at = time.monotonic()
        self.fleet.client.script_flush()
        self._note("SCRIPT FLUSH", at)

    def _full(self) -> None:
        """Until the producer was refused a few times; workers go on with what they have."""
        at, before = time.monotonic(), self.producer.refused

        def refused() -> bool:
            self._tend()  # the producer waits for the workers when it is far ahead
            return self.producer.refused >= before + 3 or not self.producer.is_alive()

        self.fleet.client.config_set("maxmemory", 1)
        eventually(refused, 60)
        self.fleet.client.config_set("maxmemory", 0)
        self._note("maxmemory", at)

    def _flush_all(self) -> None:
        """Empty Redis when there is something in it, and know exactly what that was: both in one transaction."""
        eventually(self.fleet.left, 60)
        at = time.monotonic()
        held = self.fleet.client.pipeline(transaction=True)
        for queue in QUEUES:
            keys = self.fleet.keys(queue)
            held.xrange(keys.stream).hvals(keys.body).xrange(keys.dead)
        numbers = re.findall(rb'"n":(\d+)', repr(held.flushall().execute()).encode())
        self.flushed.update(map(int, numbers))
        self._note("FLUSHALL", at)

    # -- the end -----------------------------------------------------------------------------------------------------

    def judge(self) -> Judgement:
        """What became of every message."""
        noted = [Fault(one.kind, one.at, one.until, one.pid, one.command) for one in self.proxy.notes()]
        dead: dict[int, list[str]] = {}
        for queue in QUEUES:
            for letter in self.fleet.dead(queue):
                dead.setdefault(json.loads(letter[b"args"])["n"], []).append(letter[b"dead_reason"].decode())
        faults = [*self.faults, *noted]
        runs = self.fleet.runs.all()
        return Judge(self.producer.sent, runs, dead, faults, self.plan.lease, self.flushed).judge()

    def summary(self, found: Judgement) -> str:
        """The report: counts, faults, and each repeat with its cause."""
        done_to = Counter(fault.kind for fault in self.faults)
        spoiled = Counter(one.kind for one in self.proxy.spoiled())
        lines = [
            f"{len(self.producer.sent)} sent: {found.done} done, {found.dead} dead as they should",
            f"{found.duplicates} duplicates of a unique key",
            f"{found.doubtful} refused or unanswered ({found.doubtful_done} of them there all the same)",
            f"{found.flushed} in Redis when it was emptied ({found.flushed_done} of them ended all the same)",
            f"faults: {dict(done_to)}",
            f"of {self.proxy.close().total()} commands {spoiled.total()} spoiled: {dict(spoiled)}",
            f"{self.unreached} workers found no Redis at their start",
            f"{len(found.repeats)} repeats (all in {self.fleet.folder / 'repeats'}):",
            *(f"  {count} by {cause}" for cause, count in found.causes.items()),
        ]
        (self.fleet.folder / "repeats").write_text("\n".join(found.repeats))
        return "\n".join(lines)

    def check_clean(self) -> None:
        """Nothing is left behind but dead letters."""
        client = self.fleet.client
        for queue in QUEUES:
            keys = self.fleet.keys(queue)
            left = {name: client.hlen(name) for name in (keys.body, keys.where, keys.suspects)}
            assert set(left.values()) == {0}, left
        locks = [key for key in client.scan_iter("*:unique:*", count=1000) if b":unique:id:" not in key]
        assert locks == [], locks  # a sender's message ids are remembered a little longer, and have a TTL
