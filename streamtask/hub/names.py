"""Which streams may be written. Callers choose them, and streamtask's own keys must not be among them."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase

from streamtask import checks
from streamtask.hub.redis import Redis
from streamtask.hub.refusal import Refusal

logger = logging.getLogger("streamtask.hub")

#: mq-hub's streams: publishing to another one is said in the log, or refused.
KNOWN = (
    "alt:events:articles", "alt:events:summaries", "alt:events:tags", "alt:events:index", "alt:events:articles:dlq",
    "alt:replies:tags:*",
)  # fmt: skip
#: A queue's stream is `<namespace>:<queue>`, and these stand beside the queues.
_TASKS = re.compile(r"([A-Za-z0-9._-]{1,64}):([A-Za-z0-9._-]{1,64})")
_OWN = ("queues", "schedules", "topics", "namespaces")
#: Seconds for which it is remembered that a name is no queue, and names that are remembered.
REMEMBERED, MOST = 30.0, 10_000


class Names:
    """The rules for streams. `known` are globs; `deny_unknown` refuses all others."""

    def __init__(self, redis: Redis, known: Sequence[str], deny_unknown: bool) -> None:
        self._redis, self._known, self._deny = redis, tuple(known), deny_unknown
        self._checked: dict[str, float] = {}
        self._warned: set[str] = set()

    def literal(self) -> list[str]:
        """The known streams that are no patterns."""
        return [name for name in self._known if not set("*?[") & set(name)]

    async def check(self, stream: str) -> None:
        """Raise Refusal for a stream that must not be written; Away when that cannot be found out."""
        readable(stream)
        if "{" in stream:
            raise Refusal("invalid_argument", f"stream {stream!r}: braces are for streamtask's own keys")
        found = _TASKS.fullmatch(stream)
        if found is not None:
            await self._no_queue(stream, found[1], found[2])
        if not any(fnmatchcase(stream, known) for known in self._known):
            self._unknown(stream)

    def _unknown(self, stream: str) -> None:
        if self._deny:
            raise Refusal("invalid_argument", f"unknown stream {stream!r}")
        if stream not in self._warned and len(self._warned) < MOST:
            self._warned.add(stream)
            logger.warning("unknown stream %s: published all the same (see --deny-unknown-streams)", stream)

    async def _no_queue(self, stream: str, namespace: str, queue: str) -> None:
        if self._checked.get(stream, 0.0) > time.monotonic():
            return
        if namespace == "streamtask" or queue in _OWN or await self._redis.is_queue(namespace, queue):
            raise Refusal("invalid_argument", f"stream {stream!r} is streamtask's own; events do not go there")
        if len(self._checked) >= MOST:
            self._checked.clear()
        self._checked[stream] = time.monotonic() + REMEMBERED


def readable(stream: str) -> None:
    """Raise Refusal for what cannot be a stream's name."""
    if not stream:
        raise Refusal("invalid_argument", "stream is required")
    try:
        checks.topic(stream)
    except ValueError as error:
        raise Refusal("invalid_argument", f"stream: {error}") from None
