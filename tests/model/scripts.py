"""The scripts of streamtask/broker/lua as atomic steps on the model's server, in the order of their own lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .server import ANCIENT, EPOCH, RELEASED, Entry, Refused, Row, Server, step

#: Milliseconds for which a retry holds its unique key from now on, as in worker/verdicts.py.
UNIQUE_TTL = 7 * 86_400_000
#: Milliseconds for which a mover holds its queue, and messages that one MOVE takes.
MOVER_LOCK, MOVE_LIMIT = 2000, 100
NOTHING = -1  # an entry id that no entry has: the no-op XACK that turns the memory limit off


class Token(NamedTuple):
    """One delivery as DONE takes it."""

    id: int
    count: int


class Item(NamedTuple):
    """One verdict as SETTLE takes it: D, R or X. `entry` is the retry's next entry, or the dead letter's fields."""

    op: str
    id: int
    count: int
    mid: str
    marked: bool
    unique: str
    state: str  # result record, "" for none
    delay: int = 0
    entry: Entry | None = None
    reason: str = ""


class Back(NamedTuple):
    """One delivery as RELEASE takes it."""

    id: int
    count: int
    started: bool
    mid: str
    marked: bool
    before: int = 0  # server time of a first try whose answer was lost: what was delivered after it is another delivery


@step
def done(server: Server, me: str, tokens: Sequence[tuple[int, int]]) -> list[int]:
    """DONE: the healthy end of many."""
    server.begin()
    server._grouped()
    held = {id: row.count for id, row in server.pel.items() if row.owner == me}
    status, ours = [], []
    for id, count in tokens:
        if held.get(id) == count:
            status.append(1)
            ours.append(id)
            del held[id]
        else:
            status.append(0)
    for id in ours:
        entry = server.stream.get(id)
        server.xack(id)
        server.xdel(id)
        if entry is not None:
            server.moved(entry.copy, "DONE", "DONE")
    return status


@step
def settle(server: Server, me: str, items: Sequence[Item]) -> list[int | str]:
    """SETTLE: destination first, source last, one status an item."""
    server.begin()
    server.xack(NOTHING)
    server._grouped()
    held = {id: row.count for id, row in server.pel.items() if row.owner == me}
    status: list[int | str] = []
    for item in items:
        if held.get(item.id) != item.count:
            status.append(0)
            continue
        try:
            _apply(server, item)
        except Refused as error:
            status.append(str(error))
        else:
            status.append(1)
            del held[item.id]
    return status


def _apply(server: Server, item: Item) -> None:
    entry = server.stream.get(item.id)  # the verdict's client has a copy, also when a trim took the entry
    copy = entry.copy if entry is not None else None
    if item.op == "R":
        target = _again(server, item)
        if item.unique and server.pcall(server.get, "locks", item.unique) == item.mid:
            server.put("locks", item.unique, (item.mid, server.time + UNIQUE_TTL))
    else:
        target = "DEAD" if item.op == "X" else {"done": "DONE", "expired": "EXPIRED"}.get(item.state, "CANCELLED")
        if item.op == "X":
            assert item.entry is not None
            server.xadd_dead(item.entry, item.reason)
        if item.unique and server.pcall(server.get, "locks", item.unique) == item.mid:
            server.drop("locks", item.unique)
        if item.state:
            server.put("results", item.mid, item.state)
        server.pcall(server.drop, "where", item.mid)
    if item.marked:
        server.pcall(server.drop, "suspects", item.mid)
    server.xack(item.id)
    server.xdel(item.id)
    if copy is not None:
        server.moved(copy, target, "SETTLE")


def _again(server: Server, item: Item) -> str:
    assert item.entry is not None
    if item.delay <= 0:
        id = server.xadd(item.entry)
        server.pcall(server.put, "where", item.mid, id)
        return "WAITING"
    member = f"{item.mid}@{item.id}" if server.get("body", item.mid) is not None else item.mid
    server.put("due", member, server.time + item.delay)
    server.put("body", member, item.entry)
    server.pcall(server.drop, "where", item.mid)
    return "DUE"


@step
def renew(server: Server, me: str, tokens: Sequence[tuple[int, int]]) -> tuple[int, list[int]]:
    """RENEW: (time, 1 ours / 0 taken / -1 gone)."""
    server.begin()
    status, ours = [], []
    for id, count in tokens:
        row = server.pending(id, me)
        if row is not None and row.count == count:
            ours.append(id)
            status.append(-1)
        else:
            status.append(-1 if server.pending(id) is None else 0)
    kept = set(server.renewed(ours, me)) if ours else set()
    return server.time, [1 if id in kept else s for (id, _), s in zip(tokens, status, strict=True)]


@step
def mark(server: Server, me: str, triples: Sequence[tuple[int, int, str]]) -> list[int]:
    """MARK: earlier marked starts, or -1 for not ours."""
    server.begin()
    server.xack(NOTHING)
    out = []
    for id, count, mid in triples:
        row = server.pending(id, me)
        if row is None or row.count != count:
            out.append(-1)
            continue
        marks, token = server.get("suspects", mid) or (0, None)
        if token != (id, count, me):
            marks += 1
            server.put("suspects", mid, (marks, (id, count, me)))
        out.append(marks - 1)
    return out


@step
def release(server: Server, me: str, items: Sequence[Back]) -> int:
    """RELEASE: back at once, for any reader."""
    server.begin()
    n = 0
    for item in items:
        row = server.pending(item.id, me)
        if row is None or row.count != item.count or (item.before and row.at >= item.before):
            continue
        server.xclaim([item.id], RELEASED, 0, item.count - (0 if item.started else 1), ANCIENT)
        if item.marked:
            _unmark(server, item, me)
        n += 1
        entry = server.stream.get(item.id)
        if entry is not None:
            server.moved(entry.copy, "PARKED", "RELEASE")
    if n:
        server.next_id += 1  # the poke, added and deleted
        server._write("stream", grows=True)
    return n


def _unmark(server: Server, item: Back, me: str) -> None:
    if not item.started and server.pcall(server.get, "suspects", item.mid) != (1, (item.id, item.count, me)):
        return
    server.pcall(server.drop, "suspects", item.mid)


@step
def read(server: Server, me: str, count: int, lease: int, deadline: int) -> tuple[int, list[tuple[int, Entry, int]]]:
    """READ: what was given back and, until the deadline, what has been idle for a lease (0: not looked at)."""
    server.begin()
    claims = lease > 0 and server.time <= deadline
    if claims and server.native:
        return server.time, server.xreadgroup(me, count, lease)
    parked = sorted(id for id, row in server.pel.items() if row.owner == RELEASED)[:count]
    server._grouped()
    out = server.xclaim(parked, me, 0) if parked else []
    if claims and len(out) < count:
        idle = server.claimable(lease)[: count - len(out)]
        out += server.xclaim(idle, me, lease) if idle else []
    for _, entry, _ in out:
        server.moved(entry.copy, "HELD", "READ")
    return server.time, out


@step
def move(server: Server, me: str, force: bool = False) -> int:
    """MOVE: what is due goes into the stream; returns how many."""
    server.begin()
    holder = server.mover[0] if server.mover is not None and server.mover[1] > server.time else None
    if holder not in (None, me) and not force:
        return 0
    server.xack(NOTHING)
    if holder in (None, me):
        server.mover = (me, server.time + MOVER_LOCK)
    server._read("due")
    due = sorted((at, member) for member, at in server.due.items() if at <= server.time)[:MOVE_LIMIT]
    for _, member in due:
        entry = server.get("body", member)
        if entry is not None:
            id = server.xadd(entry)
            server.pcall(server.put, "where", entry.mid, id)
        server.drop("body", member)
        server.drop("due", member)
        if entry is not None:
            server.moved(entry.copy, "WAITING", "MOVE")
    return len(due)


@step
def enq(server: Server, entry: Entry, ttl: int) -> str:
    """ENQ with the entry's unique key: "" accepted, the holder's id, or "=" for accepted before."""
    server.begin()
    holder = server.get("locks", entry.unique)
    if holder is not None:
        return "=" if holder == entry.mid else holder
    server.xadd(entry)
    server.put("locks", entry.unique, (entry.mid, server.time + ttl))
    server.moved(entry.copy, "WAITING", "ENQ")
    return ""


@step
def defer(server: Server, entry: Entry, delay: int, ttl: int = 0) -> str:
    """DEFER; answers as ENQ."""
    server.begin()
    if entry.unique:
        holder = server.get("locks", entry.unique)
        if holder is not None:
            return "=" if holder == entry.mid else holder
    if server.get("body", entry.mid) is not None:
        return "="
    server.put("due", entry.mid, server.time + delay)
    server.put("body", entry.mid, entry)
    if entry.unique:
        server.put("locks", entry.unique, (entry.mid, server.time + ttl))
    server.moved(entry.copy, "DUE", "DEFER")
    return ""


@step
def add(server: Server, entry: Entry) -> int:
    """The plain XADD of a producer."""
    server.begin()
    id = server.xadd(entry)
    server.moved(entry.copy, "WAITING", "XADD")
    return id


@step
def tick(server: Server, schedule: str, expected: int | None, new: int, entries: Sequence[Entry]) -> tuple[int, int]:
    """TICK: (status, last): 1 fired, 0 another was faster, 2 first sight, -1 in the future."""
    server.begin()
    last = server.get("ticks", schedule)
    if last is None:
        server.put("ticks", schedule, server.time)
        return 2, server.time
    if last != expected:
        return 0, last
    if new > server.time:
        return -1, last
    for entry in entries:
        server.xadd(entry)
        server.moved(entry.copy, "WAITING", "TICK")
    server.put("ticks", schedule, new)
    return 1, new


@step
def sweep(server: Server, most: int, idle: int) -> list[tuple[int, Row, Entry]]:
    """SWEEP: rows without an entry are acknowledged; those delivered far too often are reported, body untouched."""
    server.begin()
    server._grouped()
    out = []
    for id, row in sorted(server.pel.items()):
        if server.idle(row) < idle:
            continue
        entry = server.stream.get(id)
        if entry is None:
            server.xack(id)
        elif row.count >= most:
            out.append((id, row, entry))
    return out


@step
def bury(server: Server, id: int, row: Row, mid: str, unique: str, result: bool) -> int:
    """BURY of one row as SWEEP saw it: 1 buried, 0 another's by now, -1 without an entry."""
    server.begin()
    server.xack(NOTHING)
    now = server.pending(id, row.owner)
    if now is None or now.count != row.count:
        return 0
    entry = server.stream.get(id)
    if entry is not None:
        server.xadd_dead(entry, "poison")
    if unique and server.pcall(server.get, "locks", unique) == mid:
        server.drop("locks", unique)
    if entry is not None and result:
        server.put("results", mid, "dead")
    server.pcall(server.drop, "suspects", mid)
    server.pcall(server.drop, "where", mid)
    server.xack(id)
    server.xdel(id)
    if entry is not None:
        server.moved(entry.copy, "DEAD", "BURY")
    return -1 if entry is None else 1


@step
def replay(server: Server, dead_id: int, copy: int, ttl: int) -> bool:
    """REPLAY: a dead letter goes back into its stream as a new copy, once, unless another holds its unique key."""
    server.begin()
    server._read("dead")
    if server.dead.get(dead_id) is None:
        return False
    entry, _ = server.dead[dead_id]
    if entry.unique and server.get("locks", entry.unique) not in (None, entry.mid):
        return False
    server.xadd(entry._replace(copy=copy, kind="", attempt=0, meta=True))
    if entry.unique:
        server.put("locks", entry.unique, (entry.mid, server.time + ttl))
    server.pcall(server.drop, "results", entry.mid)
    server.drop("dead", dead_id)
    server.ledger.pop(entry.copy, None)
    server.ledger[copy] = "DEAD"
    server.moved(copy, "WAITING", "REPLAY")
    return True


__all__ = [
    "EPOCH", "Back", "Item", "Token", "add", "bury", "defer", "done", "enq", "mark", "move", "read", "release",
    "renew", "replay", "settle", "sweep", "tick",
]  # fmt: skip
