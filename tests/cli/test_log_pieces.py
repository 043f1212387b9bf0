"""Processes that share a pipe for their log: lines do not mix."""

from __future__ import annotations

import io
import os
import threading

import pytest

from streamtask.logs import LogReporter
from streamtask.logs.writer import PIECE, LogWriter, pieces


@pytest.mark.parametrize("sizes", [[], [10], [4095], [4096], [2000, 2000, 2000], [10, 9000, 10], [1] * 3000])
def test_pieces_are_whole_lines_and_short_where_the_lines_are(sizes: list[int]) -> None:
    lines = ["x" * size for size in sizes]
    found = list(pieces(lines))
    assert b"".join(found).decode().splitlines() == lines
    assert all(piece.endswith(b"\n") for piece in found)
    assert all(len(piece) <= PIECE or piece.count(b"\n") == 1 for piece in found)
    assert len(found) <= len(lines)


def test_lines_of_two_writers_on_one_pipe_stay_whole() -> None:
    reading, writing = os.pipe()
    got: list[bytes] = []

    def read() -> None:
        with os.fdopen(reading, "rb") as stream:
            got.extend(stream)

    reader = threading.Thread(target=read)
    reader.start()
    writers = [LogWriter(os.fdopen(os.dup(writing), "wb")) for _ in range(2)]
    os.close(writing)
    for n in range(3000):
        for name, writer in zip("ab", writers, strict=True):
            writer.write(f"{name * 100}{n}")
    for writer in writers:
        writer.close()
        writer._stream.close()
    reader.join(10)
    for name in "ab":
        assert [line for line in got if line.startswith(name.encode())] == [
            f"{name * 100}{n}\n".encode() for n in range(3000)
        ]
    assert len(got) == 6000


def test_a_line_of_text_says_which_process_wrote_it() -> None:
    stream = io.BytesIO()
    report = LogReporter(stream)
    report.tag = "4711/6f2c"
    report.event("worker.ready", 20, "ready in 5 ms")
    report.close()
    assert stream.getvalue().decode()[13:] == "4711/6f2c  ready in 5 ms\n"
