"""Redis time, as this process knows it: its own monotonic clock plus an offset that every RENEW and MOVE corrects."""

from __future__ import annotations

import time


class RedisClock:
    """The server's clock in ms; right to within a round trip once the server was asked."""

    def __init__(self) -> None:
        self._offset = time.time() * 1000 - time.monotonic() * 1000

    def saw(self, server_ms: int) -> None:
        """The server said that it is `server_ms` now."""
        self._offset = server_ms - time.monotonic() * 1000

    def now(self) -> int:
        """Milliseconds since the epoch, by the server's clock."""
        return int(time.monotonic() * 1000 + self._offset)

    def at(self, moment: float) -> int:
        """The same for a moment of the monotonic clock, in seconds."""
        return int(moment * 1000 + self._offset)
