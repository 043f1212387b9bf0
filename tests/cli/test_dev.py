"""`dev`: one terminal with everything, that starts again when the code changes or the worker dies."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.kit import TASKS, Running, Shell, invoke
from tests.servers import Server
from tests.support import alive, eventually


@pytest.fixture
def dev(tmp_path: Path, valkey81: Server) -> Iterator[Shell]:
    """A folder with an app, whose private server is the Valkey of the wheel."""
    shell = Shell(tmp_path / "project", f"embedded://{tmp_path}/data")
    shell.environment["PATH"] = f"{valkey81.path.parent}:{os.environ['PATH']}"
    yield shell
    shell.close()


def worker_pids(running: Running) -> list[int]:
    """The process ids of the workers that it started, by their banners."""
    return [int(line.split(":")[1].split("/")[0]) for line in list(running.lines) if "  worker shop@" in line]


def ready(running: Running, times: int) -> None:
    """Wait until the worker was ready so often."""
    eventually(lambda: running.text.count(" ready in ") >= times, timeout=30)


def test_it_serves_tells_others_where_and_ends_with_all_it_started(dev: Shell) -> None:
    running = dev.start("dev", "tasks.py", "--url", dev.url, STREAMTASK_URL="redis://127.0.0.1:1")
    ready(running, 1)
    assert f"elsewhere export STREAMTASK_URL={dev.url}\n" in running.text
    sent = dev.run("-A", "tasks", "send", "add", "--args", '{"x": 1, "y": 2}', "--wait")
    assert sent.stdout == "3\n", sent.stderr
    (worker,) = worker_pids(running)
    running.signal(signal.SIGINT)
    assert running.end() == 0
    assert not alive(worker)
    assert running.text.count("once more to stop now") == 1
    assert "Traceback" not in running.text


def test_a_password_in_the_address_is_no_argument_and_not_told(dev: Shell, redis86: Server) -> None:
    url = redis86.url.replace("://", "://default:hunter2@")  # its default user takes any password
    running = dev.start("dev", "tasks.py", "--no-reload", STREAMTASK_DEV_URL=url)
    ready(running, 1)
    (worker,) = worker_pids(running)
    assert b"hunter2" not in Path(f"/proc/{worker}/cmdline").read_bytes()
    running.signal(signal.SIGINT)
    assert running.end() == 0
    assert f"elsewhere export STREAMTASK_URL={redis86.url.replace('://', '://default:***@')}\n" in running.text
    assert "hunter2" not in running.text


def test_it_starts_again_when_code_changes_and_waits_while_it_is_broken(dev: Shell) -> None:
    running = dev.start("dev", "tasks.py", "--url", dev.url)
    ready(running, 1)
    dev.write("tasks.py", "import nothere\n")
    running.wait_for("waiting for a change")
    assert "changed: tasks.py; starting again" in running.text
    assert "No module named 'nothere'" in running.text
    dev.write("tasks.py", TASKS)
    ready(running, 2)
    running.signal(signal.SIGTERM)
    assert running.end() == 0


def test_a_worker_that_dies_is_started_again(dev: Shell) -> None:
    running = dev.start("dev", "tasks.py", "--url", dev.url, "--no-reload")
    ready(running, 1)
    os.kill(worker_pids(running)[0], signal.SIGKILL)
    running.wait_for("the worker ended by itself (signal SIGKILL); starting it again in 1 s")
    ready(running, 2)
    running.signal(signal.SIGINT)
    assert running.end() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death is told to its children on Linux")
def test_kill_9_leaves_no_worker_behind(dev: Shell) -> None:
    running = dev.start("dev", "tasks.py", "--url", dev.url, "--no-reload")
    ready(running, 1)
    (worker,) = worker_pids(running)
    running.signal(signal.SIGKILL)
    eventually(lambda: not alive(worker))


def test_without_reload_what_only_a_change_can_mend_ends_it(dev: Shell) -> None:
    dev.write("tasks.py", "import nothere\n")
    running = dev.start("dev", "tasks.py", "--url", dev.url, "--no-reload")
    assert running.end() == 4


def test_reload_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    result = invoke("", "dev", "tasks.py", "--reload")
    assert result.exit_code == 1
    assert "pip install 'streamtask[embedded]'" in result.output
