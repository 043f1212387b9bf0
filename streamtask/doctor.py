"""Is this Redis fit to hold tasks, and does somebody work on them? `examine()` is pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from streamtask.broker.server import Server
from streamtask.duration import show
from streamtask.inspector import Snapshot
from streamtask.topics import TopicView, problems

Level = Literal["ok", "warn", "FAIL"]
#: The oldest Redis that works; every Valkey does.
OLDEST = (7, 0)
#: Versions in which trimming by what all groups acknowledged cuts nothing, from the first to the one that mended it.
TRIMS_NOTHING = (((8, 2, 0), (8, 2, 7)), ((8, 4, 0), (8, 4, 4)))
#: Seconds: a ping that takes longer is slow, a clock that differs more is wrong.
SLOW_PING, SKEW = 0.05, 1.0
#: Seconds after which something due but not done is worth a warning, and after which nobody seems to do it.
LATE, ABANDONED = 5.0, 60.0
#: Share of maxmemory from which on it is worth a warning, and from which on writes are about to be refused.
FILLING, FULL = 0.8, 0.97


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured. `ping_s` is the 99th percentile, `skew_s` this host's clock minus the server's."""

    server: Server
    url: str
    ping_s: float
    pings: int
    skew_s: float
    allow_eviction: bool = False
    snapshots: Sequence[Snapshot] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor; `fix` says what to do unless all is well."""

    level: Level
    name: str
    text: str
    fix: str = ""


def examine(facts: Facts) -> list[Finding]:
    """All findings, in the order in which they matter."""
    server = facts.server
    found = [
        _version(server, facts.url),
        _latency(facts),
        _eviction(server, facts.allow_eviction),
        _memory(server),
        _durability(server),
        _clock(facts.skew_s),
    ]
    if any(snapshot.topics for snapshot in facts.snapshots):
        found += _trimming(server)
    for snapshot in facts.snapshots:
        found += _namespace(snapshot)
    return found


def worst(findings: Sequence[Finding]) -> Level:
    """The worst level among them."""
    levels = {finding.level for finding in findings}
    return "FAIL" if "FAIL" in levels else "warn" if "warn" in levels else "ok"


def _version(server: Server, url: str) -> Finding:
    engine = "" if server.engine == "redis" else f"{server.engine} "
    able = [name for name, has in (("native claim", server.claim), ("ackdel", server.ackdel)) if has]
    text = f"{engine}{server.version} {server.mode} {url}  {', '.join(able) or 'claim by script'}"
    numbers = tuple(int(part) for part in server.version.split(".")[:2] if part.isdigit())
    if server.engine == "redis" and numbers and numbers < OLDEST:
        return Finding("FAIL", "redis", f"{text}: too old", "use Redis 7.0 or newer (best: 8.4 or newer), or Valkey")
    return Finding("ok", "redis", text)


def _latency(facts: Facts) -> Finding:
    text = f"p99 of {facts.pings} pings: {facts.ping_s * 1000:.2f} ms"
    if facts.ping_s > SLOW_PING:
        return Finding("warn", "latency", text, "look at the network between here and Redis, and at SLOWLOG GET")
    return Finding("ok", "latency", text)


def _eviction(server: Server, allowed: bool) -> Finding:
    if server.policy is None:
        return Finding("warn", "eviction", "INFO memory is forbidden", "make sure that maxmemory-policy is noeviction")
    if server.policy == "noeviction":
        return Finding("ok", "eviction", "noeviction")
    fix = "set maxmemory-policy noeviction, and give the cache a Redis of its own"
    return Finding("warn" if allowed else "FAIL", "eviction", f"{server.policy}: Redis may throw tasks away", fix)


def _memory(server: Server) -> Finding:
    if server.memory is None:
        return Finding("warn", "memory", "INFO memory is forbidden", "watch the memory of Redis elsewhere")
    used = f"{server.memory / 2**20:,.0f} MiB"
    if not server.maxmemory:
        return Finding("ok", "memory", f"{used}, no maxmemory")
    share = server.memory / server.maxmemory
    text = f"{used} of {server.maxmemory / 2**20:,.0f} MiB ({share:.0%})"
    if share < FILLING:
        return Finding("ok", "memory", text)
    fix = "raise maxmemory, add workers, or purge dead letters; a full Redis refuses new tasks and keeps the old ones"
    return Finding("FAIL" if share >= FULL else "warn", "memory", text, fix)


def _durability(server: Server) -> Finding:
    if server.aof is None:
        return Finding("warn", "durability", "INFO is forbidden", "make sure that the append-only file is on")
    if not server.aof:
        return Finding("warn", "durability", "no append-only file: a restart loses tasks", "set appendonly yes")
    if server.appendfsync == "no":
        text = "append-only file, appendfsync no: a power cut may lose the last half minute"
        return Finding("warn", "durability", text, "set appendfsync everysec")
    return Finding("ok", "durability", f"append-only file, appendfsync {server.appendfsync or 'unknown'}")


def _clock(skew: float) -> Finding:
    text = f"this host is {abs(skew):.3f} s {'ahead of' if skew > 0 else 'behind'} Redis"
    if abs(skew) > SKEW:
        return Finding("warn", "clock", text, "let NTP set both; an eta from here is off by that much")
    return Finding("ok", "clock", text)


def _trimming(server: Server) -> Iterator[Finding]:
    """Some versions of Redis take XTRIM ... ACKED and cut nothing."""
    numbers = tuple(int(part) for part in server.version.split(".")[:3] if part.isdigit())
    if server.engine == "redis" and any(first <= numbers < mended for first, mended in TRIMS_NOTHING):
        text = f"Redis {server.version} accepts ACKED and trims nothing; topics are cut below their oldest open entry"
        mended = next(".".join(map(str, end)) for first, end in TRIMS_NOTHING if first <= numbers < end)
        fix = f"all works, but one stuck event keeps all behind it; Redis {mended} or newer trims behind it, too"
        yield Finding("warn", "trimming", text, fix)


def _namespace(snapshot: Snapshot) -> Iterator[Finding]:
    where, workers, beats = snapshot.namespace, snapshot.of("worker"), snapshot.of("beat")
    counts = [_many(len(snapshot.queues), "queue"), _many(len(workers), "worker"), _many(len(beats), "beat")]
    if snapshot.topics:
        counts.append(_many(len(snapshot.topics), "topic"))
    yield Finding("ok", where, ", ".join(counts))
    for queue in snapshot.queues:
        name = f"{where}:{queue.name}"
        if (queue.waiting or queue.due) and not queue.workers:
            text = f"{queue.waiting:,} waiting, {queue.due:,} due, and no worker"
            yield Finding("warn", name, text, f"streamtask worker APP -Q {queue.name}")
        if queue.overdue_s is not None and queue.overdue_s > LATE:
            text = f"a message is overdue by {show(round(queue.overdue_s))}: nobody moves what is due"
            level: Level = "FAIL" if queue.overdue_s > ABANDONED else "warn"
            yield Finding(level, name, text, "run a worker of this queue, or streamtask beat APP")
        if queue.dead:
            text = _many(queue.dead, "dead letter")
            yield Finding("warn", name, text, f"streamtask dead list --namespace {where} --queue {queue.name}")
    for topic in snapshot.topics:
        yield from _topic(where, topic)
    for schedule in snapshot.schedules:
        if schedule.late_s is not None and schedule.late_s > LATE:
            text = f"the schedule {schedule.name} is late by {show(round(schedule.late_s))}: no beat offers it"
            level = "FAIL" if schedule.late_s > ABANDONED else "warn"
            yield Finding(level, where, text, "streamtask beat APP, or a worker with --beat")


def _topic(where: str, topic: TopicView) -> Iterator[Finding]:
    for problem in problems(topic):
        of = "" if problem.group is None else f"/{problem.group}"
        yield Finding("warn", f"{problem.topic}{of}", problem.text, problem.fix)
    for group in topic.groups:
        if group.dead:
            fix = f"streamtask dead list --namespace {where} --queue {topic.name}/{group.name}"
            yield Finding("warn", f"{topic.name}/{group.name}", _many(group.dead, "dead letter"), fix)


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
