"""What the tests of child processes share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamtask.child.origin import Origin
from streamtask.result import Result
from tests.worker.kit import Lab
from tests.worker.process_app import create_app

#: Seconds for what takes a new child, on a busy machine.
LONG = 30


def with_children(lab: Lab, url: str) -> Lab:
    """The lab, with the app whose tasks run in children."""
    lab.app = create_app()
    lab.app.post.relocate(url)
    lab.origin = Origin("tests.worker.process_app:create_app()", url=url)
    return lab


def notes(folder: str) -> list[str]:
    """What the tasks wrote, without the process ids."""
    return [line.rpartition(" ")[0] for line in _lines(folder)]


def pids(folder: str) -> list[int]:
    """The processes that wrote, a line each."""
    return [int(line.rpartition(" ")[2]) for line in _lines(folder)]


def _lines(folder: str) -> list[str]:
    file = Path(folder) / "notes"
    return file.read_text().splitlines() if file.exists() else []


def send(lab: Lab, task: str, **args: Any) -> Result[Any]:
    """Send one call."""
    return lab.app.send(task, args)
