"""`import streamtask` is light: who only declares or sends tasks pays for no worker, no client, no parser."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import streamtask

ROOT = Path(__file__).resolve().parents[2]
#: Loaded by who sends, serves or names a Cron, and by nobody else.
HEAVY = {"redis", "hiredis", "click", "uvloop", "croniter", "pydantic_settings", "watchfiles"}
#: Cheap alone, but together they were a third of the import.
LATER = {"asyncio", "email", "hashlib", "importlib.metadata", "logging", "zipfile"}
DECLARE = """
from datetime import date
from streamtask import Every, RetryPolicy, StreamTask, Unique
app = StreamTask("shop")
@app.schedule(Every(minutes=5))
@app.task(name="remind", queue="mail", max_retries=5, unique=Unique(by=("user",)), retry=RetryPolicy(base=1))
async def remind(user: int = 0, day: date | None = None) -> list[str]: ...
"""


def modules(code: str) -> set[str]:
    """What a fresh interpreter has loaded after the code ran, beside what it has anyway."""
    program = f"import json, sys\nbare = set(sys.modules)\n{code}\nprint(json.dumps(sorted(set(sys.modules) - bare)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_import_loads_nothing_heavy() -> None:
    loaded = modules("import streamtask")
    assert loaded & HEAVY == set()
    assert loaded & LATER == set()
    ours = {name for name in loaded if name.startswith("streamtask.")}
    assert not any(name.startswith(("streamtask.broker", "streamtask.worker", "streamtask.cli")) for name in ours)
    assert not ours & {"streamtask.beat", "streamtask.settings", "streamtask.cron", "streamtask.policy"}


def test_declaring_tasks_and_schedules_loads_nothing_heavy_either() -> None:
    loaded = modules(DECLARE)
    assert loaded & HEAVY == set()
    assert not any(name.startswith(("streamtask.broker", "streamtask.worker", "streamtask.cli")) for name in loaded)


def test_who_names_cron_gets_it() -> None:
    assert {"streamtask.cron", "croniter"} <= modules("from streamtask import Cron")
    with pytest.raises(AttributeError, match="has no attribute 'Corn'"):
        _ = streamtask.Corn  # type: ignore[attr-defined]


def test_who_sends_loads_the_client_but_no_worker() -> None:
    code = DECLARE + "app.post.sender"
    loaded = modules(code)
    assert "redis" in loaded
    assert not any(name.startswith(("streamtask.worker", "streamtask.cli", "click", "uvloop")) for name in loaded)


def test_every_public_name_is_sorted_and_can_be_imported() -> None:
    assert streamtask.__all__ == sorted(set(streamtask.__all__))
    names: dict[str, object] = {}
    exec("from streamtask import *", names)
    assert set(streamtask.__all__) <= set(names)
    assert all(names[name] is getattr(streamtask, name) for name in streamtask.__all__)


def test_a_public_name_says_what_it_is() -> None:
    for name in streamtask.__all__:
        thing = getattr(streamtask, name)
        assert thing.__module__.startswith("streamtask"), name
        assert thing.__doc__, name


def test_the_time_of_the_import_is_shown() -> None:
    """Printed for who looks (pytest -s): on a busy machine a number proves nothing. The budget is 120 ms."""

    def run(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
        return (time.perf_counter() - start) * 1000

    bare, full = (min(run(code) for _ in range(5)) for code in ("pass", "import streamtask"))
    print(f"import streamtask: {full - bare:.0f} ms beside a bare interpreter's {bare:.0f} ms, best of five")
    assert full > bare
