"""An app whose tasks run in child processes; they write down what they do in a folder that they are told."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from streamtask import Retry, RetryPolicy, StreamTask, current
from streamtask.size import MIB

SOON = RetryPolicy(base=0.01, jitter="none")


@dataclass
class Day:
    day: date
    n: int


class NotNow(Exception):
    pass


def note(folder: str, text: str) -> None:
    """One line of what happened, and in which process."""
    with (Path(folder) / "notes").open("a") as notes:
        notes.write(f"{text} {os.getpid()}\n")


def wait(folder: str, gate: str) -> None:
    """Until a file is there."""
    while not (Path(folder) / gate).exists():
        time.sleep(0.01)


def next_day(day: Day) -> Day:
    return Day(day.day.replace(day=day.day.day + 1), day.n + 1)


def pid() -> int:
    return os.getpid()


def about(folder: str) -> dict[str, object]:
    context = current()
    send = after.delay(folder)
    return {
        "id": context.id,
        "attempt": context.attempt,
        "deliveries": context.deliveries,
        "worker": context.worker,
        "fence": context.fence,
        "headers": dict(context.headers),
        "seconds": (context.deadline - context.started_at).total_seconds() if context.deadline else None,
        "args": context.args,
        "after": send.id,
    }


def after_about(folder: str) -> str | None:
    return current().parent


def fail(text: str) -> None:
    raise ValueError(text)


def later(folder: str) -> str:
    note(folder, f"attempt {current().attempt}")
    if current().attempt == 1:
        raise Retry(0.01, reason="busy")
    if current().attempt == 2:
        raise NotNow
    return "third time lucky"


def gated(folder: str, name: str) -> str:
    note(folder, f"began {name}")
    wait(folder, "gate")
    note(folder, f"ended {name}")
    return name


def spin(folder: str) -> None:
    note(folder, "began")
    try:
        while True:
            pass
    finally:
        note(folder, f"cleaned up {current().cancelled}")


def stubborn(folder: str) -> None:
    """Starts a process, holds the interpreter lock in a call of C, and hears no signal."""
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note(folder, f"helper {helper.pid}")
    note(folder, "began")
    sum(range(10**13))


def deaf(folder: str) -> None:
    """Hears no signal, and has no timeout."""
    note(folder, "began")
    sum(range(10**13))


def hold(folder: str, seconds: float) -> str:
    """A call of C that keeps the interpreter lock."""
    note(folder, f"began {current().deliveries}")
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return "held"


def crash(folder: str, how: str, times: int) -> str:
    note(folder, f"began {current().deliveries}")
    if current().deliveries > times:
        return "survived"
    if how == "fork" and os.fork() == 0:
        time.sleep(600)  # and keeps what it inherited
    if how in ("exit", "fork"):
        os._exit(3)
    if how == "segv":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def eat(folder: str, who: str, mib: int, times: int = 1) -> str:
    """Hold so much memory, oneself or in a process that one starts, until the gate is there; at so many attempts."""
    note(folder, f"began {current().attempt}")
    if current().attempt > times:
        return "modest"
    if who == "self":
        block = b"x" * (mib * MIB)
    else:
        code = f"import time; block = b'x' * {mib * MIB}; time.sleep(600)"
        helper = subprocess.Popen([sys.executable, "-c", code], start_new_session=who == "stranger")
        note(folder, f"helper {helper.pid}")
    wait(folder, "gate")
    return f"{len(block) // MIB} MiB" if who == "self" else "full"


def eat_when_stopped(folder: str) -> None:
    note(folder, "began")
    try:
        wait(folder, "never")
    finally:
        block = b"x" * (512 * MIB)
        wait(folder, "never")
        note(folder, str(len(block)))


def pool(folder: str, mib: int) -> str:
    """Three forks that share a block of memory with this process, which counts once."""
    block = b"x" * (mib * MIB)
    forks = []
    for _ in range(3):
        forks.append(os.fork())
        if not forks[-1]:
            time.sleep(600)
    note(folder, "forked")
    wait(folder, "gate")
    for fork in forks:
        os.kill(fork, signal.SIGKILL)
        os.waitpid(fork, 0)
    return f"{len(block) // MIB} MiB"


kept: list[bytes] = []


def leak(folder: str, mib: int, gate: str = "") -> int:
    """Keep so much memory for ever."""
    kept.append(b"x" * (mib * MIB))
    note(folder, f"began {gate}")
    if gate:
        wait(folder, gate)
    return len(kept)


def talk() -> None:
    logging.getLogger("shop").error("sold out", exc_info=ValueError("no bread"))
    print("a word of the child's")


def unlucky(n: int) -> int:
    """A validator, and what a library may do in it."""
    if n == 13:
        os._exit(13)
    return n


def validated(n: Annotated[int, AfterValidator(unlucky)]) -> int:
    return n


def large(size: int) -> str:
    return "x" * size


def create_app() -> StreamTask:
    """The app, anew for each test and each child."""
    global after  # noqa: PLW0603 - `about` sends it
    app = StreamTask("lab", on_blocking_send="allow")
    for fn in (next_day, pid, gated, crash, talk, large, validated, deaf):
        app.task(process=True, name=fn.__name__)(fn)
    app.task(process=True, name="hold", max_deliveries=100)(hold)
    app.task(process=True, name="about", timeout=60)(about)
    after = app.task(process=True, name="after")(after_about)
    app.task(process=True, name="fail", max_retries=1, retry=SOON)(fail)
    app.task(process=True, name="later", retry=RetryPolicy(base=0.01, jitter="none", on=(NotNow,)))(later)
    for fn in (spin, stubborn):
        app.task(process=True, name=fn.__name__, timeout=0.3, max_retries=0)(fn)
    app.task(process=True, name="at_most_once", idempotent=False)(crash)
    app.task(process=True, name="gated_once", idempotent=False)(gated)
    app.task(process=True, name="eat", max_memory="256MiB", timeout=600, max_retries=1, retry=SOON)(eat)
    app.task(process=True, name="eat_freely")(eat)
    app.task(process=True, name="leak")(leak)
    app.task(process=True, name="eat_late", max_memory="256MiB", timeout=0.3, max_retries=0)(eat_when_stopped)
    app.task(process=True, name="pool", max_memory="256MiB")(pool)
    app.task(name="thread_add", queue="other")(_add)
    return app


def _add(x: int, y: int) -> int:
    return x + y


after = create_app().tasks["after"]
