"""What is where in a namespace now: queues, workers, beats, schedules. Conversations as data (see `sender.Steps`).

Reads Redis only, so it works where the app's code is not. All ages are by the server's clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic_core import from_json

from streamtask.broker import keys as names
from streamtask.broker.keys import RELEASED, QueueKeys, queue_keys
from streamtask.broker.link import Command
from streamtask.broker.replies import is_no_group, must, pairs
from streamtask.broker.sender import Steps
from streamtask.broker.server import Server, answers, questions
from streamtask.context import from_ms
from streamtask.message import entry_ms
from streamtask.topics import SILENT, TopicView, survey

#: Ticks from here on mean that the schedule left the code (see `streamtask.beat`).
REMOVED = 9_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue. `oldest_s` is the age of the message that waits longest, `overdue_s` how late the first due one is."""

    name: str
    waiting: int
    running: int
    due: int
    dead: int
    oldest_s: float | None
    overdue_s: float | None
    workers: int


@dataclass(frozen=True, slots=True)
class ProcessView:
    """A worker or beat that is alive, as it said itself."""

    consumer: str
    kind: Literal["worker", "beat"] = "worker"
    host: str = "?"
    pid: int = 0
    queues: tuple[str, ...] = ()
    started_at: datetime | None = None
    lease_s: float | None = None
    slots: Mapping[str, int] = field(default_factory=dict)
    running: int | None = None
    schedules: int | None = None
    version: str = "?"


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """One schedule. `late_s` is how long its next tick is overdue: no beat offered it."""

    name: str
    when: str
    task: str
    queue: str
    state: Literal["on", "off"]
    next: datetime | None
    last: datetime | None
    late_s: float | None
    missed: str
    overlap: str
    source: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A namespace at one moment of the server's clock."""

    namespace: str
    now: datetime
    server: Server
    queues: tuple[QueueView, ...]
    processes: tuple[ProcessView, ...]
    schedules: tuple[ScheduleView, ...]
    topics: tuple[TopicView, ...] = ()

    def of(self, kind: str) -> list[ProcessView]:
        """The workers or the beats."""
        return [process for process in self.processes if process.kind == kind]


def snapshot(namespace: str) -> Steps[Snapshot]:
    """All that can be seen of a namespace."""
    replies = yield [("TIME",), ("SMEMBERS", names.queues(namespace)), *questions(namespace)]
    clock, queues = must(replies[0]), sorted(name.decode() for name in must(replies[1]))
    now = int(clock[0]) * 1000 + int(clock[1]) // 1000
    processes = yield from presences(namespace)
    views = yield from _queues(namespace, [name for name in queues if "/" not in name], processes, now)
    plans = yield from schedules(namespace, now)
    own = [name for name in queues if "/" in name]
    topics = yield from survey(
        {*(yield from topic_names(namespace)), *(name.rpartition("/")[0] for name in own)},
        own,
        {process.consumer for process in processes},
    )
    return Snapshot(namespace, from_ms(now), answers(replies[2:]), views, processes, plans, topics)


def server_time() -> Steps[int]:
    """The server's time in ms."""
    (clock,) = yield [("TIME",)]
    return int(must(clock)[0]) * 1000 + int(clock[1]) // 1000


def topic_names(namespace: str) -> Steps[list[str]]:
    """The topics that anybody of the namespace published to, or reads."""
    (found,) = yield [("SMEMBERS", names.topics(namespace))]
    return sorted(name.decode() for name in must(found))


def queue_names(namespace: str) -> Steps[list[str]]:
    """The names of all queues that anybody used or serves; `topic/group` is a group's own queue."""
    (found,) = yield [("SMEMBERS", names.queues(namespace))]
    return sorted(name.decode() for name in must(found))


def presences(namespace: str) -> Steps[tuple[ProcessView, ...]]:
    """The workers and beats that are alive."""
    cursor, keys = b"0", set[bytes]()
    while True:
        (reply,) = yield [("SCAN", cursor, "MATCH", names.worker(namespace, "*"), "COUNT", 1000)]
        cursor, found = must(reply)
        keys.update(found)
        if cursor == b"0":
            break
    if not keys:
        return ()
    replies = yield [("GET", key) for key in sorted(keys)]
    views = [_process(reply) for reply in replies if isinstance(reply, bytes)]
    return tuple(view for view in views if view is not None)


def schedules(namespace: str, now: int) -> Steps[tuple[ScheduleView, ...]]:
    """The schedules that beats have published; `now` is ms of the server's time."""
    (raw,) = yield [("HGETALL", names.schedules(namespace))]
    pairs = must(raw)
    facts = {n.decode(): from_json(text) for n, text in zip(pairs[::2], pairs[1::2], strict=True) if n[:1] != b"@"}
    if not facts:
        return ()
    order = sorted(facts)
    ticks = yield [("HGET", queue_keys(namespace, facts[name].get("queue", "default")).ticks, name) for name in order]
    return tuple(_schedule(name, facts[name], must(tick), now) for name, tick in zip(order, ticks, strict=True))


