"""What a real queue holds, beside what the model says that it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamtask.broker.keys import GROUP
from streamtask.broker.link import ResponseError

from .server import RELEASED, Entry, Server

if TYPE_CHECKING:
    from .twin import Follower

PREFIX = "{ns:q}:unique:"


class Differs(AssertionError):
    """A real server did otherwise than the model."""


def lock(unique: str) -> str:
    """The key of a unique lock."""
    return PREFIX + unique


def encoded(entry: Entry | None, reason: str = "") -> list[str]:
    """The fields of an entry, and of a dead letter when there is a reason."""
    assert entry is not None
    fields = ["task", "t", "id", entry.mid, "copy", str(entry.copy), "unique", entry.unique]
    fields += ["rest", repr(entry[2:3] + entry[4:])]
    return [*fields, "dead_reason", reason] if reason else fields


def member_of(real: dict[int, str], member: str) -> str:
    """The due set's name of a message, which for the second one of an id holds the entry that it was."""
    mid, at, entry = member.partition("@")
    return f"{mid}@{real[int(entry)]}" if at else mid


def compare(twin: Follower, server: Server) -> None:
    """Every key; raises Differs."""
    seen, expected = Seen(twin, server), Expected(twin, server)
    for name in NAMES:
        found, wanted = getattr(seen, name)(), getattr(expected, name)()
        if found != wanted:
            raise Differs(f"{name}: the model has {wanted}, {twin.stage.url} {found}")


NAMES = (
    "stream",
    "group",
    "waiting",
    "pending",
    "due",
    "body",
    "dead",
    "suspects",
    "where",
    "locks",
    "results",
    "ticks",
)


class Seen:
    """The real side. `stream` and `dead` come first, for they learn the ids of new entries."""

    def __init__(self, twin: Follower, server: Server) -> None:
        self.twin, self.server, self.stage = twin, server, twin.stage
        self.now = self.stage.time()

    def _key(self, name: str) -> str:
        key: str = getattr(self.stage.keys, name)
        return f"shelf:{key}" if name in self.server.wrong else key

    def stream(self) -> list[list[str]]:
        found = self._entries("stream")
        ids = dict(zip((e.copy for e in self.server.stream.values()), self.server.stream, strict=True))
        for id, fields in found:
            if (known := ids.get(int(fields[5]))) is not None:
                self.twin.real[known] = id
        return [fields for _, fields in found]

    def dead(self) -> list[list[str]]:
        found = self._entries("dead")
        for model, (id, _) in zip(self.server.dead, found, strict=False):
            self.twin.letters[model] = id
        return [fields for _, fields in found]

    def _entries(self, name: str) -> list[tuple[str, list[str]]]:
        entries = self.stage("XRANGE", self._key(name), "-", "+")
        return [(id.decode(), [part.decode() for part in fields]) for id, fields in entries]

    def group(self) -> bool:
        try:
            return bool(self.stage("XINFO", "GROUPS", self.stage.keys.stream))
        except ResponseError:
            return False

    def waiting(self) -> list[str]:
        if not self.group():
            return []
        ((*_, info),) = [self.stage("XINFO", "GROUPS", self.stage.keys.stream)]
        last = dict(zip(info[::2], info[1::2], strict=True))[b"last-delivered-id"].decode()
        entries = self.stage("XRANGE", self.stage.keys.stream, f"({last}", "+")
        return [id.decode() for id, _ in entries]

    def pending(self) -> dict[str, tuple[str, int, bool]]:
        if not self.group():
            return {}
        rows = self.stage("XPENDING", self.stage.keys.stream, GROUP, "-", "+", 10_000)
        model = {self.twin.real.get(id): row for id, row in self.server.pel.items()}
        return {
            id.decode(): (owner.decode(), count, self._near(idle, model.get(id.decode())))
            for id, owner, idle, count in rows
        }

    def _near(self, idle: int, row: Any) -> bool:
        from .twin import SCALE, SLACK

        if row is None or row.owner == RELEASED:
            return True
        return abs(idle - self.server.idle(row) * SCALE) < SLACK

    def due(self) -> dict[str, bool]:
        from .twin import SCALE, SLACK

        flat = self.stage("ZRANGE", self._key("due"), 0, -1, "WITHSCORES")
        found = {member.decode(): float(score) for member, score in zip(flat[::2], flat[1::2], strict=True)}
        time = self.server.time
        model = {member_of(self.twin.real, member): at for member, at in self.server.due.items()}
        return {m: abs(at - self.now - (model.get(m, 0) - time) * SCALE) < SLACK for m, at in found.items()}

    def body(self) -> dict[str, bytes]:
        return self.stage.hash(self._key("body"))

    def suspects(self) -> dict[str, bytes]:
        return self.stage.hash(self._key("suspects"))

    def where(self) -> dict[str, bytes]:
        return self.stage.hash(self._key("where"))

    def locks(self) -> dict[str, str]:
        keys = sorted(key.decode() for key in self.stage("KEYS", PREFIX + "*"))
        values = ((key, self.stage("GET", key)) for key in keys)
        return {key.removeprefix(PREFIX): value.decode() for key, value in values if value is not None}

    def results(self) -> dict[str, str]:
        prefix = self.stage.keys.result("")
        return {
            key.decode().removeprefix(prefix): self.stage("GET", key).decode()
            for key in self.stage("KEYS", prefix + "*")
        }

    def ticks(self) -> dict[str, str]:
        return {name: value.decode() for name, value in self.stage.hash(self.stage.keys.ticks).items()}


class Expected:
    """The model's side, in the same form."""

    def __init__(self, twin: Follower, server: Server) -> None:
        self.server, self.real, self.known_ticks = server, twin.real, twin.ticks

    def stream(self) -> list[list[str]]:
        return [encoded(entry) for entry in self.server.stream.values()]

    def dead(self) -> list[list[str]]:
        return [encoded(entry, reason) for entry, reason in self.server.dead.values()]

    def group(self) -> bool:
        return self.server.group is not None

    def waiting(self) -> list[str]:
        last = self.server.group
        return [] if last is None else [self.real[id] for id in self.server.stream if id > last]

    def pending(self) -> dict[str, tuple[str, int, bool]]:
        return {self.real[id]: (row.owner, row.count, True) for id, row in sorted(self.server.pel.items())}

    def due(self) -> dict[str, bool]:
        return {member_of(self.real, member): True for member in self.server.due}

    def body(self) -> dict[str, bytes]:
        def netstrings(entry: Entry) -> bytes:
            return b"".join(b"%d:%b," % (len(part), part.encode()) for part in encoded(entry))

        return {member_of(self.real, member): netstrings(entry) for member, entry in self.server.body.items()}

    def suspects(self) -> dict[str, bytes]:
        found = self.server.suspects.items()
        return {mid: f"{marks} {self.real[id]} {count} {me}".encode() for mid, (marks, (id, count, me)) in found}

    def where(self) -> dict[str, bytes]:
        return {mid: self.real[id].encode() for mid, id in self.server.where.items()}

    def locks(self) -> dict[str, str]:
        found = self.server.locks.items()
        return {unique: mid for unique, (mid, until) in sorted(found) if until > self.server.time}

    def results(self) -> dict[str, str]:
        return dict(self.server.results)

    def ticks(self) -> dict[str, str]:
        return {name: self.known_ticks[time] for name, time in self.server.ticks.items()}
