"""What a worker that has nothing to do costs: commands, CPU, memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest

from streamtask.broker.scripts import ALL
from tests.cli.kit import environment
from tests.e2e.fleet import Fleet
from tests.support import eventually

APP = """
import sys
from streamtask import StreamTask

app = StreamTask("fleet")


@app.task(name="modules")
async def modules() -> list[str]:
    return sorted(sys.modules)
"""
#: Imports what its first line says, and stays.
BARE = """if True:
    import contextlib, importlib, sys
    for name in sys.stdin.readline().split():
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    print("ready", flush=True)
    sys.stdin.read()
"""
SCRIPTS = {script.sha: script.name for script in ALL}
#: The limits: commands a second, share of a CPU, bytes beyond a bare process with the same imports.
COMMANDS, CPU, RSS = 2.0, 0.01, 8 * 2**20


def name_of(command: str) -> str:
    """A command's name, or its script's, from a line of MONITOR."""
    name, *args = command.split()
    return SCRIPTS.get(args[0], name) if name == "EVALSHA" else name


def watch(fleet: Fleet, seconds: float) -> Counter[str]:
    """The commands that the server gets within so many seconds, by name.

    Those inside scripts are left out: CLIENT LIST's tot-cmds counts them too, so it cannot tell.
    """
    seen: Counter[str] = Counter()
    with fleet.client.monitor() as monitor:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if monitor.connection.can_read(timeout=0.1):
                command = monitor.next_command()
                if command["client_type"] != "lua":
                    seen[name_of(command["command"])] += 1
    return seen


def rss_of_bare(modules: list[str]) -> int:
    """Bytes of a process that has imported the same and does nothing."""
    with subprocess.Popen(
        [sys.executable, "-c", BARE], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as bare:
        assert bare.stdin is not None
        assert bare.stdout is not None
        bare.stdin.write(" ".join(modules) + "\n")
        bare.stdin.flush()
        assert bare.stdout.readline() == "ready\n"
        used = int(psutil.Process(bare.pid).memory_info().rss)
        bare.stdin.close()
    return used


@pytest.mark.parametrize("seconds", [5.0, pytest.param(30.0, marks=pytest.mark.long)])
def test_an_idle_worker_costs_next_to_nothing(fleet: Fleet, seconds: float) -> None:
    worker = fleet.worker(path=fleet.write("idle", APP), lease=15.0).ready()
    modules = fleet.send("modules").get(20)
    process = psutil.Process(worker.pid)
    eventually(lambda: fleet.left() == 0)
    used, began = sum(process.cpu_times()[:2]), time.monotonic()
    seen = watch(fleet, seconds)
    took = time.monotonic() - began
    used = (sum(process.cpu_times()[:2]) - used) / took
    per_second = seen.total() / took
    beyond = process.memory_info().rss - rss_of_bare(modules)
    by_name = {name: round(count / took, 2) for name, count in seen.items()}
    print(f"\n{fleet.server.name}: {per_second:.2f} commands a second {by_name}")
    print(f"{fleet.server.name}: {used:.2%} CPU over {took:.0f} s, {beyond / 2**20:+.1f} MiB beyond a bare process")
    assert per_second <= COMMANDS + 2 / took  # where it was started in between counts for a short watch
    assert used <= CPU
    assert beyond <= RSS
    assert worker.stop() == 0
