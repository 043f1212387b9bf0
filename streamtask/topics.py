"""Topics, and the groups that read them: where each stands and what holds it back. Conversations as data (see
`sender.Steps`); no app is needed, and groups of other programs are seen too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from streamtask.broker.keys import RELEASED, lost, queue_keys
from streamtask.broker.link import Command
from streamtask.broker.replies import is_no_group, must, pairs
from streamtask.broker.sender import Steps
from streamtask.broker.server import parse_info
from streamtask.context import from_ms
from streamtask.duration import show
from streamtask.message import MAX_MS, entry_ms
from streamtask.topic import MAX_LENGTH

#: Unread entries that are counted one by one at most, and how many of them one round trip brings.
COUNTED, PAGE = 10_000, 1000
#: Seconds for which a consumer that asks for nothing counts as alive: readers ask every few seconds.
SILENT = 30.0
#: Seconds by which a group goes on behind a pending entry before that counts as stuck.
STUCK = 15 * 60.0
#: The oldest servers whose lag is right again when a group reads on after unread entries were trimmed.
LAG_IS_RIGHT = {"redis": (8, 0), "valkey": (8, 1)}


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group on a topic. `lag` is what it has not been given, at least so much unless `lag_exact`; `pending` what it
    was given and has not done with. `waiting`, `running` and `due` is its own queue: what failed and is tried again.
    `left`: the group is not there (any more), its own queue or dead letters are.
    """

    name: str
    last_id: str
    lag: int
    lag_exact: bool
    pending: int
    oldest_pending: str | None = None
    oldest_pending_s: float | None = None
    oldest_unread_s: float | None = None
    holder: str | None = None
    deliveries: int = 0
    consumers: int = 0
    waiting: int = 0
    running: int = 0
    due: int = 0
    dead: int = 0
    lost: int = 0
    types: Mapping[str, datetime] = field(default_factory=dict)
    left: bool = False

    @property
    def oldest_s(self) -> float | None:
        """The age of the oldest event that it has not done with in the topic."""
        return max((s for s in (self.oldest_pending_s, self.oldest_unread_s) if s is not None), default=None)


