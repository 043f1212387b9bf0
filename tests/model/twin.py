"""A real server that does what the model's server does: the same scripts, the same answers, the same keys afterwards.

Nobody waits for time to pass: when the model's clock moves, all that the real server keeps as a time (deliveries, due
times, what runs out) is moved by as much. One ms of the model is SCALE ms there, so that what the steps themselves take
is lost in the rounding, and no result depends on a machine's speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import OutOfMemoryError, ReadOnlyError

from streamtask.broker.keys import GROUP
from streamtask.broker.link import Arg, ResponseError
from streamtask.broker.reader import GIVEN_BACK
from streamtask.broker.scripts import BURY, DEFER, ENQ, MOVE, READ, REPLAY, SWEEP, TICK
from tests.redis import kit

from .scripts import MOVE_LIMIT, MOVER_LOCK, UNIQUE_TTL, Back, Item
from .server import RELEASED, Entry, Refused, Row, Server
from .view import Differs, Seen, compare, encoded, lock, member_of

#: Milliseconds of the real server for one of the model.
SCALE = 500
#: How far a real time may be off, in ms: less than any two times of the model differ by, more than a step ever takes.
SLACK = 20_000
#: Errors of which redis-py takes the code off.
CODES = {OutOfMemoryError: "OOM", ReadOnlyError: "READONLY"}
#: Where a key's value waits while the key has a wrong type.
SHELF = "shelf:"


class Follower:
    """Implements `server.Twin` on the server at `url`, which belongs to it alone."""

    def __init__(self, url: str) -> None:
        self.stage = kit.Stage(url)
        self.link = self.stage.link
        self.native = self.stage("COMMAND", "LIST", "FILTERBY", "PATTERN", "xackdel") != []
        self.steps = 0

    def begin(self, server: Server) -> None:
        """Start anew beside a model's server that is new, too."""
        self._switch(False, False, frozenset())
        self._emptied()
        self.real: dict[int, str] = {}  # entry ids
        self.letters: dict[int, str] = {}  # those of dead letters
        self.ticks: dict[int, str] = {}
        self.dump: list[tuple[bytes, int, bytes]] = []
        self.time = server.time
        self.flags: tuple[bool, bool, frozenset[str]] = (False, False, frozenset())
        self.xgroup_create(server)
        server.twin = self

    def close(self) -> None:
        """Leave the server as others want it."""
        self._switch(False, False, frozenset())
        self.link.close()

    # -- each step ----------------------------------------------------------------------------------------------------

    def before(self, server: Server) -> None:
        """Time has passed, or a switch was thrown, since the last step."""
        flags = server.oom, server.readonly, server.wrong
        if server.time != self.time:
            self._switch(False, False, frozenset())
            self._age(server)
            self.time = server.time
        self._switch(*flags)

    def after(self, server: Server, step: str, args: tuple[Any, ...], reply: Any) -> None:
        """The same here; then all keys must agree."""
        self.steps += 1
        if step in ("flushall", "del_stream", "xgroup_destroy", "snapshot", "restored"):
            self._switch(False, False, frozenset())
        found: Any
        try:
            found = getattr(self, step)(server, *args)
        except ResponseError as error:
            found = CODES.get(type(error), str(error))
        expected = str(reply) if isinstance(reply, Refused) else self._expected(step, reply)
        if _first(found) != _first(expected):
            raise Differs(f"{step}{args}: the model says {expected}, {self.stage.url} {found}")
        if step == "restored":
            server = reply
            self._age(server)  # the snapshot is older by now than its times say
        self._switch(server.oom, server.readonly, server.wrong)
        compare(self, server)

    def _expected(self, step: str, reply: Any) -> Any:
        """What the real script should say, as far as it can be compared."""
        if step in ("read", "read_new"):
            found = reply[1] if step == "read" else reply
            return [(entry.copy, count) for _, entry, count in found]
        if step == "sweep":
            return [id for id, _, _ in reply]
        if step == "renew":
            return reply[1]
        return None if step in ("add", "xgroup_create", "restored", "snapshot") else reply

    def _switch(self, oom: bool, readonly: bool, wrong: frozenset[str]) -> None:
        """Make the real server refuse what the model's refuses."""
        had = getattr(self, "flags", (True, True, frozenset()))
        if had == (oom, readonly, wrong):
            return
        self.flags = (oom, readonly, wrong)
        if had[1]:
            self.stage("REPLICAOF", "NO", "ONE")
        if had[0]:
            self.stage("CONFIG", "SET", "maxmemory", 0)
        for name in had[2] - wrong:
            self._mend(getattr(self.stage.keys, name))
        for name in wrong - had[2]:
            self._spoil(getattr(self.stage.keys, name))
        if oom:
            self.stage("CONFIG", "SET", "maxmemory", 1)
        if readonly:
            self.stage("REPLICAOF", "127.0.0.1", 1)  # where nobody listens

    def _spoil(self, key: str) -> None:
        if self.stage("EXISTS", key):
            self.stage("RENAME", key, SHELF + key)
        self.stage("SETBIT", key, 7, 1)

    def _mend(self, key: str) -> None:
        self.stage("DEL", key)
        if self.stage("EXISTS", SHELF + key):
            self.stage("RENAME", SHELF + key, key)

    def _age(self, server: Server) -> None:
        """Everything is as old as in the model."""
        stage, now = self.stage, self.stage.time()
        for id, row in server.pel.items():
            if row.owner != RELEASED:
                at = now - server.idle(row) * SCALE
                name = self.real[id]
                stage(
                    "XCLAIM",
                    stage.keys.stream,
                    GROUP,
                    row.owner,
                    0,
                    name,
                    "TIME",
                    at,
                    "RETRYCOUNT",
                    row.count,
                    "JUSTID",
                )
        for member, due in server.due.items():
            stage("ZADD", stage.keys.due, "XX", now + (due - server.time) * SCALE, member_of(self.real, member))
        for name in Seen(self, server).locks():  # they agreed before; what is missing in the model has run out since
            _, until = server.locks.get(name, ("", 0))
            stage("PEXPIRE", lock(name), max(0, until - server.time) * SCALE)

    def _emptied(self) -> None:
        """All keys go; the next entry id must not be one that was there before."""
        self.stage("FLUSHALL")
        self._later()

    def _later(self) -> None:
        now = self.stage.time()
        while self.stage.time() == now:
            pass

    def _ms(self, server: Server, time: int, slack: int = 0) -> int:
        """A time of the model as a time of the real server."""
        return self.stage.time() + max(-(10**9), min(10**9, time - server.time)) * SCALE + slack

    # -- the workers' scripts -----------------------------------------------------------------------------------------

    def done(self, server: Server, me: str, tokens: Sequence[tuple[int, int]]) -> Any:
        return self.stage.done(*(part for id, count in tokens for part in (self.real[id], count)), me=me)

    def settle(self, server: Server, me: str, items: Sequence[Item]) -> Any:
        found = [
            kit.Item(
                item.op,
                self.real[item.id],
                item.count,
                item.mid,
                item.marked,
                lock(item.unique) if item.unique else "",
                UNIQUE_TTL,
                self.stage.keys.result(item.mid) if item.state else "",
                item.state,
                delay=item.delay * SCALE,
                fields=() if item.op == "D" else encoded(item.entry, item.reason if item.op == "X" else ""),
            )
            for item in items
        ]
        return self.stage.settle(*found, me=me)

    def renew(self, server: Server, me: str, tokens: Sequence[tuple[int, int]]) -> Any:
        return self.stage.renew(*(part for id, count in tokens for part in (self.real[id], count)), me=me)

    def mark(self, server: Server, me: str, triples: Sequence[tuple[int, int, str]]) -> Any:
        return self.stage.mark(*(part for id, count, mid in triples for part in (self.real[id], count, mid)), me=me)

    def release(self, server: Server, me: str, items: Sequence[Back]) -> Any:
        n = 0
        for item in items:
            before = self._ms(server, item.before, -SLACK) if item.before else 0
            args = (self.real[item.id], item.count, int(item.started), item.mid, int(item.marked))
            n += self.stage.release(*args, me=me, before=before)
        return n

    def read(self, server: Server, me: str, count: int, lease: int, deadline: int) -> Any:
        args = (GROUP, me, count, lease * SCALE, self._ms(server, deadline, SLACK), int(self.native))
        return self._taken(self.stage.run(READ, [self.stage.keys.stream], *args)[2])

    def read_new(self, server: Server, me: str, count: int) -> Any:
        claim = ("CLAIM", GIVEN_BACK) if self.native else ()
        command = ("XREADGROUP", "GROUP", GROUP, me, "COUNT", count, *claim, "STREAMS", self.stage.keys.stream, ">")
        reply = self.stage(*command)
        return self._taken(reply[0][1] if reply else [])

    def _taken(self, entries: Sequence[Any]) -> list[tuple[int, int]]:
        return [(int(entry[1][5]), int(entry[3]) if len(entry) > 2 else 0) for entry in entries]

    def sweep(self, server: Server, most: int, idle: int) -> Any:
        names = {real: id for id, real in self.real.items()}
        flat = self.stage.run(SWEEP, [self.stage.keys.stream], GROUP, most, idle * SCALE, "-", 1000)[1:]
        return [names[id.decode()] for id in flat[::6]]

    def bury(self, server: Server, id: int, row: Row, mid: str, unique: str, result: bool) -> Any:
        keys = self.stage.keys
        names = [keys.stream, keys.dead, keys.suspects, keys.where, lock(unique), keys.result(mid)]
        args = (self.real[id], row.owner, row.count, mid, 5 if unique else 0, 6 if result else 0, "dead", kit.LONG)
        return self.stage.run(BURY, names, GROUP, "task", 7000, *args, 2, "dead_reason", "poison")[0]

    def move(self, server: Server, me: str) -> Any:
        keys = self.stage.keys
        names = [keys.due, keys.body, keys.stream, keys.where, keys.mover]
        return self.stage.run(MOVE, names, GROUP, me, MOVE_LIMIT, MOVER_LOCK, 1)[0]

    # -- producers, beats, operators ----------------------------------------------------------------------------------

    def add(self, server: Server, entry: Entry) -> None:
        self.stage("XADD", self.stage.keys.stream, "*", *encoded(entry))

    def enq(self, server: Server, entry: Entry, ttl: int) -> Any:
        keys = [self.stage.keys.stream, lock(entry.unique)]
        return _accepted(self.stage.run(ENQ, keys, entry.mid, 1, ttl * SCALE, *encoded(entry)))

    def defer(self, server: Server, entry: Entry, delay: int, ttl: int = 0) -> Any:
        keys = [self.stage.keys.due, self.stage.keys.body]
        locks: list[Arg] = [0]
        if entry.unique:
            keys, locks = [*keys, lock(entry.unique)], [1, ttl * SCALE]
        return _accepted(self.stage.run(DEFER, keys, entry.mid, delay * SCALE, 0, *locks, *encoded(entry)))

    def tick(self, server: Server, schedule: str, expected: int | None, new: int, entries: Sequence[Entry]) -> Any:
        keys = [self.stage.keys.stream, self.stage.keys.ticks]
        known = "" if expected is None else self.ticks[expected]
        following = str(self._ms(server, new))
        messages = [part for e in entries for part in (e.mid, len(encoded(e)), *encoded(e))]
        status, last, _, _ = self.stage.run(TICK, keys, schedule, known, following, 0, *messages)
        if status > 0:
            self.ticks[server.time if status == 2 else new] = last.decode()
        names = {name: time for time, name in self.ticks.items()}
        return status, names.get(last.decode(), last)

    def replay(self, server: Server, dead: int, copy: int, ttl: int) -> Any:
        keys = self.stage.keys
        found = [entry for entry in server.stream.values() if entry.copy == copy]
        fields = self.stage("XRANGE", keys.dead, self.letters[dead], self.letters[dead])
        mid, unique = (fields[0][1][3].decode(), fields[0][1][7].decode()) if fields else ("", "")
        names = [keys.dead, keys.stream, keys.result(mid), *([lock(unique)] if unique else [])]
        new = encoded(found[0]) if found else ("task", "t")
        reply = self.stage.run(REPLAY, names, self.letters[dead], mid, ttl * SCALE, 0, *new)
        return reply not in (b"0", b"-1")

    # -- faults -------------------------------------------------------------------------------------------------------

    def xgroup_create(self, server: Server) -> None:
        try:
            self.stage("XGROUP", "CREATE", self.stage.keys.stream, GROUP, 0, "MKSTREAM")
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def flushall(self, server: Server) -> None:
        self._emptied()

    def del_stream(self, server: Server) -> None:
        self.stage("DEL", self.stage.keys.stream)
        self._later()

    def xgroup_destroy(self, server: Server) -> None:
        if self.stage("EXISTS", self.stage.keys.stream):
            self.stage("XGROUP", "DESTROY", self.stage.keys.stream, GROUP)

    def snapshot(self, server: Server) -> None:
        keys = self.stage("KEYS", "*")
        self.dump = [(key, max(0, self.stage("PTTL", key)), self.stage("DUMP", key)) for key in keys]

    def restored(self, server: Server, _snapshot: Server) -> None:
        self._emptied()
        for key, ttl, value in self.dump:
            self.stage("RESTORE", key, ttl, value)


def _first(reply: Any) -> Any:
    """An error's first word; anything else as it is."""
    if isinstance(reply, list):
        return [_first(part) for part in reply]
    if isinstance(reply, bytes):
        reply = reply.decode()
    return reply.split(" ")[0].removeprefix("-") if isinstance(reply, str) else reply


def _accepted(reply: Sequence[Any]) -> str:
    """As the model's senders say it."""
    status, value = reply
    return {1: "", 2: "="}.get(status, value.decode() if isinstance(value, bytes) else "")
