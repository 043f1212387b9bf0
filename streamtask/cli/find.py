"""From an id as a user types it to messages: ids may be short (`6f2c…9a`, or the first characters)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from streamtask.broker.keys import QueueKeys, queue_keys
from streamtask.broker.lookup import SEARCH_LIMIT, MessageInfo, find, parse_record
from streamtask.broker.sender import Sender, Steps
from streamtask.deadletters import Choice, DeadLetter, is_called, walk
from streamtask.envelope import AnyMessage, read_entry
from streamtask.message import Unreadable


@dataclass(frozen=True, slots=True)
class Found:
    """A message: where it stands, its value as JSON if done, its dead letter if dead, itself if it waits."""

    info: MessageInfo
    value: bytes | None = None
    letter: DeadLetter | None = None
    message: AnyMessage | None = None


def find_message(client: Sender, namespace: str, queues: Sequence[str], given: str) -> list[Found]:
    """All messages that are called so. An exact id that is known ends the search, but that of an event, which several
    groups may have; a short one may name several.
    """
    results: list[Found] = []
    for queue in queues:
        if results and "/" not in queue:
            continue
        found = _look(client, queue_keys(namespace, queue), queue, given)
        if found is not None:
            results.append(found)
            if "/" not in queue:
                break
    if results:
        return results
    for queue in queues:
        keys = queue_keys(namespace, queue)
        for id in sorted(client.drive(_ids_like(keys, given))):
            found = _look(client, keys, queue, id)
            if found is not None:
                results.append(found)
    return results


def _look(client: Sender, keys: QueueKeys, queue: str, id: str) -> Found | None:
    info = client.drive(find(keys, queue, id))
    if info.status in ("unknown", "dead"):
        letter = next(walk(client.drive, keys, queue, Choice(ids=(id,))), None)
        if letter is not None and id in (letter.id, letter.entry_id):
            if info.status == "unknown":
                info = _info_of(letter)
            return Found(info, letter=letter, message=letter.message)
    if info.status == "unknown":
        return None
    message = client.drive(_message(keys, info))
    if message is not None and info.task is None:
        info = replace(info, task=message.task, attempt=message.attempt)
    value = client.drive(_value(keys, queue, id)) if info.status == "done" else None
    return Found(info, value=value, message=message)


def _info_of(letter: DeadLetter) -> MessageInfo:
    """A dead letter whose result record is over, or was never written."""
    return MessageInfo(
        letter.id,
        "dead",
        task=letter.task,
        queue=letter.queue,
        attempt=letter.attempt,
        deliveries=letter.deliveries,
        finished_at=letter.at,
        reason=letter.reason,
        error_type=letter.error_type,
        error=letter.error.partition(": ")[2],
        traceback=letter.traceback,
        entry_id=letter.stream_id,
    )


def _value(keys: QueueKeys, queue: str, id: str) -> Steps[bytes | None]:
    (raw,) = yield [("GET", keys.result(id))]
    return parse_record(id, queue, raw).value if isinstance(raw, bytes) else None


def _message(keys: QueueKeys, info: MessageInfo) -> Steps[AnyMessage | None]:
    """The message itself while it waits, runs or is due."""
    if info.status == "due":
        (body,) = yield [("HGET", keys.body, info.id)]
        fields = netstrings(body) if isinstance(body, bytes) else []
    elif info.entry_id is not None:
        (entries,) = yield [("XRANGE", keys.stream, info.entry_id, info.entry_id)]
        fields = entries[0][1] if isinstance(entries, list) and entries else []
    else:
        return None
    try:
        return read_entry(info.queue or "", info.entry_id or info.id, fields)
    except Unreadable:
        return None


def netstrings(body: bytes) -> list[bytes]:
    """The fields of a due message, as the scripts pack them: `4:task,3:add,...`; empty when it is damaged."""
    found, at = [], 0
    while at < len(body):
        digits, colon, _ = body[at : at + 20].partition(b":")
        if not colon or not digits.isdigit():
            return []
        start = at + len(digits) + 1
        found.append(body[start : start + int(digits)])
        at = start + int(digits) + 1
    return found


def _ids_like(keys: QueueKeys, given: str) -> Steps[set[str]]:
    """Ids of a queue that fit a short one: due, waiting or running (the first SEARCH_LIMIT), finished, dead."""
    found: set[str] = set()
    head, _, tail = given.replace("...", "…").partition("…")
    pattern = f"{_plain(head)}*{_plain(tail)}"
    for command, prefix in ((("HSCAN", keys.body), ""), (("SCAN",), keys.result(""))):
        cursor: Any = b"0"
        while True:
            (reply,) = yield [(*command, cursor, "MATCH", prefix + pattern, "COUNT", 1000)]
            if isinstance(reply, Exception):
                raise reply
            cursor, names = reply
            found |= {name.decode(errors="replace").removeprefix(prefix) for name in (names if prefix else names[::2])}
            if cursor == b"0":
                break
    start, seen = "-", 0
    while seen < SEARCH_LIMIT:
        (entries,) = yield [("XRANGE", keys.stream, start, "+", "COUNT", 1000)]
        if isinstance(entries, Exception) or not entries:
            break
        found |= {
            dict(zip(f[::2], f[1::2], strict=False)).get(b"id", entry).decode(errors="replace") for entry, f in entries
        }
        seen, start = seen + len(entries), f"({entries[-1][0].decode()}"
    (dead,) = yield [("XREVRANGE", keys.dead, "+", "-", "COUNT", 1000)]
    for _, fields in dead if isinstance(dead, list) else ():
        found.add(_value_of(b"dead_id", fields))
    return {id for id in found if is_called(id, given)}


def _value_of(name: bytes, flat: Sequence[bytes]) -> str:
    return dict(zip(flat[::2], flat[1::2], strict=False)).get(name, b"").decode(errors="replace")


def _plain(text: str) -> str:
    """Text without the signs that a pattern reads in another way."""
    return "".join(f"\\{sign}" if sign in "*?[]\\" else sign for sign in text)
