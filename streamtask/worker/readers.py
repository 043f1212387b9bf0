"""All readers of one worker, one a consumer group: started, stopped, and told things together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from streamtask.worker.delivery import QueueState
from streamtask.worker.fetcher import Fetcher


class Readers:
    """`make(queues)` gives the fetcher of one group's queues."""

    def __init__(
        self, queues: Sequence[QueueState], make: Callable[[list[QueueState]], Fetcher], *, burst: bool
    ) -> None:
        groups: dict[str, list[QueueState]] = {}
        for queue in queues:
            groups.setdefault(queue.keys.group, []).append(queue)
        self.fetchers = [make(group) for group in groups.values() or ([],)]
        self._burst = burst

    async def run(self) -> None:
        """Read until stopped; in a burst, until all of them have found nothing more."""
        while True:
            before = self._admitted
            await self._once()
            if not self._burst or len(self.fetchers) == 1 or self._admitted == before:
                return

    def parked(self) -> None:
        """Something was given back."""
        for fetcher in self.fetchers:
            fetcher.parked()

    async def stop(self) -> None:
        """Ask for nothing more."""
        await asyncio.gather(*(fetcher.stop() for fetcher in self.fetchers))

    @property
    def _admitted(self) -> int:
        return sum(fetcher.admitted for fetcher in self.fetchers)

    async def _once(self) -> None:
        running = [asyncio.ensure_future(fetcher.run()) for fetcher in self.fetchers]
        try:
            await asyncio.gather(*running)
        finally:
            for one in running:  # a reader that broke is a defect of ours, and the others must not go on without it
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)
