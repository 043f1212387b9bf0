"""The demo as a stranger runs it: its exit code, its table, what it leaves behind and what it does not."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from examples.diary.db import Database
from examples.diary.demo.facts import gather
from examples.diary.load import BUNDLED
from tests.support import eventually

ROOT = Path(__file__).parents[2]
PEPYS = ROOT.parent / "shared" / "data" / "pepys-1660-1662.jsonl"
DEMO = [sys.executable, "-m", "examples.diary.demo"]


def environment(diary: Path | str = "") -> dict[str, str]:
    """As a shell would have it, with settings of the user's own that must not reach the demo."""
    noise = {
        "STREAMTASK_URL": "redis://127.0.0.1:1",
        "DIARY_DATABASE": "/nowhere",
        "SUMMARIZER_URL": "http://127.0.0.1:1",
    }
    return {**os.environ, **noise, "DIARY": str(diary)}


def run(diary: Path | str = "", timeout: float = 110) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        DEMO, cwd=ROOT, env=environment(diary), capture_output=True, text=True, timeout=timeout, check=False
    )


def row(output: str, name: str) -> int:
    """The number beside this name in the table."""
    found = re.search(rf"│ {name}\s+│\s+([\d,]+)", output)
    assert found, f"no row {name!r} in:\n{output}"
    return int(found[1].replace(",", ""))


def folder_of(output: str) -> Path:
    found = re.search(r"^database\s+(\S+)/diary\.sqlite3$", output, re.MULTILINE)
    assert found, output
    return ROOT / found[1]


def living(folder: Path) -> list[str]:
    """Processes that belong to this run: the folder stands in their environment, command line or working directory."""
    mark, found = os.fsencode(folder), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            told += os.fsencode((process / "cwd").readlink())
        except OSError:
            continue  # it has ended, or is not ours
        if mark in told and process.name != str(os.getpid()):
            found.append(f"{process.name} {(process / 'cmdline').read_bytes()!r}")
    return found


def writing(log: Path) -> int:
    """The process whose output goes to this log."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "fd" / "1").readlink() == log:
                return int(process.name)
    raise AssertionError(f"nobody writes {log}")


def check_counts(done: subprocess.CompletedProcess[str], entries: int, daily: int, monthly: int) -> None:
    """The table says so, and the database says the same."""
    output = done.stdout
    assert done.returncode == 0, output + done.stderr
    assert row(output, "entries") == entries
    assert (row(output, "daily summaries"), row(output, "monthly summaries")) == (daily, monthly)
    assert row(output, "dead letters") == 1
    assert row(output, "retries") >= 3
    assert row(output, "takeovers") >= 1
    assert row(output, "executed twice") == 0
    assert "0 fired twice" in output
    assert "kill -9" in output
    assert f"All {daily + monthly + 1} are settled" in output  # and the injected one, which always fails
    database = Database(folder_of(output) / "diary.sqlite3")
    with database.reading() as session:
        facts = gather(session)
    database.close()
    assert (facts.entries, facts.takeovers, facts.twice) == (entries, row(output, "takeovers"), 0)
    assert facts.interrupted >= 1
    eventually(lambda: not living(folder_of(output)), timeout=15)


def test_the_bundled_diaries_end_to_end() -> None:
    done = run()
    check_counts(done, entries=len(BUNDLED.read_bytes().splitlines()), daily=34, monthly=12)
    assert len(re.findall(r"^\w+, 2025-\d\d.*:$", done.stdout, re.MULTILINE)) == 3
    # The command that is printed shows the dead letter, though the demo's Redis has ended.
    command = re.search(r"^dead letters\s+(STREAMTASK_URL=.*)$", done.stdout, re.MULTILINE)
    assert command, done.stdout
    shown = subprocess.run(command[1], shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "InjectedFailure" in shown.stdout
    eventually(lambda: not living(folder_of(done.stdout)), timeout=15)
    shutil.rmtree(folder_of(done.stdout))


@pytest.mark.long
@pytest.mark.skipif(not PEPYS.exists(), reason=f"{PEPYS} is not here")
def test_three_years_of_pepys() -> None:
    done = run(PEPYS)
    check_counts(done, entries=1096, daily=607, monthly=36)
    shutil.rmtree(folder_of(done.stdout))


@pytest.fixture
def started() -> Iterator[subprocess.Popen[str]]:
    """A demo in full swing: it has printed its first progress."""
    demo = subprocess.Popen(
        DEMO,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield demo
    demo.kill()
    demo.communicate()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.long),
    ],
)
def test_a_stopped_demo_leaves_no_process_behind(
    started: subprocess.Popen[str], number: signal.Signals, code: int
) -> None:
    assert started.stdout
    for line in started.stdout:
        if re.match(r" +[1-9]\d* of", line):
            break
    folders = sorted((ROOT / ".streamtask" / "demo").glob(f"*-{started.pid}"))
    assert len(folders) == 1
    assert len(living(folders[0])) >= 4
    # A frozen process hears nothing but SIGKILL and SIGCONT, and the demo freezes its victim for a moment.
    os.kill(writing(folders[0] / "worker-2.log"), signal.SIGSTOP)
    started.send_signal(number)
    started.communicate(timeout=30)
    assert started.returncode == code
    eventually(lambda: not living(folders[0]), timeout=15)
    shutil.rmtree(folders[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("", "is empty"), ("{}", "line 1: user_id"), ("future", "asks for no summary")],
)
def test_a_file_that_gives_nothing_to_do_is_an_error_at_once(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "diaries.jsonl"
    if content == "future":
        content = '{"user_id": "a", "date": "2999-01-01", "content": "Flying cars."}'
    if content is not None:
        path.write_text(content)
    done = run(path, timeout=30)
    assert (done.returncode, done.stdout.count("kill -9")) == (1, 0)
    assert done.stderr.startswith("demo: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
