"""Cuts a stream of the Redis protocol into whole values, without reading more of them than their lengths."""

from __future__ import annotations

#: First bytes of values that hold so many bytes, and of those that hold so many values.
SIZED, NESTED = b"$=!", b"*~>"


class Frames:
    """What has come of one direction of a connection."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._at = 0  # up to here it was looked at
        self._open: list[int] = []  # of each array that is not complete, the number of values that it still lacks

    def feed(self, data: bytes) -> list[bytes]:
        """Take more bytes; the values that are complete now, each with its envelope."""
        self._bytes += data
        whole: list[bytes] = []
        while self._step():
            if not self._open:
                whole.append(bytes(self._bytes[: self._at]))
                del self._bytes[: self._at]
                self._at = 0
        return whole

    def _step(self) -> bool:
        """Go past one line, with the bytes that belong to it; False when they are not all there."""
        end = self._bytes.find(b"\r\n", self._at)
        if end < 0:
            return False
        kind, past = self._bytes[self._at], end + 2
        size = int(self._bytes[self._at + 1 : end]) if kind in SIZED + NESTED else 0
        if kind in SIZED and size >= 0:
            past += size + 2
            if len(self._bytes) < past:
                return False
        self._at = past
        if kind in NESTED and size > 0:
            self._open.append(size)
            return True
        while self._open:
            self._open[-1] -= 1
            if self._open[-1]:
                break
            self._open.pop()
        return True


def words(command: bytes, count: int) -> list[bytes]:
    """The first words of a command, which is an array of sized values."""
    found: list[bytes] = []
    at = command.find(b"\r\n") + 2
    while len(found) < count and at < len(command):
        end = command.find(b"\r\n", at)
        size = int(command[at + 1 : end])
        found.append(command[end + 2 : end + 2 + size])
        at = end + size + 4
    return found
