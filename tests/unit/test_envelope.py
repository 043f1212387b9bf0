"""The envelope: what one side writes the other reads, and what strangers write harms nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamtask import EventMeta, RawEvent
from streamtask.envelope import EventMessage, decode, decode_message, encode, rfc3339, short_field
from streamtask.message import Unreadable

ENTRY = "1768262400000-7"
AT_ENTRY = datetime(2026, 1, 13, tzinfo=UTC)
#: Text that can be sent: without halves of characters.
text = st.text(st.characters(codec="utf-8"), max_size=40)
name = st.text(st.characters(codec="utf-8"), min_size=1, max_size=256)
zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=zones | st.just(UTC) | st.none())  # noqa: DTZ001
#: What stands in the fields that we read, among it all that has a meaning somewhere.
rubbish = st.binary(max_size=60) | st.sampled_from(
    [b"", b"{}", b"[]", b"null", b"0-0", b"-1", b"2026-01-13", b"2026-01-13T25:00:00Z", b"9999-12-31T24:00:00Z",
     b"0001-01-01T00:00:00+23:59", b'{"a":1e999}', b'{"a":NaN}', b'{"a":"\\ud800"}', b"9" * 300, b"[" * 300]
)  # fmt: skip
names = st.sampled_from(
    [b"event_id", b"event_type", b"source", b"created_at", b"payload", b"metadata", b"id", b"meta", b"trace", b""]
)


def flat(fields: list[bytes | str]) -> list[bytes]:
    """As Redis gives them."""
    return [part.encode() if isinstance(part, str) else part for part in fields]


def pairs(fields: list[bytes | str]) -> dict[bytes, bytes]:
    found = flat(fields)
    return dict(zip(found[::2], found[1::2], strict=True))


@given(name, name, text, moments, st.binary(max_size=200), st.dictionaries(text, text, max_size=4))
def test_what_is_written_is_read(
    id: str, type: str, source: str, at: datetime, payload: bytes, metadata: dict[str, str]
) -> None:
    fields = encode(id, type, source, at, payload, metadata)
    event = decode(ENTRY, flat(fields))
    aware = at if at.utcoffset() is not None else at.replace(tzinfo=UTC)
    assert event == RawEvent(EventMeta(id, type, source, event.meta.created_at, metadata, ENTRY), payload)
    assert event.meta.created_at == aware.replace(microsecond=aware.microsecond // 1000 * 1000)
    assert event.meta.created_at.utcoffset() == aware.utcoffset(), "its zone is kept"
    again = encode(id, type, source, event.meta.created_at, event.payload, event.meta.metadata)
    assert again == fields, "and what is read is written alike"


def test_the_fields_are_those_of_the_contract() -> None:
    at = datetime(2026, 1, 13, 9, 0, 0, 123_999, timezone(timedelta(hours=9)))
    assert flat(encode("e", "T", "s", at, b"\x00", {"trace_id": "é"})) == [
        b"event_id", b"e", b"event_type", b"T", b"source", b"s", b"created_at", b"2026-01-13T09:00:00.123+09:00",
        b"payload", b"\x00", b"metadata", '{"trace_id":"é"}'.encode(),
    ]  # fmt: skip
    assert set(pairs(encode("e", "T", "s", at, b"", {}))) == {b"event_id", b"event_type", b"source", b"created_at"}


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(2026, 1, 13, 9), "2026-01-13T09:00:00.000Z"),  # noqa: DTZ001 - that is what is tested
        (datetime(2026, 1, 13, 9, tzinfo=UTC), "2026-01-13T09:00:00.000Z"),
        (datetime(2026, 1, 13, 9, tzinfo=timezone(timedelta(hours=-3, minutes=-30))), "2026-01-13T09:00:00.000-03:30"),
        (datetime(2026, 1, 13, 9, 0, 30, tzinfo=timezone(timedelta(seconds=30))), "2026-01-13T09:00:00.000Z"),
        (datetime(1890, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=53, seconds=28))), "1889-12-31T18:06:32.000Z"),
    ],
)
def test_a_time_is_rfc_3339_with_three_decimals(moment: datetime, written: str) -> None:
    assert rfc3339(moment) == written


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-01-13T09:00:00Z", datetime(2026, 1, 13, 9, tzinfo=UTC)),
        ("2026-01-13T09:00:00.123456789+09:00", datetime(2026, 1, 13, 0, 0, 0, 123_456, UTC)),  # Go's nanoseconds
        ("2026-01-13T09:00:00.5", datetime(2026, 1, 13, 9, 0, 0, 500_000, UTC)),
        ("2026-01-13 09:00:00+00:00", datetime(2026, 1, 13, 9, tzinfo=UTC)),
        ("2026-01-13", datetime(2026, 1, 13, tzinfo=UTC)),
        ("", AT_ENTRY),
        ("yesterday", AT_ENTRY),
        ("2026-13-01T00:00:00Z", AT_ENTRY),
        ("1768262400", AT_ENTRY),
    ],
)
def test_a_time_is_read_leniently_else_it_is_the_entrys_own(written: str, read: datetime) -> None:
    assert decode(ENTRY, [b"event_type", b"T", b"created_at", written.encode()]).meta.created_at == read


def test_a_go_publishers_fields_in_any_order_with_others_among_them() -> None:
    event = decode(
        ENTRY,
        [
            b"metadata", b'{"trace_id":"t","n":1,"deep":{"a":null}}', b"x", b"y", b"payload", b'{"article_id":"a"}',
            b"created_at", b"2026-01-13T09:00:00.000+09:00", b"source", b"alt-backend",
            b"event_type", b"ArticleCreated", b"event_id", b"e1",
        ],
    )  # fmt: skip
    assert (event.meta.id, event.meta.type, event.meta.source) == ("e1", "ArticleCreated", "alt-backend")
    assert event.meta.metadata == {"trace_id": "t", "n": "1", "deep": '{"a":null}'}, "all of it is text"
    assert event.json() == {"article_id": "a"}


def test_what_is_missing_is_empty_and_the_entry_id_serves_as_id() -> None:
    event = decode(ENTRY, [])
    assert event == RawEvent(EventMeta(ENTRY, "", "", AT_ENTRY, {}, ENTRY), b"")
    with pytest.raises(ValueError, match="EOF"):
        event.json()


@pytest.mark.parametrize("metadata", [b"", b"no", b"[1]", b'"x"', b"null", b"\xff", b"{" * 500, b'{"a":"\\ud800"}'])
def test_metadata_that_is_no_object_is_none(metadata: bytes) -> None:
    assert decode(ENTRY, [b"event_type", b"T", b"metadata", metadata]).meta.metadata == {}


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        (b"event_id", b"\xff", "`event_id` is not UTF-8"),
        (b"event_type", b"\xff", "`event_type` is not UTF-8"),
        (b"event_id", b"x" * 257, "`event_id` has 257 characters, 256 are allowed"),
        (b"event_type", b"x" * 257, "`event_type` has 257 characters"),
    ],
)
def test_what_cannot_be_known_by_its_name_is_unreadable(field: bytes, value: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        decode(ENTRY, [field, value])


@given(st.lists(st.tuples(names, rubbish), max_size=8), st.booleans(), st.booleans(), rubbish)
@example([(b"event_type", b"T"), (b"metadata", b'{"a":' + b"[" * 190 + b"]" * 190 + b"}")], False, False, b"")
@example([(b"event_type", b"T"), (b"id", b"9" * 256), (b"meta", b"{}")], True, False, b"")
@example([(b"event_type", b"T"), (b"id", b"-5"), (b"meta", b"{}")], True, False, b"")
def test_whatever_stands_there_it_is_read_or_unreadable(
    fields: list[tuple[bytes, bytes]], own: bool, odd: bool, last: bytes
) -> None:
    entry = [part for pair in fields for part in pair] + ([last] if odd else [])
    short_field(entry, b"event_type")
    try:
        message = decode_message(ENTRY, entry, "h", own=own)
    except Unreadable:
        return
    assert message.event.created_at.utcoffset() is not None
    assert all(isinstance(part, str) for pair in message.event.metadata.items() for part in pair)
    again = flat(message.fields())
    back = decode_message("9-9", again, "h", own=True)
    assert back._replace(meta={}) == message._replace(meta={}), "it comes back from the group's own queue as it was"
    assert json.loads(again[-1]) == message.meta


# -- in the hands of a subscription ------------------------------------------------------------------------------------


def event_of(*, own: bool, fields: list[bytes]) -> EventMessage:
    return decode_message("7-7", fields, "shop.handler", own=own)


def test_from_the_topic_its_id_is_the_entrys_whatever_fields_it_has() -> None:
    fields = [*flat(encode("e", "T", "s", AT_ENTRY, b"p")), b"id", b"1-1", b"meta", b'{"attempt":5}']
    message = event_of(own=False, fields=fields)
    assert (message.id, message.attempt, message.args, message.event.stream_id) == ("7-7", 0, b"p", "7-7")
    assert message.raw == tuple(fields)
    assert (message.task, message.event.id) == ("shop.handler", "e")


def test_from_the_groups_own_queue_it_is_known_as_before() -> None:
    first = event_of(own=False, fields=flat(encode("e", "T", "s", AT_ENTRY, b"p", {"a": "b"})))
    retried = first._replace(meta={"attempt": 2, "sent_at": 5})
    again = decode_message("9-9", flat(retried.fields()), "shop.handler", own=True)
    assert again == retried
    assert (again.id, again.attempt, again.event.stream_id) == ("7-7", 2, "7-7")


def test_fields_of_a_stranger_that_look_like_ours_are_the_events_own() -> None:
    stranger = [b"event_type", b"T", b"id", b"x", b"meta", b"no JSON"]
    message = event_of(own=False, fields=stranger)._replace(meta={"attempt": 1})
    again = decode_message("9-9", flat(message.fields()), "shop.handler", own=True)
    assert (again.id, again.attempt, again.raw) == ("7-7", 1, tuple(stranger))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([], "no subscription has put it here"),
        ([b"event_type", b"T", b"meta", b"{}", b"id", b"1-1"], "no subscription has put it here"),
        ([b"id", b"1-1", b"meta", b"[]"], "`meta` is not a JSON object"),
        ([b"id", b"\xff", b"meta", b"{}"], "`id` is not UTF-8"),
        ([b"odd", b"id", b"1-1", b"meta", b"{}"], "do not come in pairs"),
        ([b"id", b"1-1", b"meta", b'{"attempt":-1}'], "`meta.attempt` is -1"),
    ],
)
def test_what_no_subscription_has_put_there_is_unreadable(fields: list[bytes], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        event_of(own=True, fields=fields)


def test_a_field_is_found_without_reading_the_rest() -> None:
    long = b"x" * 5000
    assert short_field([b"a", b"\xff", b"event_type", b"T"], b"event_type") == "T"
    assert short_field([b"event_type", b"\xffT"], b"event_type") == "\ufffdT"
    assert len(short_field([b"event_type", long], b"event_type")) == 1024
    assert short_field([b"event_type"], b"event_type") == short_field([], b"event_type") == ""
