"""What the measured tasks do, the same for every framework. Imported by workers and producers only."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import time
from pathlib import Path

from benchmarks.ledger import PATH, Ledger

LEDGER = Ledger(Path(os.environ[PATH]))
#: Seconds that a sleeping task sleeps.
NAP = 0.01
#: What is sent along with each message of the kind `payload`.
BODY = "x" * int(os.environ.get("BENCHMARK_PAYLOAD", "0"))
#: How many queues the kind `spread` is spread over.
QUEUES = int(os.environ.get("BENCHMARK_QUEUES", "1"))
ran, delays = LEDGER.ran, LEDGER.delays


async def noop(n: int) -> None:
    """Nothing, and count it."""
    ran[n] += 1


async def payload(n: int, body: str) -> None:  # noqa: ARG001 - it is there to be read
    """Nothing, with much to read."""
    ran[n] += 1


def noop_sync(n: int) -> None:
    """Nothing, in a thread, and count it."""
    ran[n] += 1


async def sleep(n: int) -> None:
    """Wait on the event loop."""
    await asyncio.sleep(NAP)
    ran[n] += 1


def sleep_sync(n: int) -> None:
    """Wait in a thread."""
    time.sleep(NAP)
    ran[n] += 1


async def stamp(n: int, sent: int) -> None:
    """Note how long ago it was sent; `sent` in ns of this machine's monotonic clock."""
    delays[n] = time.monotonic_ns() - sent
    ran[n] += 1


def stamp_sync(n: int, sent: int) -> None:
    """As `stamp`, for a framework whose tasks are plain functions."""
    delays[n] = time.monotonic_ns() - sent
    ran[n] += 1


async def echo(n: int) -> int:
    """Give it back."""
    ran[n] += 1
    return n


def echo_sync(n: int) -> int:
    """As `echo`, for a framework whose tasks are plain functions."""
    ran[n] += 1
    return n


def _tell_modules(path: Path) -> None:
    path.write_text("\n".join(name for name, module in sys.modules.items() if getattr(module, "__spec__", None)))


if "BENCHMARK_MODULES" in os.environ:
    atexit.register(_tell_modules, Path(os.environ["BENCHMARK_MODULES"]))
