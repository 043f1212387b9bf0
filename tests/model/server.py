"""One queue in one Redis, as a model: a stream with its group, what hangs on it, and the commands that the scripts use.

Commands fail as Redis makes them fail: OOM refuses what needs memory unless the script has written before, a key of the
wrong type refuses all that touch it, a replica refuses to write. What a script did before its error stays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from operator import itemgetter
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

from streamtask.states import FINAL, TRANSITIONS

#: The consumer that owns what was given back, and what its rows say of their last delivery (XCLAIM ... TIME 1).
RELEASED, ANCIENT = "released", 1
#: Where Redis time begins in the model, in ms; large, so that ANCIENT lies far before it.
EPOCH = 1_000_000_000


P = ParamSpec("P")
R = TypeVar("R")


class Refused(Exception):
    """The server's error reply; the text is what `streamtask.broker.link.passing` is asked about."""


class Entry(NamedTuple):
    """A message's fields. `copy` names one accepted message for the tests; two copies may have the same `mid`."""

    copy: int
    mid: str
    attempt: int = 0
    unique: str = ""
    sent: int = 0  # ms of Redis time
    ttl: int = 0  # ms, 0: never expires
    meta: bool = False  # was deferred or tried before: the cheap DONE would leave its `where` behind
    kind: str = ""  # "": healthy; parse, decode, start, later: where it kills its worker; garbage; unknown


class Row(NamedTuple):
    """A row of the pending list; `at` is the server's time of the last delivery or renewal."""

    owner: str
    count: int
    at: int


class Broken(AssertionError):
    """A rule of the protocol is broken."""


class Twin(Protocol):
    """A real server that does all that the model's does, and must come to the same."""

    def before(self, server: Server) -> None:
        """The model's server is about to carry out a step."""

    def after(self, server: Server, step: str, args: tuple[Any, ...], reply: Any) -> None:
        """It has, and this was the answer (Refused: an error)."""


def step(run: Callable[P, R]) -> Callable[P, R]:
    """What happens at the server at once: a command or a script; its first argument is the server."""

    @wraps(run)
    def both(*args: P.args, **named: P.kwargs) -> R:
        server: Any = args[0]
        if server.twin is None:
            return run(*args, **named)
        server.twin.before(server)
        reply: Any
        try:
            reply = run(*args, **named)
        except Refused as error:
            server.twin.after(server, run.__name__, args[1:], error)
            raise
        server.twin.after(server, run.__name__, args[1:], reply)
        return reply

    return both


