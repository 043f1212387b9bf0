"""The wire: what a message is written as, and what is read out of entries that anybody may have written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtask.message import MAX_MS, MAX_NAME, Message, Unreadable, decode, entry_ms, new_id

ENTRY = "1763700000000-7"
#: Text that UTF-8 can carry.
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def flat(**fields: bytes | str) -> list[bytes]:
    return [part if isinstance(part, bytes) else part.encode() for pair in fields.items() for part in pair]


def with_meta(meta: Any) -> list[bytes]:
    return flat(task="t", meta=json.dumps(meta))


@given(
    id=texts.filter(bool).map(lambda text: text[:MAX_NAME]),
    task=texts.filter(bool).map(lambda text: text[:MAX_NAME]),
    args=st.dictionaries(texts, values, max_size=3).map(lambda args: json.dumps(args).encode()),
    attempt=st.integers(0, MAX_MS),
    ttl=st.floats(0, MAX_MS),
    unknown=values.filter(lambda value: value is not None),
)
def test_what_is_written_is_read_again(id: str, task: str, args: bytes, attempt: int, ttl: float, unknown: Any) -> None:
    message = Message(id, task, args, {"attempt": attempt, "ttl": ttl, "of a later version": unknown})
    wire = [part.encode() if isinstance(part, str) else part for part in message.fields()]
    assert decode(ENTRY, wire) == message


def test_a_plain_message_has_no_meta_on_the_wire() -> None:
    assert Message("1f", "shop.welcome", b'{"user_id":1}').fields() == [
        "task", "shop.welcome", "id", "1f", "args", b'{"user_id":1}',
    ]  # fmt: skip


def test_a_foreign_entry_needs_no_more_than_its_task() -> None:
    """Any language may XADD; the entry id serves as message id."""
    assert decode(ENTRY, flat(task="shop.welcome")) == Message(ENTRY, "shop.welcome", b"{}", {})
    assert decode(ENTRY, flat(task="shop.welcome", id="", meta="")).id == ENTRY


def test_fields_and_meta_keys_of_others_do_no_harm() -> None:
    message = decode(ENTRY, flat(task="t", colour="blue", id="x", meta='{"mine":{"a":[1]},"attempt":null}'))
    assert message == Message("x", "t", b"{}", {"mine": {"a": [1]}})
    assert message.attempt == 0


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ([], "no field `task`"),
        ([b"task"], "do not come in pairs"),
        (flat(poke="1"), "no field `task`"),
        (flat(task=""), "no field `task`"),
        (flat(task=b"\xff\xfe"), "`task` is not UTF-8"),
        (flat(task="t", id=b"\x80"), "`id` is not UTF-8"),
        (flat(task="t" * (MAX_NAME + 1)), "257 characters"),
        (flat(task="t", args="[1, 2]"), "`args` is not a JSON object"),
        (flat(task="t", args=""), "`args` is not a JSON object"),
        (flat(task="t", meta="{"), "`meta` is not JSON"),
        (flat(task="t", meta="[]"), "`meta` is not a JSON object"),
        (flat(task="t", meta="[" * 10_000), "`meta` is not JSON"),
        (with_meta({"attempt": -1}), "meta.attempt"),
        (with_meta({"attempt": 1.5}), "meta.attempt"),
        (with_meta({"attempt": True}), "meta.attempt"),
        (with_meta({"attempt": 2**60}), "meta.attempt"),
        (with_meta({"sent_at": "now"}), "meta.sent_at"),
        (with_meta({"ttl": float("nan")}), "meta.ttl"),
        (with_meta({"ttl": float("inf")}), "meta.ttl"),
        (with_meta({"ttl": -1}), "meta.ttl"),
        (with_meta({"unique": 5}), "meta.unique"),
        (with_meta({"headers": []}), "meta.headers"),
        (with_meta({"errors": {}}), "meta.errors"),
        (with_meta({"scheduled_for": "tomorrow"}), "which is no RFC 3339 time"),
        (with_meta({"scheduled_for": "2026-11-21T12:00:00"}), "which is no RFC 3339 time"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_says_why(entry: list[bytes], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        decode(ENTRY, entry)


blobs = st.binary(max_size=40) | st.sampled_from([b"task", b"id", b"args", b"meta", b"{}", b'{"attempt":1}'])


@given(st.lists(blobs, max_size=8))
def test_no_entry_does_worse_than_being_unreadable(entry: list[bytes]) -> None:
    try:
        message = decode(ENTRY, entry)
    except Unreadable:
        return
    message.fields()


@given(
    st.dictionaries(
        st.sampled_from(["attempt", "ttl", "sent_at", "scheduled_for", "headers", "errors"]) | texts, values
    )
)
def test_no_meta_does_worse_than_being_unreadable(meta: dict[str, Any]) -> None:
    try:
        message = decode(ENTRY, with_meta(meta))
    except Unreadable:
        return
    message.fields()
    assert message.attempt >= 0


def test_ids_are_random_and_an_entry_tells_its_time() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(bytes.fromhex(id)) == 16 for id in ids)
    assert entry_ms(ENTRY) == 1_763_700_000_000
