"""Dead letters: read, choose, replay, purge. A queue's dead letters are a stream; an entry holds what the message held,
and `dead_*` fields that say what became of it. Of a group on a topic they are events, which go back into the group's
own queue, so that no other group gets them.

Conversations are data (see `sender.Steps`), so either client can carry them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json

from streamtask.broker.keys import QueueKeys
from streamtask.broker.link import Command, NoScriptError, call_of
from streamtask.broker.scripts import REPLAY
from streamtask.broker.sender import Steps
from streamtask.context import from_ms
from streamtask.envelope import AnyMessage, EventMessage, decode_message, short_field
from streamtask.message import Unreadable, decode

#: Dead letters read in one round trip; each may be as large as a message may be.
PAGE = 100
#: Milliseconds for which a replayed message holds its unique key at most: 7 days.
UNIQUE_TTL = 7 * 86_400_000
#: Meta that tells of the former life: a replay begins anew, so that `expires` and the retries count from then on.
_FORMER_LIFE = ("attempt", "errors", "first_seen", "sent_at", "deferred")
_END_OF_TIME = 250_000_000_000_000  # ms; a datetime holds no more
_OWN = ("group", "stream_id", "id", "reason", "error", "traceback", "deliveries", "attempt", "at")


class NotReplayable(Exception):
    """This dead letter cannot go back as it is; the text says why."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter. `fields` are the message's own, flat; `problem` says why they are no message, if so. `task` is
    an event's type, and `args` its payload.
    """

    entry_id: str
    queue: str
    id: str
    task: str | None
    reason: str
    error: str
    traceback: str
    deliveries: int
    attempt: int
    at: datetime | None
    stream_id: str
    fields: tuple[bytes, ...]
    message: AnyMessage | None
    problem: str = ""

    @property
    def args(self) -> dict[str, Any] | None:
        """The arguments as JSON values; None when they cannot be read, or when a payload is no JSON object."""
        return None if self.message is None else _object(self.message.args)

    @property
    def event(self) -> EventMessage | None:
        """The event, if it is one."""
        return self.message if isinstance(self.message, EventMessage) else None

    @property
    def error_type(self) -> str:
        """The error's class, or the reason where there was none."""
        return self.error.partition(":")[0] or self.reason


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters: all conditions that are given must hold. `since` is ms of Redis time; `ids` may be short."""

    task: str | None = None
    error: str | None = None
    since: int | None = None
    ids: tuple[str, ...] = ()

    def takes(self, letter: DeadLetter) -> bool:
        """Is it one of them?"""
        task = letter.task or "?"
        if self.task is not None and self.task not in (task, task.rpartition(".")[2]):
            return False
        if self.error is not None and self.error != letter.reason and self.error not in letter.error:
            return False
        return not self.ids or any(is_called(letter.id, id) or letter.entry_id == id for id in self.ids)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a replay changes: arguments by path, and whether it takes a unique key that another message holds."""

    args: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False


def is_called(id: str, given: str) -> bool:
    """Is this the id, or its short form: `6f2c…9a`, `6f2c...9a`, or at least four of its first characters?"""
    head, dots, tail = given.replace("...", "…").partition("…")
    if dots:
        return len(head) + len(tail) >= 4 and id.startswith(head) and id.endswith(tail)
    return id == given or (len(given) >= 4 and id.startswith(given))


def page(keys: QueueKeys, queue: str, edge: str, low: str) -> Steps[list[DeadLetter]]:
    """Up to PAGE dead letters, newest first, from the entry id `edge` (`(` excludes it) down to `low`."""
    (entries,) = yield [("XREVRANGE", keys.dead, edge, low, "COUNT", PAGE)]
    if isinstance(entries, Exception):
        raise entries
    return [parse(queue, entry[0].decode(), entry[1]) for entry in entries]


Drive = Callable[[Steps[list[DeadLetter]]], list[DeadLetter]]


def walk(drive: Drive, keys: QueueKeys, queue: str, choice: Choice) -> Iterator[DeadLetter]:
    """The chosen dead letters of a queue, newest first; none that came after the walk began."""
    low, edge = "-" if choice.since is None else str(choice.since), "+"
    while letters := drive(page(keys, queue, edge, low)):
        yield from filter(choice.takes, letters)
        edge = f"({letters[-1].entry_id}"


def exact(keys: QueueKeys, queue: str, entry_ids: Sequence[str]) -> Steps[list[DeadLetter]]:
    """The dead letters with these entry ids that are still there."""
    replies = yield [("XRANGE", keys.dead, id, id) for id in entry_ids]
    failed = next((reply for reply in replies if isinstance(reply, Exception)), None)
    if failed is not None:
        raise failed
    return [parse(queue, entry[0].decode(), entry[1]) for reply in replies for entry in reply]


def parse(queue: str, entry_id: str, flat: Sequence[bytes]) -> DeadLetter:
    """Read an entry of a dead stream; never fails, whatever somebody may have put there."""
    fields, own = _split(flat)
    stream_id = own.get("stream_id", entry_id)
    message, problem = _message(queue, own.get("id") or stream_id, stream_id, fields)
    task = short_field(fields, b"event_type" if "/" in queue else b"task")
    return DeadLetter(
        entry_id=entry_id,
        queue=queue,
        id=message.id if message is not None else own.get("id", stream_id),
        task=message.task if message is not None else task[:256] or None,
        reason=own.get("reason", "?"),
        error=own.get("error", ""),
        traceback=own.get("traceback", ""),
        deliveries=_int(own.get("deliveries")),
        attempt=_int(own.get("attempt")),
        at=from_ms(died) if 0 < (died := _int(own.get("at"))) < _END_OF_TIME else None,
        stream_id=stream_id,
        fields=fields,
        message=message,
        problem=problem,
    )


