"""The heartbeat of a worker or beat, in a file of its own, so that `streamtask check` can see that it lives.

The file is written by the process's event loop, so a loop that stands still is seen. Its writer holds a lock on it:
the kernel frees a lock with its holder, also after kill -9, so a file that was left behind is never taken for a life,
whoever has its process id now.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streamtask import runtime

if sys.platform != "win32":  # there a file that was left behind is seen by its age only
    import fcntl

#: The variable that names another folder for these files.
FOLDER = "STREAMTASK_HEARTBEAT_DIR"
#: Seconds between two beats in a file.
PERIOD = 2.0


@dataclass(frozen=True, slots=True)
class Worn:
    """Why a process wants to be replaced (`max_tasks` or `max_rss`), the tasks that it had ended by then, and the bytes
    of memory that it held. One that is `spent` has reached its ceiling, and had better take nothing more.
    """

    reason: str
    tasks: int
    rss: int
    spent: bool


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How a process was when it wrote this. `beat` and `answered` are times of the monotonic clock, which all
    processes of a host share: its loop's last turn, and the last good answer of Redis.

    A parent of workers (`processes` > 0) does no work itself: it is as its `children` are.
    """

    kind: str
    consumer: str
    app: str | None
    pid: int
    beat: float
    answered: float | None = None
    ready_since: str | None = None
    draining: bool = False
    worn: Worn | None = None
    processes: int = 0
    children: tuple[Heartbeat, ...] = ()

    def dump(self) -> bytes:
        """As one line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"


def parse(line: bytes) -> Heartbeat:
    """The heartbeat that `dump` made; ValueError, TypeError or KeyError for anything else."""
    return _of(json.loads(line))


def _of(facts: dict[str, Any]) -> Heartbeat:
    children = tuple(_of(child) for child in facts.pop("children"))
    worn = facts.pop("worn")
    return Heartbeat(**facts, worn=worn and Worn(**worn), children=children)


def why_not_live(heartbeat: Heartbeat, now: float, max_age: float) -> str | None:
    """Why this process had better be restarted; None when it lives. Redis is not looked at: a restart mends no Redis.

    `now` is monotonic, `max_age` in seconds. Of a parent, processes that are just being started are no fault: it sees
    to them.
    """
    age = now - heartbeat.beat
    if age > max_age:
        return f"{heartbeat.consumer}: its event loop has stood still for {age:.0f} s"
    return next((why for child in heartbeat.children if (why := why_not_live(child, now, max_age))), None)


def why_not_ready(heartbeat: Heartbeat, now: float, max_age: float) -> str | None:
    """Why this process takes no messages; None when it does."""
    why = why_not_live(heartbeat, now, max_age)
    if why is not None:
        return why
    if heartbeat.draining:
        return f"{heartbeat.consumer} is stopping"
    if heartbeat.processes:
        running = len(heartbeat.children)
        if running < heartbeat.processes:
            return f"{heartbeat.consumer}: {running} of {heartbeat.processes} processes run"
        return next((why for child in heartbeat.children if (why := why_not_ready(child, now, max_age))), None)
    if heartbeat.ready_since is None:
        return f"{heartbeat.consumer} is starting"
    if heartbeat.answered is None or now - heartbeat.answered > max_age:
        for_so_long = "" if heartbeat.answered is None else f" for {now - heartbeat.answered:.0f} s"
        return f"{heartbeat.consumer}: Redis has not answered{for_so_long}"
    return None


def folder() -> Path:
    """Where the files are; made where it is missing. Raises ConfigError or OSError when it cannot be used."""
    chosen = os.environ.get(FOLDER)
    found = Path(chosen) if chosen else runtime.folder() / "heartbeats"
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    return found


class HeartbeatFile:
    """One process's file. Methods raise OSError, or ConfigError when the folder is not ours."""

    def __init__(self, consumer: str) -> None:
        self._name = re.sub(r"[^\w.-]", "-", consumer)
        self._path: Path | None = None
        self._held = -1

    def write(self, heartbeat: Heartbeat) -> None:
        """Put the heartbeat in place of the one before: whoever reads sees the one or the other, and a held lock."""
        if self._path is None:
            self._path = folder() / f"{self._name}.json"
        fresh = self._path.with_suffix(".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            if sys.platform != "win32":
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, heartbeat.dump())
            fresh.replace(self._path)
        except BaseException:
            os.close(fd)
            raise
        self._let_go()
        self._held = fd

    def remove(self) -> None:
        """The process ends in order: nothing is left behind."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._let_go()

    def _let_go(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


def living(where: Path) -> Iterator[Heartbeat]:
    """The heartbeats of the processes that run; files of those that have died are removed."""
    for path in sorted(where.glob("*.json")):
        heartbeat = _read(path)
        if heartbeat is not None:
            yield heartbeat


def _read(path: Path) -> Heartbeat | None:
    """The heartbeat of a file whose writer lives."""
    while True:
        try:
            with path.open("rb") as file:
                if _held(file.fileno()):
                    return parse(file.readline())
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    path.unlink()  # nobody holds it, and it is still the one: its writer has died
                    return None
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):  # written by another version of streamtask
            return None


def _held(fd: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
