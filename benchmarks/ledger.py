"""What ran: how often each number, and how long after it was sent. One file that all processes of a run share.

A task's whole work is one addition in it, so counting costs 0.07 µs, and the same for every framework. It is mapped,
so that it also counts in the children of a worker that forks, and can be read while they work.
"""

from __future__ import annotations

import mmap
from pathlib import Path

#: The environment variable that names the file.
PATH = "BENCHMARK_LEDGER"
#: Numbers are 0 .. SIZE - 1; those below DELAYS may have a delay.
SIZE, DELAYS = 1_000_000, 50_000


class Ledger:
    """The file, open in this process."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(SIZE + 8 * DELAYS))
        with path.open("r+b") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0))
        #: How often each number has run.
        self.ran = whole[:SIZE]
        #: Nanoseconds from just before the send to the start of the task.
        self.delays = whole[SIZE:].cast("q")

    def clear(self) -> None:
        """Nothing ran."""
        self.ran[:] = bytes(SIZE)
        self.delays[:] = memoryview(bytes(8 * DELAYS)).cast("q")

    def count(self, total: int) -> int:
        """How many of the first `total` numbers ran."""
        return total - bytes(self.ran[:total]).count(0)

    def twice(self, total: int) -> int:
        """Runs beyond the first of each number, and runs of numbers that nobody sent."""
        return sum(bytes(self.ran)) - self.count(total)
