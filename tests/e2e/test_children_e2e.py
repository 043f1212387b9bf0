"""Child processes of real workers: signals of a terminal, and a worker that is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from streamtask import StreamTask
from tests.cli.kit import Running, Shell
from tests.support import alive, eventually

APP = """
from __future__ import annotations
import ctypes, os, subprocess, sys, time
from pathlib import Path
from streamtask import StreamTask

app = StreamTask("kids")


@app.task(process=True, timeout=600)
def hold(name: str, gate: str) -> str:
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open("pids", "a") as file:
        file.write(f"{name} {os.getpid()} {helper.pid}\\n")
    while not Path(gate).exists():
        ctypes.PyDLL(None).usleep(10_000)
    helper.kill()
    helper.wait()
    return name


@app.task(process=True, max_memory="1GiB")
def frozen(name: str) -> None:
    with open("pids", "a") as file:
        file.write(f"{name} {os.getpid()} 0\\n")
    sum(range(10**13))
"""

#: For tests that do not depend on the server: one is enough.
pytestmark = pytest.mark.parametrize("server_name", ["valkey-8.1"])


@pytest.fixture
def shell(tmp_path: Path, url: str) -> Iterator[Shell]:
    """A folder with the app, and where its commands find the server."""
    shell = Shell(tmp_path, url)
    shell.write("kids.py", APP)
    yield shell
    shell.close()


def worker(shell: Shell, *more: str) -> Running:
    """A worker in a process group of its own, as a shell would start it."""
    return shell.start("worker", "kids.py", "--children", "2", "--lease", "2s", *more)


def pids(shell: Shell, count: int) -> list[tuple[int, int]]:
    """The children that began so many tasks, and the helper that each of them started."""
    file = shell.folder / "pids"

    def told() -> list[tuple[int, int]]:
        rows = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [(int(child), int(helper)) for _, child, helper in rows] if len(rows) == count else []

    return eventually(told, 30)


def test_ctrl_c_reaches_the_worker_alone_and_the_task_ends_in_peace(shell: Shell) -> None:
    """A terminal sends it to all processes of the foreground group."""
    running = worker(shell)
    gate = shell.folder / "gate"
    with StreamTask("kids", shell.url, queues=["default"]) as app:
        result = app.send("kids.hold", {"name": "a", "gate": str(gate)})
        ((child, _),) = pids(shell, 1)
        assert os.getpgid(child) != os.getpgid(running.process.pid)
        running.signal(signal.SIGINT)
        running.wait_for("waiting for 1 running task")
        assert alive(child)
        gate.touch()
        assert running.end() == 0
        assert result.get(timeout=10) == "a"
    assert not alive(child)


def test_no_child_outlives_a_worker_that_is_killed(shell: Shell) -> None:
    running = worker(shell)
    with StreamTask("kids", shell.url, queues=["default"]) as app:
        app.send("kids.hold", {"name": "a", "gate": "never"})
        app.send("kids.frozen", {"name": "b"})
        found = pids(shell, 2)
    running.signal(signal.SIGKILL)
    running.process.wait()
    eventually(lambda: not any(alive(child) for child, _ in found), 20)
    for _, helper in found:
        if helper:
            with suppress(ProcessLookupError):  # where the kernel was faster than the child, it is nobody's any more
                os.kill(helper, signal.SIGKILL)


def test_the_second_signal_gives_back_at_once(shell: Shell, url: str) -> None:
    running = worker(shell, "--grace", "10m")
    with StreamTask("kids", shell.url, queues=["default"]) as app:
        app.send("kids.hold", {"name": "a", "gate": "never"})
        found = pids(shell, 1)
    running.signal(signal.SIGINT)
    running.wait_for("waiting for 1 running task")
    running.signal(signal.SIGINT)
    assert running.end() == 130
    assert not any(alive(pid) for pid in found[0])
    with redis.Redis.from_url(url) as client:
        (row,) = client.xpending("kids:default", "workers")["consumers"]
        assert row["name"] == b"released"


def test_the_banner_and_inspect_count_children(shell: Shell) -> None:
    running = worker(shell)
    line = running.wait_for("  slots")
    assert "100 coroutines, 10 threads, 2 children" in line
    assert "kids.frozen  process  default  retries 3  memory 1024 MiB" in running.wait_for("kids.frozen")
    assert "kids.hold    process  default  retries 3  timeout 10 min" in running.wait_for("kids.hold")
    running.wait_for("ready in")
    assert "cannot be killed" not in running.text
    seen = shell.run("inspect", "--namespace", "kids").stdout
    assert "100 coroutines, 10 threads, 2 children" in seen