def unserved(namespace: str, served: Collection[str]) -> Steps[list[tuple[str, int]]]:
    """Queues beside those `served` that have messages and no living reader; without the scan that presences need."""
    others = [name for name in (yield from queue_names(namespace)) if name not in served]
    if not others:
        return []
    queues = [queue_keys(namespace, name) for name in others]
    replies = yield [c for q in queues for c in (("XLEN", q.stream), ("XINFO", "CONSUMERS", q.stream, q.group))]
    found = []
    for name, length, consumers in zip(others, replies[::2], replies[1::2], strict=True):
        readers = [] if isinstance(consumers, Exception) else [pairs(consumer) for consumer in consumers]
        alive = any(reader["idle"] < SILENT * 1000 for reader in readers if reader["name"] != RELEASED.encode())
        if isinstance(length, int) and length and not alive:
            found.append((name, length))
    return found


def _queues(
    namespace: str, queues: Sequence[str], processes: Sequence[ProcessView], now: int
) -> Steps[tuple[QueueView, ...]]:
    if not queues:
        return ()
    all_keys = [queue_keys(namespace, name) for name in queues]
    first = yield [command for keys in all_keys for command in _counts(keys)]
    rows = [first[i : i + 6] for i in range(0, len(first), 6)]
    second = yield [c for keys, row in zip(all_keys, rows, strict=True) for c in _oldest(keys, row[5])]
    heads = zip(second[::2], second[1::2], strict=True)
    views = []
    for name, row, (unread, released) in zip(queues, rows, heads, strict=True):
        length, dead, due, head = (must(reply) for reply in row[:4])
        pending = 0 if is_no_group(row[4]) else must(row[4])[0]
        given_back = 0 if is_no_group(row[4]) else sum(int(n) for who, n in row[4][3] or () if who == RELEASED.encode())
        running = pending - given_back
        ids = [reply[0][0].decode() for reply in (unread, released) if not is_no_group(reply) and reply]
        oldest = max(0.0, (now - min(map(entry_ms, ids))) / 1000) if ids else None
        late = (now - float(head[1])) / 1000 if head else 0.0
        workers = sum(name in process.queues for process in processes if process.kind == "worker")
        waiting = max(0, length - running)
        views.append(QueueView(name, waiting, running, due, dead, oldest, late if late > 0 else None, workers))
    return tuple(views)


def _counts(keys: QueueKeys) -> list[Command]:
    return [
        ("XLEN", keys.stream),
        ("XLEN", keys.dead),
        ("ZCARD", keys.due),
        ("ZRANGE", keys.due, 0, 0, "WITHSCORES"),
        ("XPENDING", keys.stream, keys.group),
        ("XINFO", "GROUPS", keys.stream),
    ]


def _oldest(keys: QueueKeys, groups: Any) -> list[Command]:
    """The first entry that nobody has read, and the first that was given back."""
    last = "0-0"
    if not is_no_group(groups):
        for group in map(pairs, must(groups)):
            if group["name"] == keys.group.encode():
                last = group["last-delivered-id"].decode()
    return [
        ("XRANGE", keys.stream, f"({last}", "+", "COUNT", 1),
        ("XPENDING", keys.stream, keys.group, "-", "+", 1, RELEASED),
    ]


def _process(raw: bytes) -> ProcessView | None:
    try:
        facts = from_json(raw)
        return ProcessView(
            consumer=facts["consumer"],
            kind=facts["kind"],
            host=facts.get("host", "?"),
            pid=facts.get("pid", 0),
            queues=tuple(facts.get("queues", ())),
            started_at=from_ms(facts["started_at"]) if facts.get("started_at") else None,
            lease_s=facts.get("lease"),
            slots=facts.get("slots") or {},
            running=facts.get("running"),
            schedules=facts.get("schedules"),
            version=facts.get("version", "?"),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # not ours, or of another version: it is left out, and its queue is not


def _schedule(name: str, facts: Mapping[str, Any], tick: bytes | None, now: int) -> ScheduleView:
    following = facts.get("next")
    last = int(tick) if tick else None
    enabled = bool(facts.get("enabled", True)) and (last is None or last < REMOVED)
    late = (now - following) / 1000 if enabled and following is not None and following < now else None
    return ScheduleView(
        name=name,
        when=str(facts.get("when", "?")),
        task=str(facts.get("task", "?")),
        queue=str(facts.get("queue", "default")),
        state="on" if enabled else "off",
        next=from_ms(following) if enabled and following is not None else None,
        last=from_ms(last) if last is not None and last < REMOVED else None,
        late_s=late,
        missed=str(facts.get("missed", "?")),
        overlap=str(facts.get("overlap", "?")),
        source=str(facts.get("source", "?")),
    )
