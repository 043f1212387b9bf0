"""The command line in tests: as a process of its own, and inside the test's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from streamtask.cli import cli
from tests.support import eventually

ROOT = Path(__file__).parents[2]
#: The app of most tests: each way to end, in two queues.
TASKS = """
from __future__ import annotations
import asyncio, threading, time
from streamtask import Every, RetryPolicy, StreamTask, Unique, current

app = StreamTask("shop")
SOON = RetryPolicy(base=0.01, jitter="none")


@app.task
async def add(x: int, y: int) -> int:
    current().logger.info("adding %d", x)
    return x + y


@app.task(queue="mail", max_retries=1, retry=SOON, log_args=True)
def fail(x: int) -> None:
    raise ValueError(f"no {x}")


@app.task(unique=Unique(by=("name",)), max_retries=0)
async def once(name: str, good: bool) -> str:
    if not good:
        raise RuntimeError("not good")
    return name


@app.task
async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)


@app.schedule(Every(hours=1))
@app.task
async def hourly() -> None: ...
"""


def environment(**more: str) -> dict[str, str]:
    """This process's, without what streamtask would read, and with the clone on Python's path."""
    read = ("STREAMTASK_", "REDIS_", "NO_COLOR")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(read)}
    return plain | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


class Running:
    """A command that runs on: its lines on standard error as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(iter(self.process.stderr.readline, ""))  # extend takes them one by one

    @property
    def text(self) -> str:
        """All it said so far."""
        return "".join(self.lines)

    def wait_for(self, text: str, timeout: float = 20) -> str:
        """The first line with this text, as soon as it is there; AssertionError with all lines when it ends before."""

        def found() -> str | None:
            line = next((line for line in list(self.lines) if text in line), None)
            if line is None and self.process.poll() is not None and not self._reader.is_alive():
                raise RuntimeError(f"it ended with {self.process.returncode}, without {text!r}:\n{self.text}")
            return line

        line = eventually(found, timeout)
        assert line is not None
        return line

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of one name, when it logs JSON."""
        return [event for line in list(self.lines) if (event := json.loads(line)).get("event") == name]

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, timeout: float = 20) -> int:
        """Wait until it has ended; its exit code."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.end()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


class Shell:
    """A folder to run commands in, with `tasks.py`, and the server that they find by STREAMTASK_URL."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        folder.mkdir(exist_ok=True)
        self.running: list[Running] = []
        self.environment = {"STREAMTASK_URL": url}
        self.write("tasks.py", TASKS)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the user's."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *args: str, timeout: float = 60, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `streamtask ARGS` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "streamtask", *args],
            cwd=self.folder,
            env=environment(**self.environment | more),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *args: str, **more: str) -> Running:
        """Start `streamtask ARGS`."""
        process = subprocess.Popen(
            [sys.executable, "-m", "streamtask", *args],
            cwd=self.folder,
            env=environment(**self.environment | more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(Running(process))
        return self.running[-1]

    def work_off(self) -> str:
        """Let a worker do all that is there; what it said."""
        done = self.run("worker", "tasks", "--burst", "--lease", "2s")
        assert done.returncode == 0, done.stderr
        return done.stderr

    def close(self) -> None:
        """End what still runs."""
        for running in self.running:
            running.close()


def invoke(url: str, *args: str, **more: str) -> Result:
    """Run a command inside this process; for those that import no app."""
    cleared = {name: None for name in os.environ if name.startswith(("STREAMTASK_", "REDIS_"))}
    env: Mapping[str, str | None] = cleared | {"STREAMTASK_URL": url, **more}
    return CliRunner().invoke(cli, args, env=env)


def ok(url: str, *args: str, **more: str) -> str:
    """The output of a command that succeeds."""
    result = invoke(url, *args, **more)
    assert result.exit_code == 0, result.output
    return result.stdout


def ok_json(url: str, *args: str, **more: str) -> Any:
    """The JSON of a command that succeeds."""
    return json.loads(ok(url, *args, "--format", "json", **more))
