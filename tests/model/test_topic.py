"""A topic and its groups on real servers, by random walks: what one group does is nothing to the others (I17), each
event is in each group in exactly one place (I1), and what is dropped although somebody needs it is counted.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamtask.broker import keys as names
from streamtask.broker.keys import QueueKeys, queue_keys, topic_keys
from streamtask.broker.link import SyncLink
from streamtask.broker.scripts import DONE, IGNORE, MOVE, PUBLISH, RELEASE, SETTLE, TRIM
from tests.servers import ALL, StartServer

TOPIC = "shop:orders"
CONSUMERS = ("a", "b")
MOST, FULL = 3, 10


class Walk:
    """One walk. `state[group][entry]` is where the model says an event is: unread, held, due, own, dead, done."""

    def __init__(self, link: SyncLink, seed: int) -> None:
        self.link, self.random = link, random.Random(seed)
        self.state: dict[str, dict[str, str]] = {}
        self.tokens: dict[tuple[str, str, str], tuple[str, int]] = {}  # (group, stream, entry) -> owner, count
        self.lost: Counter[str] = Counter()
        self.there: list[str] = []
        self.overflow = self.random.choice(["drop", "refuse"])
        link.call("FLUSHALL")
        link.call("CONFIG", "SET", "stream-node-max-entries", 2)  # Redis trims whole nodes
        for group in ("one", "two"):
            self.join(group, "0")

    # -- steps ---------------------------------------------------------------------------------------------------------

    def join(self, group: str, start: str) -> None:
        """A group is made, early or late."""
        self.link.call("XGROUP", "CREATE", TOPIC, group, start, "MKSTREAM")
        self.link.call("XGROUP", "CREATE", own(group).stream, group, "0", "MKSTREAM")
        self.state[group] = dict.fromkeys(self.there, "unread" if start == "0" else "done")

    def publish(self) -> None:
        """An event, within the limits."""
        args = (MOST, FULL, self.overflow, 0, "", "")
        status, said = self.link.run(PUBLISH, (TOPIC, names.lost(TOPIC)), (*args, "event_id", "e", "event_type", "T"))
        if status == -1:
            assert self.overflow == "refuse"
            assert said >= FULL
            return
        self._gone(dropping=self.overflow == "drop")
        self.there.append(said.decode())
        for where in self.state.values():
            where[said.decode()] = "unread"

    def trim(self) -> None:
        """A janitor's turn."""
        self.link.run(TRIM, (TOPIC, names.lost(TOPIC)), (MOST, FULL, self.overflow))
        self._gone(dropping=self.overflow == "drop")

    def read(self, group: str) -> None:
        """A worker of the group reads the topic and the group's own queue."""
        who, count = self.random.choice(CONSUMERS), self.random.randint(1, 2)
        command = ("XREADGROUP", "GROUP", group, who, "COUNT", count, "STREAMS", TOPIC, own(group).stream, ">", ">")
        for stream, entries in self.link.call(*command) or ():
            for entry, fields in entries:
                on_topic = stream == TOPIC.encode()
                self.tokens[group, stream.decode(), entry.decode()] = (who, 1)
                self.state[group][entry.decode() if on_topic else mid_of(fields)] = "held" if on_topic else "own"

    def take_over(self, group: str) -> None:
        """A lease has run out, and another worker has it."""
        if (found := self._token(group)) is not None:
            stream, entry, (owner, count) = found
            other = CONSUMERS[1 - CONSUMERS.index(owner)] if owner in CONSUMERS else "a"
            taken = self.link.call("XCLAIM", stream, group, other, 0, entry)
            if taken and taken[0]:
                self.tokens[group, stream, entry] = (other, count + 1)

    def late_verdict(self, group: str) -> None:
        """Who lost it says something all the same: nothing may come of it."""
        if (found := self._token(group)) is not None:
            stream, entry, (owner, count) = found
            keys = keys_of(group, stream)
            for token in ((owner, count + 1), ("nobody", count)):
                args = (group, token[0], keys.kind, "0", entry, token[1])
                assert self.link.run(DONE, [stream], args) == [0]

    def verdict(self, group: str) -> None:
        """Done, again, or dead, with the right token."""
        found = self._token(group)
        if found is None:
            return
        stream, entry, (owner, count) = found
        keys, mid = keys_of(group, stream), self._mid(stream, entry)
        op = self.random.choice("DRX")
        if keys.kind == "topic" and op == "D" and self.random.random() < 0.5:
            status = self.link.run(DONE, [stream], (group, owner, "topic", "0", entry, count))
        else:
            fields = ("event_id", "e", "event_type", "T", "id", mid, "meta", "{}")
            tail = (op, entry, count, mid, "0", 0, 0, 0, "", 0, 1, *((0,) if op == "D" else (len(fields), *fields)))
            all_keys = (keys.stream, keys.due, keys.body, keys.dead, keys.suspects, keys.where)
            status = self.link.run(SETTLE, all_keys, (group, owner, keys.kind, *tail))
        assert status == [1]
        del self.tokens[group, stream, entry]
        self.state[group][mid] = {"D": "done", "R": "due", "X": "dead"}[op]

    def release(self, group: str) -> None:
        """A worker stops: it goes back, and is pending still."""
        if (found := self._token(group)) is not None:
            stream, entry, (owner, count) = found
            keys = keys_of(group, stream)
            args = (group, owner, 0, entry, count, self.random.choice("01"), self._mid(stream, entry), "0")
            assert self.link.run(RELEASE, [stream, keys.suspects], args) == 1
            row = self.link.call("XPENDING", stream, group, entry, entry, 1)[0]
            self.tokens[group, stream, entry] = ("released", row[3])

    def move(self, group: str) -> None:
        """What is due goes into the group's own queue."""
        keys = own(group)
        script_keys = (keys.due, keys.body, keys.stream, keys.where, keys.mover)
        self.link.run(MOVE, script_keys, (group, "mover", 100, 1000, "1"))
        due = {member.decode() for member in self.link.call("ZRANGE", keys.due, 0, -1)}
        for mid, where in self.state[group].items():
            if where == "due" and mid not in due:
                self.state[group][mid] = "waiting"

    def ignore(self, group: str) -> None:
        """An event that a worker has no handler for: acknowledged, unless a sibling has one."""
        found = self._token(group)
        if found is None or found[0] != TOPIC:
            return
        stream, entry, (owner, count) = found
        handled = self.random.random() < 0.5
        if handled:
            self.link.call("HSET", own(group).types, "T", int(time.time() * 1000))
        (status,) = self.link.run(IGNORE, [stream, own(group).types], (group, owner, "topic", entry, count, "T"))
        self.link.call("DEL", own(group).types)
        assert (status > 0) == handled
        if status == -1:
            del self.tokens[group, stream, entry]
            self.state[group][entry] = "done"

    # -- what must hold ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Redis holds what the model says, for each group apart."""
        assert [id.decode() for id, _ in self.link.call("XRANGE", TOPIC, "-", "+")] == self.there
        for group, where in self.state.items():
            keys, said = (
                own(group),
                {state: set[str]() for state in ("unread", "held", "due", "waiting", "own", "dead")},
            )
            for id, state in where.items():
                said.setdefault(state, set()).add(id)
            assert self._unread(group) == said["unread"], group
            pending = {row[0].decode() for row in self.link.call("XPENDING", TOPIC, group, "-", "+", 1000)}
            assert pending == said["held"], group
            assert {m.decode() for m in self.link.call("ZRANGE", keys.due, 0, -1)} == said["due"], group
            assert {m.decode() for m in self.link.call("HKEYS", keys.body)} == said["due"], group
            in_own = {mid_of(fields) for _, fields in self.link.call("XRANGE", keys.stream, "-", "+")}
            assert in_own == said["waiting"] | said["own"], group
            dead = [mid_of(fields) for _, fields in self.link.call("XRANGE", keys.dead, "-", "+")]
            assert sorted(dead) == sorted(said["dead"]), group
        flat = self.link.call("HGETALL", names.lost(TOPIC))
        assert {k.decode(): int(v) for k, v in zip(flat[::2], flat[1::2], strict=True)} == +self.lost

    def _unread(self, group: str) -> set[str]:
        for flat in self.link.call("XINFO", "GROUPS", TOPIC):
            row = dict(zip(flat[::2], flat[1::2], strict=True))
            if row[b"name"] == group.encode():
                after = f"({row[b'last-delivered-id'].decode()}"
                return {id.decode() for id, _ in self.link.call("XRANGE", TOPIC, after, "+")}
        raise AssertionError(f"{group} is gone")

    def _gone(self, *, dropping: bool) -> None:
        """Entries that are not there any more were done with by all, or somebody's loss is counted."""
        now = {id.decode() for id, _ in self.link.call("XRANGE", TOPIC, "-", "+")}
        for id in [id for id in self.there if id not in now]:
            self.there.remove(id)
            for group, where in self.state.items():
                if where.get(id) in ("unread", "held"):
                    assert dropping, f"{group} needs {id}"
                    self.lost[group] += 1
                    where[id] = "lost"
                    self.tokens.pop((group, TOPIC, id), None)

    def _token(self, group: str) -> tuple[str, str, tuple[str, int]] | None:
        found = [(key, token) for key, token in self.tokens.items() if key[0] == group]
        if not found:
            return None
        (_, stream, entry), token = self.random.choice(found)
        return stream, entry, token

    def _mid(self, stream: str, entry: str) -> str:
        if stream == TOPIC:
            return entry
        return mid_of(self.link.call("XRANGE", stream, entry, entry)[0][1])


