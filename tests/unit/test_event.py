"""Event classes: what they say of themselves, their envelope, and what becomes of their fields on the wire."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from typing import Any

import pytest
from pydantic import Field, ValidationError

from streamtask import Event, EventMeta, StreamTask
from streamtask.envelope import EventKind, decode
from streamtask.errors import MessageTooLarge
from streamtask.settings import Settings
from streamtask.topic import TopicLimits


class Paid(Event, topic="shop:payments", source="till"):
    amount: float = 0.0


class Refunded(Paid):
    reason: str = ""


class Moved(Refunded, topic="shop:moved", type="moved.v2", source="mover"):
    pass


class Base(Event):
    """It has no topic; those below it have."""

    n: int = 0


class Counted(Base, topic="shop:{eu}:counts"):
    pass


def kind(event: type[Event]) -> tuple[str, str, str | None]:
    found = event.__event__
    assert found is not None
    return found.topic, found.type, found.source


def test_a_class_says_its_topic_type_and_source_and_those_below_inherit_all_but_the_type() -> None:
    assert kind(Paid) == ("shop:payments", "Paid", "till")
    assert kind(Refunded) == ("shop:payments", "Refunded", "till")
    assert kind(Moved) == ("shop:moved", "moved.v2", "mover")
    assert Base.__event__ is None
    assert kind(Counted) == ("shop:{eu}:counts", "Counted", None)
    assert Event.__event__ is None


def make(**said: Any) -> Callable[[], object]:
    return lambda: type("Made", (Event,), {"__module__": __name__}, **said)


@pytest.mark.parametrize(
    ("said", "error", "why"),
    [
        ({"type": "T"}, TypeError, r"Made names no topic: class Made\(Event, topic=\.\.\.\)"),
        ({"source": "s"}, TypeError, "names no topic"),
        ({"topic": "a b"}, ValueError, "'a b' is no topic"),
        ({"topic": "é"}, ValueError, "'é' is no topic"),
        ({"topic": "x" * 257}, ValueError, "is no topic"),
        ({"topic": 5}, ValueError, "5 is no topic"),
        ({"topic": "a{b}c{d}"}, ValueError, "braces must be one pair"),
        ({"topic": "a{}"}, ValueError, "braces must be one pair"),
        ({"topic": "a}b{"}, ValueError, "braces must be one pair"),
        ({"topic": "t", "type": ""}, ValueError, "'' is no type of an event"),
        ({"topic": "t", "type": "x" * 257}, ValueError, "is no type of an event: use 1 to 256 printable characters"),
        ({"topic": "t", "type": "a\nb"}, ValueError, r"'a\\nb' is no type of an event"),
        ({"topic": "t", "source": ""}, ValueError, "'' is no source of an event"),
    ],
)
def test_what_cannot_be_is_told_when_the_class_is_made(said: dict[str, Any], error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        make(**said)()


@pytest.mark.filterwarnings("ignore:Field name")
def test_a_field_cannot_hide_the_envelope() -> None:
    with pytest.raises(TypeError, match="`meta` is the envelope, so no field can be called that; write meta_"):

        class Hidden(Event, topic="t"):
            meta: str  # type: ignore[assignment]

    class Aliased(Event, topic="t"):
        meta_: str = Field(alias="meta")

    event = Aliased(meta="x")
    assert (event.meta_, event.meta.type) == ("x", "Aliased")


def test_an_event_is_frozen_and_its_fields_are_checked() -> None:
    event = Paid(amount=3)
    with pytest.raises(ValidationError, match="frozen"):
        event.amount = 4  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        event.meta = event.meta  # type: ignore[misc]
    with pytest.raises(ValidationError, match="amount"):
        Paid(amount="much")  # type: ignore[arg-type]


def test_events_are_equal_by_their_fields_whatever_their_envelopes_say() -> None:
    one, two = Paid(amount=1), Paid(amount=1)
    assert one.meta.id != two.meta.id
    assert (one == two, hash(one) == hash(two), len({one, two})) == (True, True, 1)
    assert one != Paid(amount=2)
    assert one != Refunded(amount=1)
    assert one != {"amount": 1}


# -- the envelope ------------------------------------------------------------------------------------------------------


def test_a_new_event_has_an_id_of_its_own_and_the_time_it_was_made() -> None:
    before = datetime.now(UTC)
    one, two = Paid().meta, Paid().meta
    assert one.id != two.id
    assert len(one.id) == 32
    assert before <= one.created_at <= two.created_at <= datetime.now(UTC)
    assert (one.type, one.source, one.metadata, one.stream_id) == ("Paid", "till", {}, None)


def test_its_envelope_stays_the_same_also_when_it_is_copied() -> None:
    event = Paid(amount=1)
    meta = event.meta
    assert event.meta is meta
    assert copy.deepcopy(event).meta == pickle.loads(pickle.dumps(event)).meta == meta
    with pytest.raises(AttributeError):
        meta.id = "other"  # type: ignore[misc]


# -- on the wire -------------------------------------------------------------------------------------------------------


class Full(Event, topic="shop:full", type="full"):
    event_id: str
    event_type: str
    source: str
    payload: bytes
    metadata: dict[str, float]
    created_at: datetime
    id: int = Field(alias="ID")
    topic: str = "mine"


@pytest.fixture
def app() -> StreamTask:
    return StreamTask("shop", "redis://127.0.0.1:1/0", settings=Settings(max_message_bytes=2000))


def test_fields_called_like_those_of_the_envelope_are_the_payloads(app: StreamTask) -> None:
    event = Full(
        event_id="mine", event_type="x", source="y", payload=b"\xff", metadata={"a": inf},
        created_at=datetime(2026, 1, 1, tzinfo=UTC), ID=5,
    )  # fmt: skip
    publication = app._publication(event, None, {"trace_id": "t"})
    raw = decode("5-5", [part.encode() if isinstance(part, str) else part for part in publication.fields])
    meta = event.meta
    assert raw.meta == EventMeta(meta.id, "full", "shop", raw.meta.created_at, {"trace_id": "t"}, "5-5")
    assert raw.json() == {
        "event_id": "mine", "event_type": "x", "source": "y", "payload": "_w==", "metadata": {"a": "Infinity"},
        "created_at": "2026-01-01T00:00:00Z", "ID": 5, "topic": "mine",
    }  # fmt: skip
    assert Full.model_validate_json(raw.payload) == event


def test_the_app_publishes_in_its_name_what_names_no_source(app: StreamTask) -> None:
    fields = dict(zip(*[iter(app._publication(Counted(n=1), None, None).fields)] * 2, strict=True))
    assert (fields["source"], fields["event_type"], json.loads(fields["payload"])) == ("shop", "Counted", {"n": 1})
    assert "metadata" not in fields


def test_a_publication_knows_its_limits_and_has_an_id_that_no_other_has(app: StreamTask) -> None:
    app.topic("shop:payments", max_length=5, hard_max_length=10, overflow="drop")
    event = Paid()
    one, two = (app._publication(event, None, None) for _ in range(2))
    assert (one.topic, one.limits) == ("shop:payments", TopicLimits(5, 10, "drop"))
    assert one.event_id == two.event_id == event.meta.id
    assert one.id != two.id, "published twice on purpose it is there twice"
    assert app._publication(Counted(), None, None).limits == TopicLimits()


@pytest.mark.parametrize("thing", [Base(), Paid, "Paid", None, object()])
def test_what_is_no_event_with_a_topic_is_refused(app: StreamTask, thing: Any) -> None:
    with pytest.raises(TypeError, match="is no event with a topic; write class X"):
        app.publish(thing)
    with pytest.raises(TypeError, match="is no event with a topic"):
        app.publish_many([Paid(), thing])


def test_what_is_wrong_is_told_before_anything_is_sent(app: StreamTask) -> None:
    with pytest.raises(ValueError, match="is no message id"):
        app.publish(Paid(), key="a b")
    with pytest.raises(ValueError, match="are no headers"):
        app.publish(Paid(), metadata={"a": 1})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="is no duration"):
        app.publish(Paid(), timeout=-1)
    with pytest.raises(MessageTooLarge, match=r"Refunded: the event takes 2,\d{3} bytes, 2,000 are allowed"):
        app.publish_many([Paid(), Refunded(reason="x" * 2000)])


def test_an_answer_goes_where_the_event_says(app: StreamTask) -> None:
    asked = Paid()
    with pytest.raises(ValueError, match="asks for no answer: its metadata has no reply_to"):
        app.reply(asked, Counted())
    asked._meta = EventMeta(
        "e", "Paid", "s", datetime.now(UTC), {"reply_to": "shop:r", "correlation_id": "c", "x": "y"}
    )
    stream, fields = app._answer(asked, Counted(n=2))
    assert stream == "shop:r"
    assert dict(zip(*[iter(fields)] * 2, strict=True))["metadata"] == b'{"correlation_id":"c"}'
    asked._meta = EventMeta("e", "Paid", "s", datetime.now(UTC), {"reply_to": "a b"})
    with pytest.raises(ValueError, match="is no topic"):
        app._answer(asked, Counted())


# -- topics ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"max_length": -1}, "a topic, max_length: -1 is no whole number from 0 up"),
        ({"hard_max_length": 1.5}, "a topic, hard_max_length: 1.5 is no whole number"),
        ({"overflow": "block"}, "a topic, overflow: 'block' is neither 'refuse' nor 'drop'"),
        ({"max_length": 10, "hard_max_length": 5}, "hard_max_length: 5 is less than max_length=10"),
    ],
)
def test_limits_that_cannot_hold_are_refused(app: StreamTask, limits: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        app.topic("shop:payments", **limits)
    assert app.topics == {}


def test_limits_may_be_left_out_or_be_equal(app: StreamTask) -> None:
    assert app.topic("a") == TopicLimits(10_000, 50_000, "refuse")
    assert app.topic("a", max_length=0, hard_max_length=0) == TopicLimits(0, 0)
    assert app.topic("a", max_length=5, hard_max_length=5) == TopicLimits(5, 5)
    assert app.topic("a", max_length=5, hard_max_length=0) == TopicLimits(5, 0)
    with pytest.raises(ValueError, match="is no topic"):
        app.topic("a b")


def test_a_kind_is_what_a_class_says() -> None:
    assert Paid.__event__ == EventKind("shop:payments", "Paid", "till")


def test_a_changed_copy_is_another_event() -> None:
    first = Paid(amount=1.0)
    assert first.meta.id
    second = first.model_copy(update={"amount": 2.0})
    assert second.meta.id != first.meta.id
    assert (second.amount, second.meta.type) == (2.0, "Paid")


def test_a_misspelt_option_of_a_class_is_named() -> None:
    with pytest.raises(TypeError, match="no option 'topics'; an event has topic, type and source"):
        type("Sold", (Event,), {}, topics="shop:sold")  # type: ignore[call-overload]
