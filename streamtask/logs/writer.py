"""Writes lines of log in batches, from a thread of its own: a slow terminal or a full pipe holds up nobody else."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO

#: Lines that may wait for a slow output; what is beyond is counted, not kept.
WAITING_LINES = 20_000
#: Bytes of one write at most, if a line is not longer: so many arrive in one piece (POSIX: PIPE_BUF), so that the lines
#: of processes that share a pipe do not mix.
PIECE = 4096
#: Seconds: how long lines gather before a write, between two looks for a late line, and at most at the end.
GATHER, LOOK, LAST_LINES = 0.02, 1.0, 2.0


class LogWriter:
    """Takes lines from any thread and never blocks. Subclasses may add a line once things are quiet: `late_line`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._wake, self._closed, self._broken = threading.Event(), False, False
        self._thread = threading.Thread(target=self._run, name="streamtask-log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Write a line soon; its end-of-line is added."""
        if len(self._lines) >= WAITING_LINES or self._broken:
            self._dropped += 1
            return
        self._lines.append(line)
        if self._closed and not self._thread.is_alive():  # what is logged while the process ends
            self._flush()
        elif not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Write what is there; gives up after LAST_LINES seconds on an output that takes nothing."""
        self._closed = True
        self._wake.set()
        self._thread.join(LAST_LINES)

    def late_line(self) -> str | None:
        """A line to write although nobody wrote one; asked for about every LOOK seconds, by the thread."""
        return None

    def _run(self) -> None:
        while not self._closed:
            if self._wake.wait(LOOK):
                threading.Event().wait(GATHER)  # one write serves all that comes along
            self._wake.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        late = self.late_line()
        if late is not None:
            self._lines.append(late)
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._lines.append(f"… {dropped:,} lines were not written: the output of the log is too slow")
        batch = []
        while self._lines:
            batch.append(self._lines.popleft())
        if not batch or self._broken:
            return
        try:
            for piece in pieces(batch):
                self._stream.write(piece)
                self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more, or the stream is closed; the work goes on
            self._broken = True


def pieces(lines: Iterable[str]) -> Iterator[bytes]:
    """The lines as bytes to write, as many together as fit."""
    piece = bytearray()
    for line in lines:
        data = line.encode(errors="replace") + b"\n"
        if piece and len(piece) + len(data) > PIECE:
            yield bytes(piece)
            piece.clear()
        piece += data
    if piece:
        yield bytes(piece)