@dataclass(frozen=True, slots=True)
class TopicView:
    """A topic and its groups. `memory` in bytes, None where the server does not tell."""

    name: str
    entries: int
    first_id: str | None
    first_age_s: float | None
    last_id: str | None
    last_age_s: float | None
    memory: int | None
    groups: tuple[GroupView, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a topic or a group, and what to do."""

    topic: str
    group: str | None
    text: str
    fix: str
    short: str


def problems(topic: TopicView) -> Iterator[Problem]:
    """What somebody should look at, the topic's own first."""
    name = topic.name
    if topic.entries and not any(not group.left for group in topic.groups):
        text = f"nobody reads it: {topic.entries:,} entries, and the oldest go beyond max_length"
        fix = f"start a worker with a handler, or make a group first: streamtask topics join {name} --group GROUP"
        yield Problem(name, None, text, fix, "nobody reads it")
    for group in topic.groups:
        found = _problem(name, group)
        if found is not None:
            yield found
        if group.lost:
            text = f"lost {group.lost:,} events to the topic's hard cap"
            fix = f"more workers, or a larger hard_max_length; to forget the count: HDEL {lost(name)} {group.name}"
            yield Problem(name, group.name, text, fix, f"lost {group.lost:,}")


def _problem(topic: str, group: GroupView) -> Problem | None:
    """Why the group does not go on, if so; the topic keeps what it has not done with."""
    of = f"streamtask topics leave {topic} --group {group.name}"
    unread = f"{group.lag:,}{'' if group.lag_exact else '+'} unread"
    if group.left:
        if not (group.waiting or group.due):
            return None
        text = f"the group has left, and {group.waiting + group.due:,} events wait in its own queue"
        return Problem(topic, group.name, text, f"start its worker again, or: {of} --force", "left")
    if not group.consumers and (group.lag or group.pending or group.waiting or group.due):
        text = f"no worker: {unread}, {group.pending:,} pending, {group.waiting + group.due:,} to try again"
        return Problem(topic, group.name, text, f"start its worker; is the group gone for good: {of}", "no worker")
    if group.oldest_pending is not None:
        ahead = (_ms(group.last_id) - _ms(group.oldest_pending)) / 1000
        if ahead > STUCK:
            text = (
                f"stalls trimming: {group.oldest_pending} is pending, and the group is {show(ahead // 60 * 60)} ahead "
                f"of it (delivered {group.deliveries} times, now to {group.holder})"
            )
            fix = f"look at that worker (streamtask inspect worker {group.holder}), and at the handler's timeout"
            return Problem(topic, group.name, text, fix, "stuck")
    if group.lag > MAX_LENGTH or not group.lag_exact:
        text = f"stalls trimming: {unread}, and all of them are kept"
        return Problem(topic, group.name, text, "start more of its workers, or make its handler quicker", "far behind")
    return None


def survey(
    topics: Iterable[str], own_queues: Iterable[str] = (), living: Collection[str] = ()
) -> Steps[tuple[TopicView, ...]]:
    """Topics by their names. `own_queues` (`topic/group`) tell of groups that left; `living` are the consumers whose
    presence is there.
    """
    names = sorted(set(topics))
    if not names:
        return ()
    first = yield [("TIME",), ("INFO", "server"), *(command for name in names for command in _about(name))]
    clock = must(first[0])
    now = int(clock[0]) * 1000 + int(clock[1]) // 1000
    right = _lag_is_right(first[1])
    known = [tuple(name.rpartition("/")[::2]) for name in own_queues]
    stood = []
    for name, (stream, groups, memory, gone) in zip(names, _fours(first[2:]), strict=True):
        facts = {} if is_no_group(stream) else pairs(must(stream))
        there = [] if is_no_group(groups) else [pairs(flat) for flat in must(groups)]
        present = {_text(group["name"]) for group in there}
        absent = sorted({group for topic, group in known if topic == name} - present)
        size = memory if isinstance(memory, int) else None
        stood.append(_Stand(name, facts, there, absent, size, {} if isinstance(gone, Exception) else pairs(gone)))
    views: tuple[TopicView, ...] = ()
    for stand in stood:
        views += ((yield from _view(stand, now, right, living)),)
    return views


@dataclass(frozen=True, slots=True)
class _Stand:
    """What the first round trip told of a topic."""

    name: str
    stream: dict[str, Any]
    groups: list[dict[str, Any]]
    absent: list[str]
    memory: int | None
    lost: dict[str, Any]

    @property
    def edges(self) -> tuple[str | None, str | None]:
        """The ids of the first and the last entry."""
        first, last = self.stream.get("first-entry"), self.stream.get("last-entry")
        return first[0].decode() if first else None, last[0].decode() if last else None


def _about(topic: str) -> list[Command]:
    return [
        ("XINFO", "STREAM", topic),
        ("XINFO", "GROUPS", topic),
        ("MEMORY", "USAGE", topic),
        ("HGETALL", lost(topic)),
    ]


def _view(stand: _Stand, now: int, right: bool, living: Collection[str]) -> Steps[TopicView]:
    first, last = stand.edges
    names = [_text(group["name"]) for group in stand.groups] + stand.absent
    lasts = [group["last-delivered-id"].decode() for group in stand.groups] + ["0-0"] * len(stand.absent)
    if not names:
        groups: list[GroupView] = []
    else:
        each = [_of_group(stand.name, name, id) for name, id in zip(names, lasts, strict=True)]
        flat = yield [command for commands in each for command in commands]
        wide = len(each[0])
        rows = [flat[i : i + wide] for i in range(0, len(flat), wide)]
        lags = yield from _lags(stand, right)
        groups = [
            _group(name, id, lag, row, int(stand.lost.get(name, 0)), now, living)
            for name, id, lag, row in zip(names, lasts, [*lags, *[None] * len(stand.absent)], rows, strict=True)
        ]
    entries, ages = int(stand.stream.get("length", 0)), [None if id is None else _age(id, now) for id in (first, last)]
    return TopicView(stand.name, entries, first, ages[0], last, ages[1], stand.memory, tuple(groups))


def _of_group(topic: str, group: str, last: str) -> list[Command]:
    own = queue_keys("", f"{topic}/{group}")
    return [
        ("XPENDING", topic, group, "-", "+", 1),
        ("XPENDING", topic, group),
        ("XRANGE", topic, f"({last}", "+", "COUNT", 1),
        ("XINFO", "CONSUMERS", topic, group),
        ("XLEN", own.stream),
        ("XPENDING", own.stream, group),
        ("ZCARD", own.due),
        ("XLEN", own.dead),
        ("HGETALL", own.types),
    ]


def _group(
    name: str, last: str, lag: tuple[int, bool] | None, row: Sequence[Any], gone: int, now: int, living: Collection[str]
) -> GroupView:
    oldest, held, unread, consumers, length, own_held, due, dead, types = row
    oldest = [] if is_no_group(oldest) else must(oldest)
    readers = [] if is_no_group(consumers) else [pairs(flat) for flat in must(consumers)]
    alive = sum(
        (who := _text(reader["name"])) != RELEASED and (reader["idle"] < SILENT * 1000 or who in living)
        for reader in readers
    )
    running = 0
    if not is_no_group(own_held):
        running = sum(int(n) for who, n in must(own_held)[3] or () if who != RELEASED.encode())
    said = {} if isinstance(types, Exception) else pairs(types)
    first = oldest[0] if oldest else None
    return GroupView(
        name=name,
        last_id=last,
        lag=lag[0] if lag else 0,
        lag_exact=lag[1] if lag else True,
        pending=0 if is_no_group(held) else int(must(held)[0]),
        oldest_pending=first[0].decode() if first else None,
        oldest_pending_s=_age(first[0].decode(), now) if first else None,
        oldest_unread_s=_age(unread[0][0].decode(), now)
        if lag and not isinstance(unread, Exception) and unread
        else None,
        holder=_text(first[1]) if first else None,
        deliveries=int(first[3]) if first else 0,
        consumers=alive,
        waiting=max(0, must(length) - running),
        running=running,
        due=must(due),
        dead=must(dead),
        lost=gone,
        types={kind: from_ms(min(int(at), MAX_MS)) for kind, at in sorted(said.items())},
        left=lag is None,
    )


def _lags(stand: _Stand, right: bool) -> Steps[list[tuple[int, bool]]]:
    """What each group has not been given, and whether that is exact.

    The server's own lag is NULL after a deletion above a group's place and for a group that began in the middle, and
    some servers count what was trimmed unread. So it is taken only where it is right; else the entries are counted.
    """
    entries, (first, last) = int(stand.stream.get("length", 0)), stand.edges
    found: list[tuple[int, bool] | None] = []
    for group in stand.groups:
        place = parts(group["last-delivered-id"].decode())
        if first is None or last is None or place >= parts(last):
            found.append((0, True))
        elif place < parts(first):
            found.append((entries, True))
        elif right and group.get("lag") is not None:
            found.append((int(group["lag"]), True))
        else:
            found.append(None)
    lags = []
    for group, lag in zip(stand.groups, found, strict=True):
        lags.append(lag or (yield from count(stand.name, group["last-delivered-id"].decode(), "+", COUNTED)))
    return lags


def count(topic: str, after: str, until: str, most: int) -> Steps[tuple[int, bool]]:
    """How many entries come after an id, up to and with `until`; and whether it is exact, which it is up to `most`."""
    number, edge = 0, after
    while number <= most:
        (entries,) = yield [("XRANGE", topic, f"({edge}", until, "COUNT", min(PAGE, most + 1 - number))]
        if not must(entries):
            break
        number, edge = number + len(entries), entries[-1][0].decode()
    return min(number, most), number <= most


def parts(entry_id: str) -> tuple[int, int]:
    """An entry id as two numbers, which can be compared."""
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number or 0)


def _lag_is_right(info: Any) -> bool:
    if isinstance(info, Exception):
        return False
    facts = parse_info(info)
    engine = facts.get("server_name", "redis")
    version = facts.get(f"{engine}_version", "0").split(".")[:2]
    return tuple(int(part) for part in version if part.isdigit()) >= LAG_IS_RIGHT.get(engine, (1_000,))


def _fours(flat: Sequence[Any]) -> list[Sequence[Any]]:
    return [flat[i : i + 4] for i in range(0, len(flat), 4)]


def _ms(entry_id: str) -> int:
    return min(entry_ms(entry_id), MAX_MS)


def _age(entry_id: str, now: int) -> float:
    return max(0.0, (now - _ms(entry_id)) / 1000)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
