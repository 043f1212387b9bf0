"""The message: what a producer writes into a stream and a worker reads out of it (wire version 1).

An entry has flat fields: `task` (registered name), `id` (text, 32 hex when ours), `args` (JSON object, parameter name
to value) and `meta` (JSON object, absent when empty). `id` and `meta` may be missing; the entry id serves as id then.
Any language can write such an entry with XADD. Unknown fields are ignored, unknown meta keys are kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

#: Types of the meta keys that streamtask reads (the wire contract's table); a wrong type makes the message unreadable.
META_TYPES: Mapping[str, type] = {
    "attempt": int,
    "ttl": float,
    "sent_at": int,
    "unique": str,
    "first_seen": int,
    "scheduled_for": str,
    "parent": str,
    "root": str,
    "headers": dict,
    "errors": list,
}

#: The end of the year 9999 in ms: no number in the meta may be larger, so that each is a time that a datetime can hold.
MAX_MS = 253_402_300_799_999

#: Longest id and task name that a message may carry, in characters; a longer one is unreadable.
MAX_NAME = 256


_ENTRY_ID = re.compile(r"[0-9]+-[0-9]+")

#: The fields of a message without meta.
_PLAIN = [b"task", b"id", b"args"]


class Unreadable(Exception):
    """The entry is no message; the text says why. It becomes a dead letter with its bytes."""


class Message(NamedTuple):
    """One call of a task; a change makes a copy (`_replace`). A tuple is quicker to make than a frozen dataclass.

    `args` are the bytes of a JSON object as they stand on the wire, so that nobody parses them twice.
    """

    id: str
    task: str
    args: bytes = b"{}"
    meta: Mapping[str, Any] = MappingProxyType({})

    @property
    def attempt(self) -> int:
        """Attempts that have failed so far (0 for a message that never ran)."""
        attempt: int = self.meta.get("attempt", 0)
        return attempt

    def fields(self) -> list[bytes | str]:
        """The entry's fields and values, flat, as XADD takes them."""
        flat: list[bytes | str] = ["task", self.task, "id", self.id, "args", self.args]
        if self.meta:
            flat += ("meta", to_json(self.meta))
        return flat


def new_id() -> str:
    """A fresh message id: 128 random bits in hex. Never a counter, so that forked processes cannot agree on one."""
    return os.urandom(16).hex()


def new_ids(count: int) -> list[str]:
    """Many of them, for one question to the kernel."""
    text = os.urandom(16 * count).hex()
    return [text[i : i + 32] for i in range(0, 32 * count, 32)]


def decode(entry_id: str, flat: Sequence[bytes]) -> Message:
    """Read a message from an entry's flat fields; raises `Unreadable` with the reason."""
    if len(flat) == 6 and flat[::2] == _PLAIN:  # as we write nearly all of them
        _, task, _, id, _, args = flat
        raw_meta = None
    else:
        if len(flat) % 2:
            raise Unreadable("the entry's fields do not come in pairs")
        values = dict(zip(flat[::2], flat[1::2], strict=True))
        task, id = values.get(b"task", b""), values.get(b"id", b"")
        args, raw_meta = values.get(b"args", b"{}"), values.get(b"meta")
    if not task:
        raise Unreadable("the entry has no field `task`")
    if args[:1] != b"{" and args.lstrip()[:1] != b"{":
        raise Unreadable("`args` is not a JSON object")
    meta = read_meta(raw_meta) if raw_meta else {}
    return Message(read_text("id", id) if id else entry_id, read_text("task", task), args, meta)


def read_text(name: str, raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Unreadable(f"`{name}` is not UTF-8") from None
    if len(text) > MAX_NAME:
        raise Unreadable(f"`{name}` has {len(text)} characters, {MAX_NAME} are allowed")
    return text


def read_meta(raw: bytes) -> dict[str, Any]:
    try:
        meta = from_json(raw)
    except ValueError as error:
        raise Unreadable(f"`meta` is not JSON: {error}") from None
    if not isinstance(meta, dict):
        raise Unreadable("`meta` is not a JSON object")
    for key, kind in META_TYPES.items():
        value = meta.get(key)
        if value is None:
            meta.pop(key, None)
        elif not _is(kind, value):
            raise Unreadable(f"`meta.{key}` is {value!r:.80}, which is no {_WORDS[kind]}")
    if "scheduled_for" in meta and not _is_time(meta["scheduled_for"]):
        raise Unreadable(f"`meta.scheduled_for` is {meta['scheduled_for']!r:.80}, which is no RFC 3339 time")
    return meta


_WORDS = {int: "count or time in ms", float: "duration in seconds", str: "text", dict: "object", list: "list"}


def _is(kind: type, value: object) -> bool:
    if kind in (int, float):
        numbers = (int, float) if kind is float else int
        return isinstance(value, numbers) and not isinstance(value, bool) and 0 <= value <= MAX_MS
    return isinstance(value, kind)


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).utcoffset() is not None
    except ValueError:
        return False


def short_id(id: str) -> str:
    """`6f2c…9a`, which commands take back. An entry's id stays whole: those of one hour begin alike."""
    return id if len(id) <= 12 or _ENTRY_ID.fullmatch(id) else f"{id[:4]}…{id[-2:]}"


def entry_ms(entry_id: str) -> int:
    """The milliseconds of Redis time at which an entry was added: the first half of its id."""
    return int(entry_id.partition("-")[0])
