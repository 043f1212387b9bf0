"""An event's envelope: what a topic's entry says around the payload, to bytes and back.

An entry has flat fields: `event_id`, `event_type`, `source`, `created_at` (RFC 3339 with three decimals), `payload`
(bytes, absent when empty) and `metadata` (JSON object of texts, absent when empty). Any language can write and read it;
unknown fields are ignored. What can be guessed is never a reason to refuse an entry: a time that is none counts as the
entry's own, metadata that is no JSON as none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from pydantic_core import from_json, to_json

from streamtask.message import MAX_MS, MAX_NAME, Message, Unreadable, entry_ms, read_meta, read_text
from streamtask.message import decode as decode_task

#: The fields of an entry, as they are read.
_ID, _TYPE, _SOURCE, _CREATED, _PAYLOAD, _METADATA = (
    b"event_id", b"event_type", b"source", b"created_at", b"payload", b"metadata",
)  # fmt: skip
_MINUTE = timedelta(minutes=1)
#: No metadata.
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class EventKind:
    """What an event class says of itself: the topic's key, its name on the wire, who publishes it (None: the app)."""

    topic: str
    type: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class EventMeta:
    """The envelope. `id` is the publisher's, the same for every copy; `stream_id` is this entry's, None before it is
    published.
    """

    id: str
    type: str
    source: str
    created_at: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    stream_id: str | None = None


@dataclass(frozen=True, slots=True)
class RawEvent:
    """An event as it came, for handlers of a raw topic: any type, the payload as bytes."""

    meta: EventMeta
    payload: bytes = b""

    def json(self) -> Any:
        """The payload as JSON values; raises ValueError when it is no JSON."""
        return from_json(self.payload)


class EventMessage(NamedTuple):
    """An event in the hands of one subscription; stands where a `Message` stands for tasks.

    `id` is the topic's entry id, also after a retry; `task` the handler's name; `args` the payload. `meta` says what
    became of it in this subscription, and is not in the topic. `raw` are the entry's own fields, byte for byte.
    """

    id: str
    task: str
    args: bytes
    meta: Mapping[str, Any]
    event: EventMeta
    raw: tuple[bytes, ...]

    @property
    def attempt(self) -> int:
        """Attempts of this subscription that have failed so far."""
        attempt: int = self.meta.get("attempt", 0)
        return attempt

    def fields(self) -> list[bytes | str]:
        """The entry's fields for the subscription's own queue: the topic's, and behind them what we know of it."""
        return [*self.raw, "id", self.id, "meta", to_json(dict(self.meta))]


#: A call of a task, or an event.
AnyMessage: TypeAlias = Message | EventMessage


def encode(
    id: str, type: str, source: str, created_at: datetime, payload: bytes = b"", metadata: Mapping[str, str] = _NOTHING
) -> list[bytes | str]:
    """An entry's fields and values, flat, as XADD takes them."""
    fields: list[bytes | str] = ["event_id", id, "event_type", type, "source", source]
    fields += ("created_at", rfc3339(created_at))
    if payload:
        fields += ("payload", payload)
    if metadata:
        fields += ("metadata", to_json(metadata))
    return fields


def decode(entry_id: str, flat: Sequence[bytes]) -> RawEvent:
    """Read an event from a topic's entry; raises Unreadable with the reason."""
    if len(flat) % 2:
        raise Unreadable("the entry's fields do not come in pairs")
    values = dict(zip(flat[::2], flat[1::2], strict=True))
    id = read_text("event_id", values.get(_ID, b"")) or entry_id
    type = read_text("event_type", values.get(_TYPE, b""))
    source = values.get(_SOURCE, b"").decode(errors="replace")
    created_at = _time(values.get(_CREATED, b""), entry_id)
    metadata = _metadata(values.get(_METADATA))
    return RawEvent(EventMeta(id, type, source, created_at, metadata, entry_id), values.get(_PAYLOAD, b""))


def decode_message(entry_id: str, flat: Sequence[bytes], handler: str, *, own: bool) -> EventMessage:
    """Read an event for a subscription: from the topic, or (`own`) from the subscription's own queue."""
    if not own:
        event = decode(entry_id, flat)
        return EventMessage(entry_id, handler, event.payload, _NOTHING, event.meta, tuple(flat))
    if len(flat) < 4 or flat[-4] != b"id" or flat[-2] != b"meta":
        raise Unreadable("the entry's last fields are not `id` and `meta`, so no subscription has put it here")
    id, meta = read_text("id", flat[-3]), read_meta(flat[-1])
    event = decode(id, flat[:-4])
    return EventMessage(id, handler, event.payload, meta, event.meta, tuple(flat[:-4]))


def read_entry(queue: str, entry_id: str, flat: Sequence[bytes]) -> AnyMessage:
    """Read what stands in a queue: a task's message, or an event in a group's own queue, which is named after its type
    here, since only the app knows the handler. Raises Unreadable.
    """
    if "/" not in queue:
        return decode_task(entry_id, flat)
    return decode_message(entry_id, flat, short_field(flat, _TYPE), own=True)


def short_field(flat: Sequence[bytes], field: bytes) -> str:
    """What one field of an entry says, without reading the rest; it may kill who reads it."""
    found = b""
    for name, value in zip(flat[::2], flat[1::2], strict=False):
        if name == field:  # of two the last one counts, as for `decode`
            found = value
    return found[: MAX_NAME * 4].decode(errors="replace")


def rfc3339(moment: datetime) -> str:
    """`2026-01-13T09:00:00.000+09:00`, or `...Z`: three decimals, the zone kept; a time without one is taken as UTC."""
    offset = moment.utcoffset()
    if offset is None:
        moment = moment.replace(tzinfo=UTC)
    elif offset % _MINUTE:  # RFC 3339 has no seconds there; such zones are of the 19th century
        moment = moment.astimezone(UTC)
    text = moment.isoformat(timespec="milliseconds")
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def _time(raw: bytes, entry_id: str) -> datetime:
    try:
        moment = datetime.fromisoformat(raw.decode())
        return moment if moment.utcoffset() is not None else moment.replace(tzinfo=UTC)
    except ValueError:
        try:
            return datetime.fromtimestamp(min(entry_ms(entry_id), MAX_MS) / 1000, UTC)
        except (ValueError, OverflowError):  # the id was written by somebody else
            return datetime.fromtimestamp(0, UTC)


def _metadata(raw: bytes | None) -> Mapping[str, str]:
    if not raw:
        return {}
    try:
        found = from_json(raw)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value if isinstance(value, str) else to_json(value).decode() for name, value in found.items()}
