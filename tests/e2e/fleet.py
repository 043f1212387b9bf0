"""A fleet of worker and beat processes, the runs of their tasks, and what Redis holds of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from streamtask import StreamTask
from streamtask.broker.keys import GROUP, QueueKeys, queue_keys
from streamtask.embedded.keeper import end_with_parent
from streamtask.result import Result
from tests.cli.kit import environment
from tests.e2e.app_under_test import RUNS
from tests.servers import NAMES, Server
from tests.support import alive, eventually

APP = "tests.e2e.app_under_test:app"
#: For what is shown on each kind of server in each run of the tests.
both_servers = pytest.mark.parametrize("server_name", NAMES)
QUEUES = ("default", "threads")


class Process:
    """A worker or beat. Its log is a file of JSON lines, which stays when it is killed."""

    def __init__(self, log: Path, folder: Path, *args: str, **env: str) -> None:
        self.log, self.args = log, args
        with log.open("ab") as stream:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "streamtask", *args, "--log-format", "json"],
                cwd=folder,
                env=environment(**env),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - as in tests.servers
            )
        self.pid = self.popen.pid

    @property
    def running(self) -> bool:
        """Whether it lives (it may be frozen)."""
        return self.popen.poll() is None

    def events(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        """What it told under this name, with these fields."""
        lines = self.log.read_bytes().splitlines(keepends=True)
        told = [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"\n")]
        return [e for e in told if e.get("event") == name and all(e.get(key) == fields[key] for key in fields)]

    def wait_for(self, name: str, timeout: float = 30, **fields: Any) -> dict[str, Any]:
        """The first such event, as soon as it was told; RuntimeError with the log when the process ends before."""

        def told() -> list[dict[str, Any]]:
            ended = not self.running  # asked first: the last line may be written in between
            found = self.events(name, **fields)
            if ended and not found:
                raise RuntimeError(f"it ended with {self.popen.returncode}, without {name!r}:\n{self.tail()}")
            return found

        return eventually(told, timeout)[0]

    def ready(self) -> Process:
        """Wait until it serves."""
        self.wait_for("worker.ready" if self.args[0] == "worker" else "beat.started")
        return self

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP, and wait until it really stands still."""
        self.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.pid}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")

    def kill9(self) -> None:
        """End it as a crash would."""
        self.popen.kill()
        self.popen.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and wait for the end; its exit code."""
        self.send_signal(number)
        return self.end()

    def end(self, timeout: float = 30) -> int:
        """Wait until it has ended; its exit code."""
        return self.popen.wait(timeout)

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@dataclass(frozen=True)
class Run:
    """One line of the runs: a task's start, its end, or what cut it short. `late`: seconds since the worker decided to
    start it, or some more, for its clock is Redis'.
    """

    what: str
    n: str
    id: str
    pid: int
    deliveries: int
    attempt: int
    at: float
    late: float = 0.0


class Runs:
    """All that was run so far, by any process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._all: list[Run] = []
        self._offset = 0
        path.touch()

    def all(self) -> list[Run]:
        """Everything, in the order in which it was written."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]
        self._offset += len(new)
        self._all += [Run(**json.loads(line)) for line in new.splitlines()]
        return self._all

    def of(self, what: str, pid: int | None = None, id: str | None = None) -> list[Run]:
        """The "start" or "end" lines, of one process, of one message."""
        return [r for r in self.all() if r.what == what and pid in {None, r.pid} and id in {None, r.id}]

    def open(self, pid: int) -> set[str]:
        """The messages that this process has started and not ended."""
        return {r.id for r in self.of("start", pid)} - {r.id for r in self.all() if r.pid == pid and r.what != "start"}

    def ended(self) -> set[str]:
        """The messages whose task came to its end at least once."""
        return {run.id for run in self.of("end")}

    def report(self) -> Report:
        """The counts of everything so far."""
        return Report(list(self.all()))


class Report:
    """What became of the messages, counted from the runs."""

    def __init__(self, runs: list[Run]) -> None:
        self.starts: dict[str, list[Run]] = defaultdict(list)
        ends: Counter[str] = Counter()
        for run in runs:
            if run.what == "start":
                self.starts[run.id].append(run)
            elif run.what == "end":
                ends[run.id] += 1
        self.once = sum(len(starts) == 1 for starts in self.starts.values())
        self.started_twice = [id for id, starts in self.starts.items() if len(starts) > 1]
        self.ended_twice = [id for id, count in ends.items() if count > 1]
        self.takeovers = sum(run.deliveries > 1 for starts in self.starts.values() for run in starts)

    def __str__(self) -> str:
        return (
            f"{self.once} executed once, {len(self.started_twice)} started twice, {len(self.ended_twice)} ended twice, "
            f"{self.takeovers} starts after a takeover"
        )

    def check_repeats(self, killed: Iterable[int]) -> None:
        """Every repeat must be explained by the kill of the one that had it: at most one start in a healthy process,
        and never two starts with the same fencing token.
        """
        dead = set(killed)
        for id, starts in self.starts.items():
            assert sum(run.pid not in dead for run in starts) <= 1, f"{id}: {starts}"
            assert len({run.deliveries for run in starts}) == len(starts), f"{id}: {starts}"


class Fleet:
    """Processes of one app on one server, in one folder. With `url`, it is by that address that they reach it."""

    def __init__(self, folder: Path, server: Server, url: str | None = None) -> None:
        self.folder, self.server = folder, server
        self.url = url or server.url
        self.processes: list[Process] = []
        self.strays: set[int] = set()  # pids of what a task has started; killed in the end
        self.runs = Runs(folder / "runs")
        self.client = redis.Redis.from_url(server.url)
        self._env = {"STREAMTASK_URL": self.url, RUNS: str(self.runs.path)}

    @cached_property
    def app(self) -> StreamTask:
        """The sender: it knows the queues and no task."""
        return StreamTask("fleet", self.url, queues=QUEUES)

    @cached_property
    def native(self) -> bool:
        """Does the server have XREADGROUP ... CLAIM?"""
        try:
            self.client.xreadgroup("g", "c", {"{fleet}:probe": ">"}, claim_min_idle_time=1)
        except redis.ResponseError as error:
            return "NOGROUP" in str(error)
        return False

    # -- processes -----------------------------------------------------------------------------------------------------

    def worker(self, *args: str, lease: float = 2.0, path: str = APP, **env: str) -> Process:
        """Start a worker; it may not be ready yet. `lease` in seconds."""
        return self._start("worker", path, "--lease", str(lease), *args, **env)

    def beat(self, path: str, **env: str) -> Process:
        """Start a beat for a module of this folder."""
        return self._start("beat", path, **env)

    def _start(self, kind: str, path: str, *args: str, **env: str) -> Process:
        log = self.folder / f"{kind}-{len(self.processes)}.log"
        process = Process(log, self.folder, kind, path, *args, **self._env | env)
        self.processes.append(process)
        return process

    def write(self, name: str, text: str) -> str:
        """Write a module into the folder; its path for the command line."""
        (self.folder / f"{name}.py").write_text(text)
        return f"{name}:app"

    def logs(self) -> str:
        """The end of each log, for a test that failed."""
        server = f"--- {self.server!r}\n{self.server.tail()}"
        return "\n".join([f"--- pid {p.pid}: {' '.join(p.args)}\n{p.tail()}" for p in self.processes] + [server])

    def close(self) -> None:
        """Kill what still runs, and what that has started: without its parent a process that hangs would never end."""
        for process in self.processes:
            if process.running:
                self.strays |= {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
                process.kill9()
        for pid in self.strays:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if "app" in self.__dict__:
            self.app.close()
        self.client.close()

    # -- messages ------------------------------------------------------------------------------------------------------

    def send(self, task: str, **args: Any) -> Result[Any]:
        """Send one message."""
        return self.app.send(task, args, queue="threads" if task in {"work", "hold_thread"} else "default")

    def many(self, count: int, seconds: float) -> set[str]:
        """Send `count` naps, each second one for the threads; their ids."""
        return {self.send(("nap", "work")[n % 2], n=n, seconds=seconds).id for n in range(count)}

    def gate(self, name: str = "gate") -> Gate:
        """What tasks may wait for."""
        return Gate(self.folder / name)

    # -- what Redis holds ----------------------------------------------------------------------------------------------

    def keys(self, queue: str = "default") -> QueueKeys:
        """The keys of a queue."""
        return queue_keys("fleet", queue)

    def left(self) -> int:
        """Messages that are not final, of all queues."""
        keys = [self.keys(queue) for queue in QUEUES]
        return sum(int(self.client.xlen(key.stream)) + int(self.client.zcard(key.due)) for key in keys)

    def pending(self) -> int:
        """Messages in workers' hands."""
        return sum(self.client.xpending(self.keys(queue).stream, GROUP)["pending"] for queue in QUEUES)

    def holders(self, queue: str) -> list[str]:
        """The consumers in whose names messages of a queue are pending."""
        consumers = self.client.xpending(self.keys(queue).stream, GROUP)["consumers"]
        return [row["name"].decode() for row in consumers]

    def dead(self, queue: str = "default") -> list[dict[bytes, bytes]]:
        """The dead letters, oldest first."""
        return [fields for _, fields in self.client.xrange(self.keys(queue).dead)]

    def finished(self, ids: set[str], timeout: float = 60) -> Report:
        """Wait until all these messages have ended and Redis holds nothing more; the counts."""
        eventually(lambda: ids <= self.runs.ended(), timeout)
        eventually(lambda: self.left() == 0, timeout)
        assert self.pending() == 0
        for queue in QUEUES:
            keys = self.keys(queue)
            assert self.dead(queue) == []
            assert [self.client.hlen(name) for name in (keys.body, keys.where, keys.suspects)] == [0, 0, 0]
        report = self.runs.report()
        assert set(report.starts) == ids
        return report

    def victim(self, workers: list[Process]) -> Process:
        """A frozen worker that runs tasks at this very moment."""

        def found() -> Process | None:
            for worker in workers:
                worker.freeze()
                if self.runs.open(worker.pid):
                    return worker
                worker.send_signal(signal.SIGCONT)
            return None

        worker = eventually(found, 30)
        assert worker is not None
        assert alive(worker.pid)
        return worker


class Gate:
    """A file that tasks wait for."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def open(self) -> None:
        """Let them end."""
        Path(self.path).touch()
