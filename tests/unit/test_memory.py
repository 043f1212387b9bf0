"""What processes hold, and which of them belong together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from streamtask import StreamTask, TaskOptions, memory
from streamtask.broker.server import Server
from streamtask.cli.banner import warnings
from streamtask.memory import Process, family, held, table, together, together_once
from streamtask.size import MIB
from tests.support import alive, eventually


def test_where_no_limit_can_be_kept_a_worker_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    app = StreamTask("shop", defaults=TaskOptions(max_memory="1GiB"))
    app.task(name="thread")(lambda: None)
    app.task(name="child", process=True)(lambda: None)
    server = Server("redis", "8.6.2", "standalone", claim=True, ackdel=True)
    assert not any("max_memory" in warning for warning in warnings(app, server))
    monkeypatch.setattr(memory, "KNOWS_OTHERS", False)
    said = [warning for warning in warnings(app, server) if "max_memory" in warning]
    assert said == ["max_memory is kept on Linux only, so there is no limit here: child"]


def test_what_is_held_is_what_others_see() -> None:
    block = b"x" * (64 * MIB)
    seen = psutil.Process().memory_info().rss
    assert abs(held() - seen) < 16 * MIB
    assert abs(table()[os.getpid()].held - seen) < 16 * MIB
    del block


def test_where_the_present_is_not_known_it_is_the_most_that_was_held() -> None:
    """In a process of its own: what it gave back still counts."""
    code = """
from streamtask import memory
memory._NOW = "/nothere"
block = b"x" * (256 * 2**20)
del block
print(memory.held() // 2**20)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert 256 <= int(done.stdout) < 4096


def test_a_family_is_a_group_and_all_that_was_started_in_it() -> None:
    processes = {
        1: Process(0, 1, 1),
        7: Process(1, 7, 10),  # not ours: the worker
        10: Process(7, 10, 100),  # the child
        11: Process(10, 10, 200),
        12: Process(11, 12, 400),  # has made a group of its own
        13: Process(12, 12, 800),
        14: Process(1, 10, 1600),  # its parent is gone
        15: Process(14, 15, 3200),
        16: Process(7, 16, 6400),  # another child of the worker
    }
    assert family(10, processes) == {10, 11, 12, 13, 14, 15}
    assert together({10, 12}, processes) == 500
    assert family(99, processes) == set()


@contextmanager
def started(code: str, where: Path) -> Iterator[int]:
    """A process in a group of its own that runs some code and touches "ready" in a folder; its group ends with it."""
    command = [sys.executable, "-c", f"import os, subprocess, sys, time\n{code}"]
    process = subprocess.Popen(command, cwd=where, process_group=0)
    try:
        eventually((where / "ready").exists, 20)
        yield process.pid
    finally:
        for pid in family(process.pid, table()):
            os.kill(pid, 9)
        process.wait()


def test_what_has_left_the_group_is_found_and_so_is_an_orphan(tmp_path: Path) -> None:
    code = """
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
mine = subprocess.Popen(sleep)
gone = subprocess.Popen(sleep, start_new_session=True)
if os.fork() == 0:
    if os.fork() == 0:
        open("orphan (x) 1", "w").write(str(os.getpid()))
        open("ready", "w")
        time.sleep(600)
    os._exit(0)
os.wait()
open("pids", "w").write(f"{os.getpid()} {mine.pid} {gone.pid}")
time.sleep(600)
"""
    with started(code, tmp_path) as pid:
        orphan = int(eventually((tmp_path / "orphan (x) 1").read_text))
        expected = {*map(int, eventually(lambda: (tmp_path / "pids").read_text().split())), orphan}
        processes = table()
        assert family(pid, processes) == expected
        assert together(expected, processes) >= 4 * MIB
        assert processes[orphan].parent not in expected
    eventually(lambda: not any(map(alive, expected)))


def test_what_is_shared_after_a_fork_counts_once(tmp_path: Path) -> None:
    code = """
block = b"x" * (128 * 2**20)
if os.fork() and os.fork():
    open("ready", "w")
time.sleep(600)
"""
    with started(code, tmp_path) as pid:
        processes = table()
        pids = family(pid, processes)
        assert len(pids) == 3
        assert together(pids, processes) > 3 * 128 * MIB
        assert 128 * MIB < together_once(pids, processes) < 2 * 128 * MIB
