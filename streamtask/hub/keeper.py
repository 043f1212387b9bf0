"""What the hub does by itself: it keeps streams within their limits, and looks whether Redis is there.

The trim is a backstop. Publishing trims as it goes, but a Redis whose memory is full refuses to publish, and then
nothing would ever trim again; XTRIM itself works at full memory, and publishing works after it.
"""

from __future__ import annotations

import asyncio
import logging

from streamtask.hub.metrics import Metrics
from streamtask.hub.names import Names
from streamtask.hub.publisher import Publisher
from streamtask.hub.redis import Away, Redis

logger = logging.getLogger("streamtask.hub")
#: Seconds between two looks at Redis.
LOOK = 5.0


class Keeper:
    """The loops of one hub."""

    def __init__(self, redis: Redis, publisher: Publisher, names: Names, metrics: Metrics, trim_every: float) -> None:
        self._redis, self._publisher, self._names = redis, publisher, names
        self._metrics, self._trim_every = metrics, trim_every

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            group.create_task(self._trim())

    async def _look(self) -> None:
        up = True
        while True:
            try:
                await self._redis.ping()
            except Away as error:
                if up:
                    logger.warning("Redis does not answer: %s", error)
                up = False
            else:
                if not up:
                    logger.warning("Redis answers again")
                up = True
            self._metrics.redis(up)
            await asyncio.sleep(LOOK)

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(self._trim_every)
            for stream in sorted({*self._names.literal(), *self._publisher.seen}):
                await self._trim_one(stream)

    async def _trim_one(self, stream: str) -> None:
        try:
            done, given_up = await self._redis.trim(stream)
        except Away as error:
            logger.warning("%s was not trimmed: %s", stream, error)
            return
        if given_up:
            logger.warning(
                "%s: %d entries given up that some group had not done with (STREAM_HARD_MAX_LEN)", stream, given_up
            )
        elif done:
            logger.debug("%s: %d entries trimmed that all groups had done with", stream, done)
