"""Every key name, as a function of the namespace and the queue.

A queue's stream is `<namespace>:<queue>`. All keys derived from it carry the stream's name as hash tag,
`{<namespace>:<queue>}:due` and so on, so that one queue lives in one slot of a Redis Cluster and a script may touch all
of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

#: The one consumer group of a task stream, and the consumer that owns what was given back.
GROUP, RELEASED = "workers", "released"
#: The set of all namespaces on a server.
NAMESPACES = "streamtask:namespaces"


def tag(base: str) -> str:
    """The prefix of keys derived from `base`, in the same Cluster slot as `base` itself.

    Redis hashes what stands between the first `{` and the next `}`; a base that has such a part keeps it. Other braces
    would move the derived keys to another slot, so they are refused with ValueError.
    """
    start, end = base.find("{"), base.find("}")
    if base and start == end == -1:
        return "{" + base + "}"
    if start >= 0 and start + 1 < end and base.count("{") == base.count("}") == 1:
        return base
    raise ValueError(f"{base!r} cannot be a key: braces must be one pair around a part of it, as in shop:{{eu}}:orders")


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """The keys of one queue."""

    stream: str
    prefix: str
    due: str
    body: str
    dead: str
    conf: str
    ticks: str
    where: str
    suspects: str
    mover: str

    def result(self, message_id: str) -> str:
        """The result record of a message, and the channel on which its end is told."""
        return f"{self.prefix}:result:{message_id}"

    def unique(self, task: str, key_hash: str) -> str:
        """The lock of a unique key; its value is the holder's message id."""
        return f"{self.prefix}:unique:{task}:{key_hash}"

    def sent(self, message_id: str) -> str:
        """Remembers that a message id chosen by the caller was accepted."""
        return f"{self.prefix}:unique:id:{message_id}"


@lru_cache(maxsize=4096)
def queue_keys(namespace: str, queue: str) -> QueueKeys:
    """The keys of a queue."""
    stream = f"{namespace}:{queue}"
    prefix = tag(stream)
    names = ("due", "body", "dead", "conf", "ticks", "where", "suspects", "mover")
    return QueueKeys(stream, prefix, *(f"{prefix}:{name}" for name in names))


def queues(namespace: str) -> str:
    """The set of the namespace's queue names."""
    return f"{namespace}:queues"


def schedules(namespace: str) -> str:
    """The hash of the namespace's schedules, name to JSON."""
    return f"{namespace}:schedules"


def worker(namespace: str, consumer: str) -> str:
    """A worker's or beat's presence, with a TTL."""
    return f"{namespace}:worker:{consumer}"