class Server:
    """All keys of the queue. Entry ids are numbers that rise; a copy of the object is a snapshot."""

    twin: Twin | None = None

    def __init__(self, native: bool = True) -> None:
        self.native = native
        self.time = EPOCH
        self.up = True
        self.oom = self.readonly = False
        self.wrong: frozenset[str] = frozenset()
        self.dirty = False
        self.next_id = 1
        self.history = 0  # rises when writes are forgotten
        self._nothing()

    def _nothing(self) -> None:
        self.group: int | None = None  # last delivered id
        self.stream: dict[int, Entry] = {}
        self.pel: dict[int, Row] = {}
        self.due: dict[str, int] = {}
        self.body: dict[str, Entry] = {}
        self.dead: dict[int, tuple[Entry, str]] = {}
        self.suspects: dict[str, tuple[int, tuple[int, int, str]]] = {}
        self.where: dict[str, int] = {}
        self.locks: dict[str, tuple[str, int]] = {}
        self.results: dict[str, str] = {}
        self.ticks: dict[str, int] = {}
        self.mover: tuple[str, int] | None = None
        #: What became of each copy by the table of legal states; not a part of Redis, but of the proof.
        self.ledger: dict[int, str] = {}

    DICTS = ("stream", "pel", "due", "body", "dead", "suspects", "where", "locks", "results", "ticks", "ledger")

    def copied(self) -> Server:
        """The same server, independent of this one."""
        new = object.__new__(Server)
        new.__dict__.update(self.__dict__)
        for name in self.DICTS:
            new.__dict__[name] = dict(self.__dict__[name])
        return new

    # -- the proof ----------------------------------------------------------------------------------------------------

    def moved(self, copy: int, target: str, script: str) -> None:
        """A copy goes to another state; the move must be a row of the table, made by this script."""
        source = self.ledger.get(copy, "NONE")
        rows = [row for row in TRANSITIONS if row.source == source and row.target == target]
        if not any(script in row.script for row in rows):
            raise Broken(f"copy {copy}: {source} -> {target} by {script} stands nowhere in the table of legal states")
        self.ledger[copy] = target

    def places(self) -> dict[int, list[str]]:
        """Where each copy is, by what the keys hold; the final states leave no trace but a dead letter."""
        found: dict[int, list[str]] = {}
        for entry in self.body.values():
            found.setdefault(entry.copy, []).append("DUE")
        for id, entry in self.stream.items():
            row = self.pel.get(id)
            state = "WAITING" if row is None else "PARKED" if row.owner == RELEASED else "HELD"
            found.setdefault(entry.copy, []).append(state)
        for entry, _ in self.dead.values():
            found.setdefault(entry.copy, []).append("DEAD")
        return found

    # -- errors -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A command or script begins: its first write is still subject to the memory limit."""
        self.dirty = False

    def _read(self, key: str) -> None:
        if key in self.wrong:
            raise Refused("WRONGTYPE Operation against a key holding the wrong kind of value")

    def _write(self, key: str, grows: bool = False) -> None:
        if self.readonly:
            raise Refused("READONLY You can't write against a read only replica.")
        if grows and self.oom and not self.dirty:
            raise Refused("OOM command not allowed when used memory > 'maxmemory'.")
        self._read(key)
        self.dirty = True

    def pcall(self, command: Callable[..., Any], *args: Any) -> Any:
        """redis.pcall: an error is a value."""
        try:
            return command(*args)
        except Refused as error:
            return error

    def _grouped(self) -> int:
        self._read("stream")
        if self.group is None:
            raise Refused("NOGROUP No such key or consumer group")
        return self.group

    # -- the stream ---------------------------------------------------------------------------------------------------

    def xadd(self, entry: Entry) -> int:
        self._write("stream", grows=True)
        id, self.next_id = self.next_id, self.next_id + 1
        self.stream[id] = entry
        return id

    def xdel(self, id: int) -> None:
        self._write("stream")
        self.stream.pop(id, None)

    def xack(self, id: int) -> None:
        self._write("stream")
        self.pel.pop(id, None)

    def xadd_dead(self, entry: Entry, reason: str) -> None:
        self._write("dead", grows=True)
        id, self.next_id = self.next_id, self.next_id + 1
        self.dead[id] = (entry, reason)

    @step
    def xgroup_create(self) -> None:
        self._write("stream", grows=True)
        if self.group is None:
            self.group = 0

    def pending(self, id: int, owner: str | None = None) -> Row | None:
        """XPENDING k g id id 1 [owner]."""
        self._grouped()
        row = self.pel.get(id)
        return row if row is not None and owner in (None, row.owner) else None

    def _hold(self, id: int, row: Row) -> None:
        """The row is the youngest of those with its time."""
        self.pel.pop(id, None)
        self.pel[id] = row

    def idle(self, row: Row) -> int:
        """As XPENDING tells it: never negative, also when the clock went back."""
        return max(0, self.time - row.at)

    def xclaim(self, ids: list[int], owner: str, min_idle: int, count: int | None = None, at: int | None = None) -> Any:
        """XCLAIM [TIME at RETRYCOUNT count JUSTID]; rows without an entry are forgotten. Returns what was claimed."""
        self._write("stream")
        self._grouped()
        out = []
        for id in ids:
            row = self.pel.get(id)
            if row is None or self.idle(row) < min_idle:
                continue
            if id not in self.stream:
                del self.pel[id]
                continue
            self._hold(id, Row(owner, row.count + 1 if count is None else count, self.time if at is None else at))
            out.append((id, self.stream[id], row.count))
        return out

    def renewed(self, ids: list[int], owner: str) -> list[int]:
        """XCLAIM k g owner 0 ids JUSTID: idle 0, the count stays."""
        self._write("stream")
        self._grouped()
        kept = []
        for id in ids:
            row = self.pel[id]
            if id in self.stream:
                self._hold(id, Row(owner, row.count, self.time))
                kept.append(id)
            else:
                del self.pel[id]
        return kept

    def xreadgroup(self, owner: str, count: int, claim: int | None) -> list[tuple[int, Entry, int]]:
        """XREADGROUP [CLAIM ms]: what was idle for longest, then new entries; each with its earlier deliveries."""
        self._write("stream")
        last = self._grouped()
        out = []
        if claim is not None:
            idle = [(row.at, id) for id, row in self.pel.items() if self.idle(row) >= claim and id in self.stream]
            idle.sort(key=itemgetter(0))
            out = self.xclaim([id for _, id in idle[:count]], owner, claim)
        for id in [id for id in self.stream if id > last][: count - len(out)]:
            self.pel[id] = Row(owner, 1, self.time)
            self.group = id
            out.append((id, self.stream[id], 0))
        for _, entry, deliveries in out:
            self.moved(entry.copy, "HELD", "READ" if deliveries else "XREADGROUP")
        return out

    def claimable(self, min_idle: int) -> list[int]:
        """XPENDING IDLE, in id order."""
        self._grouped()
        return sorted(id for id, row in self.pel.items() if self.idle(row) >= min_idle)

    # -- the rest -----------------------------------------------------------------------------------------------------

    def put(self, key: str, name: str, value: Any) -> None:
        """HSET, ZADD and SET: what needs memory."""
        self._write(key, grows=True)
        self.__dict__[key][name] = value

    def drop(self, key: str, name: str | int) -> None:
        """HDEL, ZREM and DEL."""
        self._write(key)
        self.__dict__[key].pop(name, None)

    def get(self, key: str, name: str) -> Any:
        """HGET and GET; locks and the mover run out."""
        self._read(key)
        value = self.__dict__[key].get(name)
        if key == "locks" and value is not None:
            return value[0] if value[1] > self.time else None
        return value

    def expire(self) -> None:
        """What has run out is gone, also when the clock goes back later."""
        self.locks = {key: lock for key, lock in self.locks.items() if lock[1] > self.time}

    # -- what an operator or a failover does --------------------------------------------------------------------------

    @step
    def flushall(self) -> None:
        """Everything is gone; also what was promised."""
        ids = self.next_id
        self._nothing()
        self.next_id, self.history = ids, self.history + 1

    @step
    def del_stream(self) -> None:
        """The stream with its group is gone; what waits in the due set is not."""
        for entry in self.stream.values():
            self.ledger.pop(entry.copy, None)
        self.stream, self.pel, self.group = {}, {}, None
        self.history += 1

    @step
    def xgroup_destroy(self) -> None:
        """The group is gone: with the next one all that is in the stream waits again."""
        for entry in self.stream.values():
            self.ledger[entry.copy] = "WAITING"
        self.pel, self.group = {}, None
        self.history += 1

    @step
    def snapshot(self) -> Server:
        """What a replica has seen by now."""
        return self.copied()

    @step
    def restored(self, snapshot: Server) -> Server:
        """A failover to a replica that had only seen the snapshot; time does not go back."""
        new = snapshot.copied()
        new.time, new.history, new.next_id = self.time, self.history + 1, self.next_id
        new.up, new.oom, new.readonly, new.wrong = self.up, self.oom, self.readonly, self.wrong
        return new


__all__ = ["ANCIENT", "EPOCH", "FINAL", "RELEASED", "Broken", "Entry", "Refused", "Row", "Server", "Twin", "step"]