def revived(letter: DeadLetter, changes: Changes) -> AnyMessage:
    """The message as it goes back into its queue; NotReplayable with the reason when it cannot."""
    if letter.message is None:
        raise NotReplayable(f"it cannot be read: {letter.problem}")
    meta = {key: value for key, value in letter.message.meta.items() if key not in _FORMER_LIFE}
    args = letter.message.args
    if changes.args:
        values = letter.args
        if values is None:
            raise NotReplayable("its payload is not a JSON object, so nothing in it can be set")
        for path, value in changes.args.items():
            put(values, path, value)
        args = to_json(values)
    if isinstance(letter.message, EventMessage):
        raw = _with_payload(letter.message.raw, args) if changes.args else letter.message.raw
        return letter.message._replace(args=args, meta=meta, raw=raw)
    return letter.message._replace(args=args, meta=meta)


def _with_payload(raw: Sequence[bytes], payload: bytes) -> tuple[bytes, ...]:
    """An event's fields with another payload, in its place."""
    pairs = list(zip(raw[::2], raw[1::2], strict=True))
    if all(name != b"payload" for name, _ in pairs):
        pairs.append((b"payload", b""))
    return tuple(part for name, value in pairs for part in (name, payload if name == b"payload" else value))


def put(values: dict[str, Any], path: str, value: Any) -> None:
    """Set `user.tags.0` in JSON values; NotReplayable when a step of the path is not there."""
    *steps, last = path.split(".")
    place: Any = values
    for step in steps:
        place = place[_index(place, step, path)]
    place[_index(place, last, path, new=isinstance(place, dict))] = value


def replay(keys: QueueKeys, letters: Sequence[tuple[DeadLetter, AnyMessage]], changes: Changes) -> Steps[list[str]]:
    """Put messages back. Returns a word each: "" done, else why not. Each moves exactly once, whoever else tries."""
    if not letters:
        return []
    calls = [_call(keys, letter, message, changes) for letter, message in letters]
    replies = yield calls
    if any(isinstance(reply, NoScriptError) for reply in replies):
        again = yield [("SCRIPT", "LOAD", REPLAY.text), *calls]  # no call has run, for the first did not either
        replies = again[1:]
    return [_said(reply) for reply in replies]


def purge(keys: QueueKeys, entry_ids: Sequence[str]) -> Steps[int]:
    """Delete dead letters for good; returns how many were still there."""
    (removed,) = yield [("XDEL", keys.dead, *entry_ids)]
    if isinstance(removed, Exception):
        raise removed
    return int(removed)


def _call(keys: QueueKeys, letter: DeadLetter, message: AnyMessage, changes: Changes) -> Command:
    if isinstance(message, EventMessage):
        event_keys = (keys.dead, keys.stream, keys.result(message.id), keys.where)
        return call_of(REPLAY, event_keys, (letter.entry_id, message.id, UNIQUE_TTL, "event", *message.fields()))
    unique = message.meta.get("unique")
    lock = (keys.unique(message.task, unique),) if unique else ()
    script_keys = (keys.dead, keys.stream, keys.result(message.id), *lock)
    return call_of(
        REPLAY, script_keys, (letter.entry_id, message.id, UNIQUE_TTL, int(changes.force), *message.fields())
    )


def _said(reply: Any) -> str:
    if isinstance(reply, Exception):
        return f"redis refused: {reply}"
    return {b"0": "somebody else replayed or purged it", b"-1": "another message holds its unique key (--force)"}.get(
        reply, ""
    )


def _split(flat: Sequence[bytes]) -> tuple[tuple[bytes, ...], dict[str, str]]:
    """The message's own fields, and the `dead_*` ones behind them: a message may have brought some of that name."""
    end, own = len(flat), dict[str, str]()
    while end >= 2:
        name = flat[end - 2].decode(errors="replace").removeprefix("dead_")
        if name in own or flat[end - 2] != f"dead_{name}".encode() or name not in _OWN:
            break
        own[name] = flat[end - 1].decode(errors="replace")
        end -= 2
    return tuple(flat[:end]), own


def _message(queue: str, id: str, stream_id: str, fields: Sequence[bytes]) -> tuple[AnyMessage | None, str]:
    """The message, or why there is none. An event that died on its way from the topic, where its id is the entry's, has
    the topic's fields alone.
    """
    try:
        if "/" in queue:
            return decode_message(id, fields, short_field(fields, b"event_type"), own=id != stream_id), ""
        message = decode(id, fields)
    except Unreadable as error:
        return None, str(error)
    return (message, "") if _object(message.args) is not None else (None, "`args` is not a JSON object")


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        values = from_json(raw)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _index(place: Any, step: str, path: str, new: bool = False) -> str | int:
    if isinstance(place, dict) and (new or step in place):
        return step
    if isinstance(place, list) and step.isdigit() and int(step) < len(place):
        return int(step)
    raise NotReplayable(f"its arguments have no {path!r}")


def _int(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
