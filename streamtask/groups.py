"""What operators do to one group of a topic: rewind it, make it, let it leave. Conversations as data (see
`sender.Steps`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streamtask.broker import keys as names
from streamtask.broker.events import check_groups
from streamtask.broker.keys import queue_keys, topic_keys
from streamtask.broker.link import Command, NoScriptError, call_of
from streamtask.broker.replies import is_no_group, must, pairs
from streamtask.broker.scripts import LEAVE, REWIND, Script
from streamtask.broker.sender import Steps
from streamtask.topics import count, parts

#: Events that a plan counts at most, and pending ones.
COUNTED = 100_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rewind to `start` would do to a group that stands at `place`. `again` events come again (at least so many
    unless `exact`), `pending` of which it is handling now. `first` is the topic's first entry when older ones are gone.
    """

    start: str
    place: str
    again: int
    exact: bool
    pending: int
    first: str | None


def plan(topic: str, group: str, start: str) -> Steps[Plan]:
    """What a rewind would do; raises UnknownGroup."""
    yield from check_groups(topic, [group])
    place = yield from _place(topic, group)
    again, exact = yield from count(topic, start, place, COUNTED)
    rows, stream = yield [("XPENDING", topic, group, f"({start}", place, COUNTED), ("XINFO", "STREAM", topic)]
    facts, first = pairs(must(stream)), None
    if facts["first-entry"] and facts.get("entries-added", 0) > facts["length"]:
        first = facts["first-entry"][0].decode()
    return Plan(start, place, again, exact, len(must(rows)), first if first and parts(start) < parts(first) else None)


def rewind(topic: str, group: str, start: str) -> Steps[bool]:
    """Let the group have all after `start` again; False when it is not beyond that. Raises UnknownGroup."""
    said: bytes = yield from _run(REWIND, call_of(REWIND, [topic], (group, start)))
    if said == b"no group":
        yield from check_groups(topic, [group])
    return said != b""


def join(namespace: str, topic: str, group: str, start: str) -> Steps[tuple[bool, str]]:
    """Make a group that begins after `start`, with its own queue, as its first worker would; whether it was made, and
    where it stands.
    """
    own = queue_keys(namespace, f"{topic}/{group}")
    made, behind, *known = yield [
        ("XGROUP", "CREATE", topic, group, start, "MKSTREAM"),
        ("XGROUP", "CREATE", own.stream, group, "0", "MKSTREAM"),
        ("SADD", names.queues(namespace), f"{topic}/{group}"),
        ("SADD", names.topics(namespace), topic),
        ("SADD", names.NAMESPACES, namespace),
    ]
    for reply in (made, behind):
        if not (isinstance(reply, Exception) and "BUSYGROUP" in str(reply)):
            must(reply)
    for reply in known:
        must(reply)
    place = yield from _place(topic, group)
    return not isinstance(made, Exception), place


@dataclass(frozen=True, slots=True)
class Left:
    """What became of a wish to leave, and what there was: events pending, in the own queue, due, dead letters."""

    done: bool
    pending: int
    waiting: int
    due: int
    dead: int


def leave(namespace: str, topic: str, group: str, force: bool) -> Steps[Left]:
    """Let a group leave its topic, unless events are pending or wait in its own queue, which `force` gives up. Its dead
    letters stay, and so does the own queue's name while there are any.
    """
    own = queue_keys(namespace, f"{topic}/{group}")
    others = (
        own.body,
        own.conf,
        topic_keys(topic, group).conf,
        own.where,
        own.suspects,
        own.mover,
        own.types,
        own.ticks,
    )
    script_keys = (topic, own.stream, own.due, own.dead, names.lost(topic), *others)
    done, pending, waiting, due, dead = yield from _run(LEAVE, call_of(LEAVE, script_keys, (group, int(force))))
    if done and not dead:
        must((yield [("SREM", names.queues(namespace), f"{topic}/{group}")])[0])
    return Left(done == 1, pending, waiting, due, dead)


def _place(topic: str, group: str) -> Steps[str]:
    """The last entry that the group was given; "0-0" when it is not there."""
    (found,) = yield [("XINFO", "GROUPS", topic)]
    for row in [] if is_no_group(found) else map(pairs, must(found)):
        if row["name"] == group.encode():
            place: str = row["last-delivered-id"].decode()
            return place
    return "0-0"


def _run(script: Script, call: Command) -> Steps[Any]:
    """Run a script, also on a server that does not know it yet."""
    (reply,) = yield [call]
    if isinstance(reply, NoScriptError):
        _, reply = yield [("SCRIPT", "LOAD", script.text), call]
    return must(reply)
