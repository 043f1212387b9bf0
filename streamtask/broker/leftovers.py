"""What a worker process that has died left behind: its rows are given back, its name is forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from streamtask.broker import keys as names
from streamtask.broker.keys import QueueKeys, keys_named
from streamtask.broker.link import Arg, Link, ResponseError
from streamtask.broker.scripts import GC, RELEASE

#: Rows that are given back by one call.
ROWS = 200


class Leftovers:
    """Of the process life called `consumer`, which is surely over. Safe to repeat; raises redis-py's errors."""

    def __init__(self, url: str, namespace: str, consumer: str, queues: Sequence[str]) -> None:
        self._link = Link(url, name="streamtask-supervisor")
        self._consumer = consumer
        self._queues = [keys for name in queues for keys in keys_named(namespace, name)]
        self._presence = names.worker(namespace, consumer)

    async def give_back(self) -> int:
        """Give back all that it held, and forget it; how many that were."""
        total = 0
        for keys in self._queues:
            try:
                total += await self._of(keys)
                await self._link.run(GC, [keys.stream], (keys.group, self._consumer))
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
        await self._link.call("DEL", self._presence)
        return total

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()

    async def _of(self, keys: QueueKeys) -> int:
        """One queue's rows.

        Nobody knows which of them had started, so each counts as started: its delivery count stays, and a poison is
        still counted. Their marks stay, too: this was no graceful end, and a mark is the evidence for the next start.
        """
        total = 0
        while True:
            rows = await self._link.call("XPENDING", keys.stream, keys.group, "-", "+", ROWS, self._consumer)
            if not rows:
                return total
            items: list[Arg] = [arg for row in rows for arg in (row[0], row[3], "1", "", "0")]
            given: int = await self._link.run(
                RELEASE, [keys.stream, keys.suspects], (keys.group, self._consumer, 0, *items)
            )
            total += given
            if not given:  # another worker took them in between: their lease was over
                return total
