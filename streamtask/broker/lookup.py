"""Where is a message, and what became of it? Conversations as data (see `sender.Steps`), carried by either client."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic_core import from_json

from streamtask.broker.keys import RELEASED, QueueKeys
from streamtask.broker.sender import Steps
from streamtask.context import from_ms
from streamtask.envelope import AnyMessage, read_entry
from streamtask.errors import SendError
from streamtask.message import Message, Unreadable

Status = Literal["waiting", "due", "running", "done", "dead", "cancelled", "expired", "unknown"]
#: Entries of a stream that are searched for an id at most.
SEARCH_LIMIT = 10_000
#: Looks at a message that seems gone: between two round trips it may have moved (retry, due time).
TRIES = 3


@dataclass(frozen=True, slots=True)
class MessageInfo:
    """What Redis knows of a message now. Times are aware datetimes of its clock; None where nothing is kept."""

    id: str
    status: Status
    task: str | None = None
    queue: str | None = None
    attempt: int | None = None
    deliveries: int | None = None
    worker: str | None = None
    enqueued_at: datetime | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str | None = None
    error_type: str | None = None
    error: str | None = None
    traceback: str | None = None
    entry_id: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A result record, as the completer wrote it."""

    info: MessageInfo
    value: bytes | None


def find(keys: QueueKeys, queue: str, message_id: str, entry_id: str | None = None) -> Steps[MessageInfo]:
    """The state of a message: its result record, the due set, the stream; `entry_id` saves a search if it is known."""
    for _ in range(TRIES):
        info = yield from _find(keys, queue, message_id, entry_id)
        if info.status != "unknown":
            break
    return info


def _find(keys: QueueKeys, queue: str, message_id: str, entry_id: str | None) -> Steps[MessageInfo]:
    raw, due, where = yield [
        ("GET", keys.result(message_id)),
        ("ZSCORE", keys.due, message_id),
        ("HGET", keys.where, message_id),
    ]
    for reply in (raw, due, where):
        if isinstance(reply, Exception):  # forbidden to us, or a key of another type: not the same as nothing
            raise SendError(f"Redis does not tell how message {message_id} stands: {reply}") from reply
    if isinstance(raw, bytes):
        return parse_record(message_id, queue, raw).info
    if isinstance(due, bytes):
        return MessageInfo(message_id, "due", queue=queue, due_at=from_ms(float(due)))
    entry = where.decode() if isinstance(where, bytes) else entry_id
    if entry is not None:
        return (yield from _at(keys, queue, message_id, entry))
    return (yield from _search(keys, queue, message_id))


def _at(keys: QueueKeys, queue: str, message_id: str, entry: str) -> Steps[MessageInfo]:
    rows, entries = yield [
        ("XPENDING", keys.stream, keys.group, entry, entry, 1),
        ("XRANGE", keys.stream, entry, entry),
    ]
    if isinstance(entries, Exception) or not entries:
        return MessageInfo(message_id, "unknown", queue=queue)
    return describe(queue, message_id, entries[0], [] if isinstance(rows, Exception) else rows)


def _search(keys: QueueKeys, queue: str, message_id: str) -> Steps[MessageInfo]:
    start, seen = "-", 0
    while seen < SEARCH_LIMIT:
        (entries,) = yield [("XRANGE", keys.stream, start, "+", "COUNT", 1000)]
        if isinstance(entries, Exception) or not entries:
            break
        for entry in entries:
            flat = entry[1]
            if message_id.encode() in flat or entry[0].decode() == message_id:
                return (yield from _at(keys, queue, message_id, entry[0].decode()))
        seen += len(entries)
        start = f"({entries[-1][0].decode()}"
    return MessageInfo(message_id, "unknown", queue=queue)


def describe(queue: str, message_id: str, entry: list[Any], rows: list[Any]) -> MessageInfo:
    """A message that is in the stream, with its row of the pending list, if any."""
    entry_id = entry[0].decode()
    try:
        message: AnyMessage = read_entry(queue, entry_id, entry[1])
    except Unreadable:
        message = Message(message_id, "?")
    held = bool(rows) and rows[0][1].decode() != RELEASED
    sent = message.meta.get("sent_at") or int(entry_id.partition("-")[0])
    return MessageInfo(
        message_id,
        "running" if held else "waiting",
        task=message.task,
        queue=queue,
        attempt=message.attempt + 1 if held else message.attempt,
        deliveries=rows[0][3] if rows else 0,
        worker=rows[0][1].decode() if held else None,
        enqueued_at=from_ms(sent),
        entry_id=entry_id,
    )


def parse_record(message_id: str, queue: str, raw: bytes) -> Record:
    """Read a result record."""
    record = from_json(raw)
    error = record.get("error") or {}

    def at(name: str) -> datetime | None:
        return from_ms(record[name]) if record.get(name) else None

    info = MessageInfo(
        message_id,
        record["state"],
        task=record.get("task"),
        queue=queue,
        attempt=record.get("attempt"),
        deliveries=record.get("deliveries"),
        worker=record.get("worker"),
        enqueued_at=at("sent_at"),
        started_at=at("started_at"),
        finished_at=at("finished_at"),
        reason=record.get("reason"),
        error_type=error.get("type"),
        error=error.get("message"),
        traceback=error.get("traceback"),
    )
    return Record(info, _value(raw) if record["state"] == "done" else None)


#: A done record ends with its value, so that the value's JSON is cut out of it and parsed once, by the return type.
VALUE_MARK = b',"value":'


def _value(raw: bytes) -> bytes | None:
    _, mark, tail = raw.partition(VALUE_MARK)
    return tail[:-1] if mark else None
