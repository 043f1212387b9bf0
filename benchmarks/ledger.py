"""What ran in a measured process: how often each number, and how long after it was sent. Written as JSON at exit."""

from __future__ import annotations

import atexit
import json
import os
from pathlib import Path

#: The environment variable that names the file to write; unset in the process that measures.
PATH = "BENCHMARK_LEDGER"
#: Numbers are 0 .. SIZE - 1.
SIZE = 1_000_000

#: How often each number has run. A task's whole work is one addition here, in the bare loops too.
ran = bytearray(SIZE)
#: Nanoseconds from just before the send to the start of the task, in the order of starts.
delays: list[int] = []


def _write() -> None:
    counted = {"ran": len(ran) - ran.count(0), "twice": sum(ran) - (len(ran) - ran.count(0)), "delays": delays}
    Path(os.environ[PATH]).write_text(json.dumps(counted))


if PATH in os.environ:
    atexit.register(_write)
