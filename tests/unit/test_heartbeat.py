"""Heartbeats: what they say of a process, and which files are believed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from streamtask import heartbeat
from streamtask.errors import ConfigError
from streamtask.heartbeat import Heartbeat, HeartbeatFile, living, parse, why_not_live, why_not_ready
from streamtask.runtime import folder as runtime_folder

NOW = 1000.0
GOOD = Heartbeat("worker", "web:7/ab", "shop", 7, beat=NOW - 2, answered=NOW - 5, ready_since="2026-11-25T00:00:00Z")
PARENT = replace(GOOD, consumer="web:6/00", pid=6, answered=None, processes=2, children=(GOOD, GOOD))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(heartbeat.FOLDER, str(tmp_path / "beats"))
    return tmp_path / "beats"


@pytest.mark.parametrize(
    ("changed", "live", "ready"),
    [
        ({}, None, None),
        ({"beat": NOW - 31}, "stood still for 31 s", "stood still for 31 s"),
        ({"answered": NOW - 31}, None, "Redis has not answered for 31 s"),
        ({"answered": None}, None, "Redis has not answered"),
        ({"ready_since": None, "answered": None}, None, "is starting"),
        ({"draining": True}, None, "is stopping"),
    ],
)
def test_live_does_not_ask_for_redis_and_ready_does(changed: dict[str, object], live: str, ready: str) -> None:
    one = replace(GOOD, **changed)  # type: ignore[arg-type]
    for why, text in ((why_not_live(one, NOW, 30), live), (why_not_ready(one, NOW, 30), ready)):
        assert (why is None) if text is None else text in (why or ""), why


@pytest.mark.parametrize(
    ("changed", "live", "ready"),
    [
        ({}, None, None),
        ({"beat": NOW - 31}, "web:6/00: its event loop", "web:6/00: its event loop"),
        ({"children": (GOOD,)}, None, "1 of 2 processes run"),
        ({"children": (GOOD, replace(GOOD, beat=NOW - 40))}, "stood still for 40 s", "stood still for 40 s"),
        ({"children": (GOOD, replace(GOOD, ready_since=None))}, None, "web:7/ab is starting"),
        ({"draining": True}, None, "web:6/00 is stopping"),
    ],
)
def test_a_parent_is_as_its_children_are(changed: dict[str, object], live: str, ready: str) -> None:
    one = replace(PARENT, **changed)  # type: ignore[arg-type]
    for why, text in ((why_not_live(one, NOW, 30), live), (why_not_ready(one, NOW, 30), ready)):
        assert (why is None) if text is None else text in (why or ""), why


def test_what_is_written_is_read(folder: Path) -> None:
    assert parse(PARENT.dump()) == PARENT
    file = HeartbeatFile("web/a b:7/ab")
    for beat in (1.0, 2.0, 3.0):
        file.write(replace(PARENT, beat=beat))
        assert [found.beat for found in living(folder)] == [beat]
    assert [path.name for path in folder.iterdir()] == ["web-a-b-7-ab.json"]
    assert folder.stat().st_mode & 0o077 == 0
    file.remove()
    file.remove()
    assert list(living(folder)) == list(folder.iterdir()) == []


def test_a_file_whose_writer_has_died_is_removed_although_its_pid_lives(folder: Path) -> None:
    """In containers a process id comes again with the next start, so it says nothing."""
    folder.mkdir()
    (folder / "web-1-ab.json").write_bytes(replace(GOOD, pid=os.getpid()).dump())
    mine = HeartbeatFile("web:2/cd")
    mine.write(GOOD)
    assert list(living(folder)) == [GOOD]
    assert [path.name for path in folder.iterdir()] == ["web-2-cd.json"]
    mine.remove()


def test_a_file_is_never_taken_for_a_dead_ones_while_it_is_written_anew(folder: Path) -> None:
    """One process writes all the time, another reads all the time."""
    code = (
        "import sys; from streamtask.heartbeat import *; file = HeartbeatFile('w'); print(flush=True)\n"
        "while True: file.write(Heartbeat('worker', 'w', 'shop', 1, 0.0))"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as writer:
        try:
            assert writer.stdout is not None
            writer.stdout.readline()
            while not list(folder.glob("*.json")):
                assert writer.poll() is None
            assert all(len(list(living(folder))) == 1 for _ in range(2000))
        finally:
            writer.kill()
    assert list(living(folder)) == []


def test_what_another_version_wrote_is_passed_over(folder: Path) -> None:
    file = HeartbeatFile("w")
    file.write(GOOD)
    (folder / "w.json").write_text('{"other": 1}\n')
    assert list(living(folder)) == []
    assert (folder / "w.json").exists()
    file.remove()


def test_the_default_folder_is_this_users_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(heartbeat.FOLDER, raising=False)
    assert heartbeat.folder() == runtime_folder() / "heartbeats"
    assert runtime_folder().stat().st_mode & 0o077 == 0
    monkeypatch.setattr(os, "getuid", lambda: 424242)  # /tmp/streamtask-424242 is made by us, who are another
    try:
        with pytest.raises(ConfigError, match="a folder of yours"):
            heartbeat.folder()
    finally:
        Path("/tmp/streamtask-424242").rmdir()
