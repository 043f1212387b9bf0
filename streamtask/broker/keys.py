"""Every key name, as a function of the namespace and the queue.

A queue's stream is `<namespace>:<queue>`. All keys derived from it carry the stream's name as hash tag,
`{<namespace>:<queue>}:due` and so on, so that one queue lives in one slot of a Redis Cluster and a script may touch all
of it.

A topic's stream is what the user calls it. What a group could not handle at once goes to the group's own queue,
`{<topic>}:<group>`, whose consumer group has the same name: so no group sees another's retry, and one read serves both.
In lists and on the command line that queue is called `<topic>/<group>`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

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
    """The keys of one queue, or of one group's view of a topic; the consumer group that reads it.

    Of a topic the stream is everybody's, and all else is that of the group's own queue: what fails goes there.
    """

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
    group: str = GROUP
    kind: Literal["task", "topic"] = "task"

    @property
    def types(self) -> str:
        """Event types that the group's workers handle, each with the ms at which one of them last said so."""
        return f"{self.prefix}:types"

    def once(self, event_id: str) -> str:
        """Remembers that an event was handled, whatever entry brought it."""
        return f"{self.prefix}:once:{event_id}"

    def result(self, message_id: str) -> str:
        """The result record of a message, and the channel on which its end is told."""
        return f"{self.prefix}:result:{message_id}"

    def unique(self, task: str, key_hash: str) -> str:
        """The lock of a unique key; its value is the holder's message id."""
        return f"{self.prefix}:unique:{task}:{key_hash}"

    def sent(self, message_id: str) -> str:
        """Remembers that a message id chosen by the caller was accepted."""
        return f"{self.prefix}:unique:id:{message_id}"


_NAMES = ("due", "body", "dead", "conf", "ticks", "where", "suspects", "mover")


@lru_cache(maxsize=4096)
def queue_keys(namespace: str, queue: str) -> QueueKeys:
    """The keys of a queue; `<topic>/<group>` names the own queue of a group on a topic."""
    topic, slash, group = queue.rpartition("/")
    if slash:
        return _keys(own_stream(topic, group), own_stream(topic, group), group, "task")
    stream = f"{namespace}:{queue}"
    return _keys(stream, tag(stream), GROUP, "task")


@lru_cache(maxsize=4096)
def topic_keys(topic: str, group: str) -> QueueKeys:
    """A topic as one group sees it."""
    return _keys(topic, own_stream(topic, group), group, "topic")


def keys_named(namespace: str, name: str) -> list[QueueKeys]:
    """All streams behind a name: a queue's, or a group's own queue and its topic."""
    topic, slash, group = name.rpartition("/")
    return [queue_keys(namespace, name), *((topic_keys(topic, group),) if slash else ())]


def _keys(stream: str, prefix: str, group: str, kind: Literal["task", "topic"]) -> QueueKeys:
    keys = {name: f"{prefix}:{name}" for name in _NAMES}
    if kind == "topic":  # the two streams of a group agree on their leases apart, since each has holders of its own
        keys["conf"] = f"{prefix}:topic-conf"
    return QueueKeys(stream, prefix, **keys, group=group, kind=kind)


def own_stream(topic: str, group: str) -> str:
    """The stream of a group's own queue."""
    return f"{tag(topic)}:{group}"


def lost(topic: str) -> str:
    """How many unread or unfinished entries each group lost to the topic's hard cap: a hash, group to count."""
    return f"{tag(topic)}:lost"


def published(topic: str, key: str) -> str:
    """Remembers the entry that was published under a key, or with an event id."""
    return f"{tag(topic)}:published:{key}"


def topics(namespace: str) -> str:
    """The set of the topics that the namespace's producers and workers use."""
    return f"{namespace}:topics"


def queues(namespace: str) -> str:
    """The set of the namespace's queue names."""
    return f"{namespace}:queues"


def schedules(namespace: str) -> str:
    """The hash of the namespace's schedules, name to JSON."""
    return f"{namespace}:schedules"


def worker(namespace: str, consumer: str) -> str:
    """A worker's or beat's presence, with a TTL."""
    return f"{namespace}:worker:{consumer}"