def own(group: str) -> QueueKeys:
    return queue_keys("ns", f"{TOPIC}/{group}")


def keys_of(group: str, stream: str) -> QueueKeys:
    return topic_keys(TOPIC, group) if stream == TOPIC else own(group)


def mid_of(fields: list[bytes]) -> str:
    """The message id that an entry of an own queue, or a dead letter, carries."""
    return dict(zip(fields[::2], fields[1::2], strict=True))[b"id"].decode()


def walk(link: SyncLink, seed: int, steps: int) -> None:
    """One random walk; each step is checked."""
    made = Walk(link, seed)
    late = made.random.randrange(steps)
    for step in range(steps):
        if step == late:
            made.join("late", made.random.choice("0$"))
        group = made.random.choice(list(made.state))
        of_group: list[Callable[[str], None]] = [
            made.read, made.read, made.verdict, made.verdict, made.take_over, made.late_verdict, made.release,
            made.move, made.ignore,
        ]  # fmt: skip
        act: Any = made.random.choice([made.publish, made.publish, made.publish, made.trim, *of_group])
        act(*((group,) if act in of_group else ()))
        try:
            made.check()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, step {step}, {act.__name__} {group}: {error}") from error


@pytest.fixture(params=ALL)
def link(request: pytest.FixtureRequest, own_server: StartServer) -> Iterator[SyncLink]:
    """To a server of its own."""
    link = SyncLink(own_server(request.param).url)
    yield link
    link.close()


def test_groups_of_a_topic_are_nothing_to_each_other(link: SyncLink) -> None:
    """The same walks at each run, which must tell of a change, not of luck."""
    for seed in range(15):
        walk(link, seed, 60)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_groups_of_a_topic_are_nothing_to_each_other_for_long(link: SyncLink) -> None:
    first = int(os.environ.get("STREAMTASK_TEST_SEED") or random.SystemRandom().randrange(10**9))
    print(f"\nSTREAMTASK_TEST_SEED={first}", flush=True)
    for seed in range(first, first + 400):
        walk(link, seed, 100)
