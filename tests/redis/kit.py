"""One queue on a real server, seen through plain commands: what the tests of the scripts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from streamtask.broker.keys import RELEASED, queue_keys
from streamtask.broker.link import Arg, ResponseError, SyncLink
from streamtask.broker.scripts import DONE, MARK, RELEASE, RENEW, SETTLE, Script

#: A lease that no test outlives, in ms.
LONG = 60_000


class Row(NamedTuple):
    """One row of the pending list."""

    owner: str
    deliveries: int


class Item(NamedTuple):
    """One verdict as SETTLE takes it; times in ms. `unique` and `result` are keys, "" for none."""

    op: str
    id: str
    count: int = 1
    mid: str = "m"
    marked: bool = False
    unique: str = ""
    unique_ttl: int = LONG
    result: str = ""
    value: bytes | str = ""
    ttl: int = LONG
    delay: int = 0
    fields: Sequence[Arg] = ()


class Stage:
    """The queue `ns:q`, its keys, and a connection to look at them."""

    def __init__(self, url: str) -> None:
        self.url, self.link, self.keys = url, SyncLink(url), queue_keys("ns", "q")

    def __call__(self, *command: Arg) -> Any:
        """One command, its raw reply; errors are raised."""
        return self.link.call(*command)

    def run(self, script: Script, keys: Sequence[str], *args: Arg) -> Any:
        """Run a script."""
        return self.link.run(script, keys, args)

    # -- the stream --------

    def group(self) -> None:
        """Make the stream and its group, as every worker does first."""
        try:
            self("XGROUP", "CREATE", self.keys.stream, self.keys.group, "0", "MKSTREAM")
        except ResponseError as error:
            assert "BUSYGROUP" in str(error)  # noqa: PT017 - anything else is no reason to go on

    def add(self, *mids: str) -> list[str]:
        """Add a message for each id; gives the entry ids."""
        ids = [self("XADD", self.keys.stream, "*", "task", "t", "id", mid, "args", "{}") for mid in mids or ("m",)]
        return [id.decode() for id in ids]

    def read(self, me: str = "w1", count: int = 10_000) -> list[str]:
        """Read new entries as a worker; gives their ids."""
        reply = self("XREADGROUP", "GROUP", self.keys.group, me, "COUNT", count, "STREAMS", self.keys.stream, ">")
        return [entry[0].decode() for entry in reply[0][1]] if reply else []

    def hold(self, *mids: str, me: str = "w1") -> list[str]:
        """Add and read messages: they are held by `me` with count 1."""
        self.group()
        ids = self.add(*mids)
        assert self.read(me) == ids
        return ids

    def hold_at(self, *ids: str, me: str = "w1") -> list[str]:
        """The same with entry ids of one's choice, in rising order."""
        self.group()
        for id in ids:
            self("XADD", self.keys.stream, id, "task", "t", "id", id, "args", "{}")
        assert self.read(me) == list(ids)
        return list(ids)

    def take_over(self, id: str, me: str) -> None:
        """What happens when a lease is over: another worker's read takes the entry, and its count rises."""
        assert self("XCLAIM", self.keys.stream, self.keys.group, me, 0, id)

    def pending(self) -> dict[str, Row]:
        """Who holds what."""
        rows = self("XPENDING", self.keys.stream, self.keys.group, "-", "+", 10_000)
        return {row[0].decode(): Row(row[1].decode(), row[3]) for row in rows}

    def idle(self, id: str) -> int:
        """How long the entry's row has been left alone, in ms."""
        (row,) = self("XPENDING", self.keys.stream, self.keys.group, id, id, 1)
        idle: int = row[2]
        return idle

    def entries(self, key: str = "") -> list[tuple[str, dict[bytes, bytes]]]:
        """What a stream holds."""
        found = self("XRANGE", key or self.keys.stream, "-", "+")
        return [(entry[0].decode(), dict(zip(entry[1][::2], entry[1][1::2], strict=True))) for entry in found]

    def ids(self, key: str = "") -> list[str]:
        """The ids of a stream's entries."""
        return [id for id, _ in self.entries(key)]

    def due(self) -> dict[str, int]:
        """The due set: member to ms."""
        flat = self("ZRANGE", self.keys.due, 0, -1, "WITHSCORES")
        return {member.decode(): int(float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)}

    def hash(self, key: str) -> dict[str, bytes]:
        """A hash."""
        flat = self("HGETALL", key)
        return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}

    def time(self) -> int:
        """The server's time in ms."""
        seconds, micros = self("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def back_to_released(self, id: str, count: int) -> None:
        """Put a row where RELEASE puts it."""
        self("XCLAIM", self.keys.stream, self.keys.group, RELEASED, 0, id, "TIME", 1, "RETRYCOUNT", count, "JUSTID")

    # -- the scripts of a delivery --------

    def settle(self, *items: Item, me: str = "w1", kind: str = "task") -> list[Any]:
        """SETTLE; gives its statuses."""
        keys = self.keys
        names = [keys.stream, keys.due, keys.body, keys.dead, keys.suspects, keys.where]
        args: list[Arg] = []

        def number(key: str) -> int:
            if not key:
                return 0
            names.append(key)
            return len(names)

        for item in items:
            args += (item.op, item.id, item.count, item.mid, int(item.marked), number(item.unique), item.unique_ttl)
            args += (number(item.result), item.value, item.ttl, item.delay, len(item.fields), *item.fields)
        found: list[Any] = self.run(SETTLE, names, self.keys.group, me, kind, *args)
        return found

    def done(self, *tokens: Arg, me: str = "w1", kind: str = "task", ackdel: str | None = None) -> list[int]:
        """DONE; gives its statuses."""
        found: list[int] = self.run(DONE, [self.keys.stream], self.keys.group, me, kind, ackdel or self.ackdel, *tokens)
        return found

    def renew(self, *tokens: Arg, me: str = "w1") -> list[int]:
        """RENEW; gives its statuses without the time."""
        found: list[int] = self.run(RENEW, [self.keys.stream], self.keys.group, me, *tokens)
        return found[1:]

    def mark(self, *triples: Arg, me: str = "w1") -> list[int]:
        """MARK; gives its statuses."""
        found: list[int] = self.run(MARK, [self.keys.stream, self.keys.suspects], self.keys.group, me, *triples)
        return found

    def release(self, *items: Arg, me: str = "w1", before: int = 0) -> int:
        """RELEASE of id, count, started, mid, marked; gives how many were given back."""
        found: int = self.run(RELEASE, [self.keys.stream, self.keys.suspects], self.keys.group, me, before, *items)
        return found

    @property
    def ackdel(self) -> str:
        """What DONE is told: 1 when the server has XACKDEL, else 0."""
        return "1" if self("COMMAND", "LIST", "FILTERBY", "PATTERN", "xackdel") else "0"


def fill(stage: Stage) -> None:
    """Fill a server with `maxmemory` to its limit: from here on it refuses what needs memory."""
    stage("CONFIG", "SET", "maxmemory", "1")  # bytes; all that is there stays
    try:
        stage("SET", "no", "room")
    except ResponseError as error:
        assert "maxmemory" in str(error)  # noqa: PT017 - the fact that the test rests on
    else:
        raise AssertionError("the server took a write above maxmemory")
