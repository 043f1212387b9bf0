"""The demo and the migration as a stranger runs them: exit code, what is said, what is left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.test_demo import living
from tests.support import eventually

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "examples.alt.demo"]
#: Settings of the user's own that must not reach the demo.
NOISE = {"STREAMTASK_URL": "redis://127.0.0.1:1", "MQHUB_ENABLED": "nonsense", "ALT_DATABASE": "/nowhere"}


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "FEED": "", **NOISE, **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def folders(name: str, pid: int | str = "*") -> list[Path]:
    return sorted((ROOT / ".streamtask" / name).glob(f"*-{pid}"))


@pytest.mark.long
def test_the_demo_adds_up() -> None:
    done = run("examples.alt.demo", ALT_DEMO_ARTICLES="100")
    output = done.stdout
    assert done.returncode == 0, output + done.stderr
    assert "each paragraph as an article of its own: 160" in output
    assert re.search(r"kill -9 \d+ \(pre_processor\): it held [1-9]\d* events", output)
    assert re.search(r"answered in \d+ ms while \d+ articles waited to be tagged", output), output
    assert "a fourth group joins late: archive-group" in output
    assert "It adds up: 160 articles" in output
    assert "0 pieces of work were written twice" in output
    found = re.search(r"^database\s+(\S+)/alt\.sqlite3$", output, re.MULTILINE)
    assert found, output
    folder = ROOT / found[1]
    eventually(lambda: not living(folder), timeout=15)
    # The command that is printed shows the dead letters, though the demo's Redis has ended.
    command = re.search(r"^dead letters\s+(STREAMTASK_URL=.*)$", output, re.MULTILINE)
    assert command, output
    shown = subprocess.run(command[1], shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "TooLong" in shown.stdout, shown.stderr
    eventually(lambda: not living(folder), timeout=15)
    shutil.rmtree(folder)


@pytest.mark.long
def test_the_migration_holds_in_each_phase() -> None:
    before = set(folders("migrate-alt"))
    done = run("examples.alt.migrate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("no write twice") == 5
    assert "the services start; 12 events wait for them" in done.stdout
    assert "writes: 18 by direct calls, 18 by events" in done.stdout
    assert "writes: 0 by direct calls, 36 by events" in done.stdout
    (folder,) = set(folders("migrate-alt")) - before
    eventually(lambda: not living(folder), timeout=15)
    shutil.rmtree(folder)


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stopped_demo_leaves_no_process_behind(number: signal.Signals, code: int) -> None:
    demo = subprocess.Popen(
        DEMO, cwd=ROOT, env={**os.environ, **NOISE, "FEED": ""}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert demo.stdout
        for line in demo.stdout:
            if re.match(r" +[1-9]\d* of", line):
                break
        (folder,) = folders("demo-alt", demo.pid)
        assert len(living(folder)) >= 5  # Redis and its keeper, the hub, three services
        demo.send_signal(number)
        demo.communicate(timeout=30)
    finally:
        demo.kill()
        demo.communicate()
    assert demo.returncode == code
    eventually(lambda: not living(folder), timeout=15)
    shutil.rmtree(folder)


def test_a_feed_that_is_none_is_an_error_at_once(tmp_path: Path) -> None:
    done = run("examples.alt.demo", FEED=str(tmp_path / "none.rss"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("demo: there is no file or folder")


def test_an_unknown_phase_is_an_error_at_once() -> None:
    done = run("examples.alt.migrate", "6")
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage:" in done.stderr
