"""`check live|ready`: what a container's probe asks, of real workers and beats."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from streamtask.heartbeat import FOLDER
from tests.cli.kit import Running, Shell, invoke, ok_json
from tests.cli.test_command_line import loaded_by
from tests.cli.test_worker import send
from tests.servers import Server, StartServer
from tests.support import alive, eventually

#: Nothing here depends on the server.
one_server = pytest.mark.parametrize("server_name", ["valkey-8.1"])


class Probed(Shell):
    """A shell whose processes have their heartbeats in a folder of their own."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.beats = folder / "beats"
        self.environment[FOLDER] = str(self.beats)

    def check(self, what: str, *args: str) -> tuple[int, str]:
        """Exit code, and what it said."""
        result = invoke("", "check", what, *args, **{FOLDER: str(self.beats)})
        return result.exit_code, result.output.strip()

    def says(self, code: int, text: str, what: str, *args: str) -> bool:
        """Whether a check comes to this."""
        got, said = self.check(what, *args)
        return got == code and text in said

    def worker(self, *args: str, processes: int = 1) -> Running:
        """A worker that is ready."""
        running = self.start("worker", "tasks", *args)
        eventually(lambda: running.text.count("ready in") == processes, 30)
        return running


@pytest.fixture
def probed(tmp_path: Path, url: str) -> Iterator[Probed]:
    """A folder on the server."""
    shell = Probed(tmp_path, url)
    yield shell
    shell.close()


@one_server
def test_nobody_is_neither_live_nor_ready(probed: Probed) -> None:
    for what in ("live", "ready"):
        assert probed.check(what) == (6, f"streamtask: no worker or beat runs here (no heartbeat in {probed.beats})")
    assert probed.check("alive")[0] == 2


@one_server
def test_a_worker_is_live_and_ready_until_it_stops(probed: Probed) -> None:
    worker = probed.worker()
    eventually(lambda: probed.says(0, "ready: ", "ready"))
    assert probed.says(0, "live: ", "live")
    done = probed.run("check", "ready")  # as a probe runs it
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"ready: \S+:{worker.process.pid}/[0-9a-f]{{4}}\n", done.stdout)
    id = send(probed, "nap", seconds=3600)
    eventually(lambda: ok_json(probed.url, "show", id)["message"]["status"] == "running")
    worker.signal(signal.SIGTERM)
    eventually(lambda: probed.says(6, "is stopping", "ready"))
    assert probed.says(0, "live: ", "live")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 130
    assert list(probed.beats.iterdir()) == []


@one_server
def test_a_loop_that_stands_still_is_not_live(probed: Probed) -> None:
    worker = probed.worker()
    worker.signal(signal.SIGSTOP)
    eventually(lambda: probed.says(6, "its event loop has stood still for", "live", "--max-age", "1s"))
    assert probed.says(6, "stood still", "ready", "--max-age", "1s")
    worker.signal(signal.SIGCONT)
    eventually(lambda: probed.says(0, "live", "live", "--max-age", "10s"))


def test_a_redis_that_is_away_makes_it_not_ready_and_leaves_it_live(tmp_path: Path, own_server: StartServer) -> None:
    server: Server = own_server("valkey-8.1")
    probed = Probed(tmp_path, server.url)
    try:
        for kind in ("worker", "beat"):
            probed.start(kind, "tasks", *(["--lease", "3s"] if kind == "worker" else [])).wait_for("ready in")
        eventually(lambda: probed.says(0, "ready: ", "ready", "--max-age", "10s"))
        server.kill9()
        eventually(lambda: probed.says(6, "Redis has not answered for", "ready", "--max-age", "2s"), 30)
        eventually(lambda: probed.check("ready", "--max-age", "2s")[1].count("Redis has not answered") == 2, 30)
        assert probed.says(0, "live: ", "live")
        server.start()
        eventually(lambda: probed.says(0, "ready: ", "ready", "--max-age", "10s"), 30)
    finally:
        probed.close()


@one_server
def test_the_file_of_a_killed_worker_is_not_believed(probed: Probed) -> None:
    first = probed.worker("--name", "first")
    eventually(lambda: probed.says(0, "first:", "live"))
    first.signal(signal.SIGKILL)
    first.end()
    assert len(list(probed.beats.iterdir())) == 1
    probed.worker("--name", "second")
    eventually(lambda: probed.says(0, "second:", "ready"))
    assert "first" not in probed.check("live")[1]
    assert ["second" in path.name for path in probed.beats.glob("*.json")] == [True]


@one_server
def test_one_of_several_is_chosen_by_its_name_or_pid(probed: Probed) -> None:
    frozen, well = (probed.worker("--name", name) for name in ("frozen", "well"))
    whole = probed.check("live", "--worker", "well")[1].removeprefix("live: ")
    frozen.signal(signal.SIGSTOP)
    eventually(lambda: probed.says(6, "frozen:", "live", "--max-age", "2s"))
    for name in ("well", str(well.process.pid), whole):
        assert probed.check("live", "--worker", name) == (0, f"live: {whole}")
    assert probed.says(6, "frozen:", "live", "--worker", "frozen", "--max-age", "2s")
    assert probed.says(6, "no worker or beat called 'other' runs here", "live", "--worker", "other")
    frozen.signal(signal.SIGCONT)


@one_server
def test_of_several_processes_each_must_be_well(probed: Probed) -> None:
    parent = probed.worker("--processes", "2", "--stall-limit", "1h", processes=2)
    eventually(lambda: probed.says(0, f":{parent.process.pid}/", "ready"))
    assert len(list(probed.beats.iterdir())) == 1
    pids = [child.pid for child in psutil.Process(parent.process.pid).children() if alive(child.pid)]
    os.kill(pids[0], signal.SIGSTOP)
    eventually(lambda: probed.says(6, f":{pids[0]}/", "live", "--max-age", "2s"))
    assert probed.says(0, f":{pids[1]}/", "live", "--worker", str(pids[1]), "--max-age", "10s")
    os.kill(pids[0], signal.SIGCONT)
    eventually(lambda: probed.says(0, "ready", "ready", "--max-age", "10s"))
    parent.signal(signal.SIGTERM)
    assert parent.end() == 0
    assert list(probed.beats.iterdir()) == []


@one_server
def test_a_worker_works_on_where_no_heartbeat_can_be_written(probed: Probed) -> None:
    probed.beats.write_text("this is no folder")
    worker = probed.worker()
    worker.wait_for("no heartbeat can be written, `streamtask check` will say no")
    assert probed.says(6, "cannot read heartbeat files", "live")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 0
    assert worker.text.count("no heartbeat can be written") == 1


def test_it_loads_no_client_and_no_loop() -> None:
    """A probe runs every few seconds: `python -X importtime -m streamtask check live`."""
    modules = loaded_by("check", "live")
    assert "streamtask.heartbeat" in modules
    assert not modules & {"redis", "asyncio", "uvloop", "croniter", "pydantic_settings", "streamtask.worker"}
    assert not any(name.startswith(("streamtask.broker", "streamtask.supervisor")) for name in modules)
