"""Publishing by an app: receipts, limits, keys, many at once, and lost answers. A real proxy cuts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from streamtask import Event, QueueFull, RawEvent, SendError, StreamTask
from streamtask.broker.keys import lost, published
from streamtask.broker.scripts import ALL
from streamtask.envelope import EventMeta, decode
from streamtask.errors import MaybeSent, NoRedis, PublishErrors, TaskFailed, UnknownGroup
from streamtask.settings import Settings
from tests.proxy import Proxy
from tests.redis.kit import LONG, Item
from tests.redis.test_processes import in_child
from tests.redis.topics import TOPIC, Topic, event
from tests.servers import Server

idempotent = pytest.mark.parametrize("server_name", ["redis-8.6"])


class Ordered(Event, topic=TOPIC):
    n: int


class Paid(Event, topic="shop:payments"):
    n: int


@pytest.fixture
def app(url: str) -> Iterator[StreamTask]:
    app = StreamTask("ns", url)
    yield app
    app.close()


@pytest.fixture
def far(proxy: Proxy) -> Iterator[StreamTask]:
    """It reaches its server through the proxy."""
    app = StreamTask("ns", proxy.url, settings=Settings(send_timeout=20))
    yield app
    app.close()


Publish = Callable[..., list[str]]


def one_by_one(app: StreamTask, *events: Event, **options: Any) -> list[str]:
    return [app.publish(event, **options) for event in events]


def at_once(app: StreamTask, *events: Event, **options: Any) -> list[str]:
    return app.publish_many(events, **options)


def by_asyncio(app: StreamTask, *events: Event, **options: Any) -> list[str]:
    async def go() -> list[str]:
        try:
            return [await app.apublish(event, **options) for event in events]
        finally:
            await app.aclose()

    return asyncio.run(go())


def side_by_side(app: StreamTask, *events: Event, **options: Any) -> list[str]:
    async def go() -> list[str]:
        try:
            return await asyncio.gather(*(app.apublish(event, **options) for event in events))
        finally:
            await app.aclose()

    return asyncio.run(go())


def at_once_by_asyncio(app: StreamTask, *events: Event, **options: Any) -> list[str]:
    async def go() -> list[str]:
        try:
            return await app.apublish_many(events, **options)
        finally:
            await app.aclose()

    return asyncio.run(go())


WAYS: Sequence[Publish] = (one_by_one, at_once, by_asyncio, side_by_side, at_once_by_asyncio)


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def publish(request: pytest.FixtureRequest) -> Publish:
    way: Publish = request.param
    return way


def numbers(topic: Topic) -> list[int]:
    """What the topic holds, in order."""
    return [int(fields[b"payload"].partition(b":")[2].rstrip(b"}")) for _, fields in topic.entries()]


# -- what is there afterwards ------------------------------------------------------------------------------------------


def test_events_are_there_in_order_under_the_ids_that_were_given(
    app: StreamTask, topic: Topic, publish: Publish
) -> None:
    events = [Ordered(n=n) for n in range(3)]
    ids = publish(app, *events, metadata={"trace_id": "t"})
    assert topic.ids() == ids
    assert numbers(topic) == [0, 1, 2]
    for made, (id, fields) in zip(events, topic.entries(), strict=True):
        found = decode(id, [part for pair in fields.items() for part in pair])
        assert (found.meta.id, found.meta.type, found.meta.source) == (made.meta.id, "Ordered", "ns")
        assert (found.meta.metadata, found.meta.stream_id) == ({"trace_id": "t"}, id)
    assert topic("SMEMBERS", "ns:topics") == [TOPIC.encode()]
    assert topic("SMEMBERS", "streamtask:namespaces") == [b"ns"]
    publish(app, Ordered(n=3), Ordered(n=4))
    assert numbers(topic) == [0, 1, 2, 3, 4]


def test_the_same_event_published_twice_on_purpose_is_there_twice(
    app: StreamTask, topic: Topic, publish: Publish
) -> None:
    """Its id may be a stranger's, and the same for many."""
    same = Ordered(n=1)
    for _ in range(2):
        publish(app, same, same)
    assert numbers(topic) == [1] * 4
    assert {fields[b"event_id"] for _, fields in topic.entries()} == {same.meta.id.encode()}


def test_thousands_go_in_one_call_and_keep_their_order_in_each_topic(app: StreamTask, topic: Topic) -> None:
    app.publish(Ordered(n=-1))
    ids = app.publish_many(Ordered(n=n) if n % 2 else Paid(n=n) for n in range(2200))
    assert numbers(topic) == [-1, *range(1, 2200, 2)]
    assert topic.ids()[1:] == ids[1::2]
    assert topic.ids("shop:payments") == ids[::2]
    assert app.publish_many([]) == []


def test_a_key_is_published_once_whoever_publishes_it(app: StreamTask, topic: Topic, url: str) -> None:
    other = StreamTask("elsewhere", url)
    first = app.publish(Ordered(n=1), key="order-1")
    assert other.publish(Ordered(n=2), key="order-1") == first
    assert app.publish(Ordered(n=1), key="order-2") != first
    assert numbers(topic) == [1, 1]
    assert 0 < topic("PTTL", published(TOPIC, "key:order-1")) <= 7 * 86_400_000
    other.close()


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_full_topic_refuses_and_the_error_says_what_to_look_at(
    app: StreamTask, topic: Topic, publish: Publish
) -> None:
    app.topic(TOPIC, max_length=2, hard_max_length=3)
    topic.begin()
    publish(app, *(Ordered(n=n) for n in range(3)))
    with pytest.raises(SendError) as told:
        publish(app, Ordered(n=3))
    error = told.value.errors[0] if isinstance(told.value, PublishErrors) else told.value
    assert isinstance(error, QueueFull)
    assert str(error) == (
        "the topic 'shop:events' is full: 3 entries, 3 are allowed (hard_max_length). A group does not keep up; see "
        "`streamtask topics show shop:events`"
    )
    topic.finish(count=1)
    publish(app, Ordered(n=4))
    assert numbers(topic) == [1, 2, 4]


def test_where_dropping_was_chosen_publishing_goes_on_and_counts(
    app: StreamTask, topic: Topic, publish: Publish
) -> None:
    app.topic(TOPIC, max_length=2, hard_max_length=3, overflow="drop")
    topic.begin()
    publish(app, *(Ordered(n=n) for n in range(5)))
    assert numbers(topic) == [2, 3, 4]
    assert topic.hash(lost(TOPIC)) == {"g": b"2"}


@pytest.mark.parametrize("publish", [at_once, at_once_by_asyncio], ids=["at_once", "at_once_by_asyncio"])
def test_each_event_that_was_not_published_has_its_own_error(app: StreamTask, topic: Topic, publish: Publish) -> None:
    app.topic(TOPIC, max_length=1, hard_max_length=2)
    topic.begin()
    topic("SET", "shop:payments", "x", "PX", LONG)
    events = [Ordered(n=0), Paid(n=1), Ordered(n=2), Ordered(n=3), Paid(n=4)]
    with pytest.raises(PublishErrors, match=r"3 of 5 events were not published: .*WRONGTYPE") as told:
        publish(app, *events)
    error = told.value
    assert sorted(error.errors) == [1, 3, 4]
    assert isinstance(error.errors[3], QueueFull)
    assert "WRONGTYPE" in str(error.errors[1])
    assert [error.ids[n] for n in (0, 2)] == topic.ids()
    assert [error.ids[n] for n in (1, 3, 4)] == ["", "", ""]


def test_a_topic_whose_key_is_no_stream_is_told(app: StreamTask, topic: Topic) -> None:
    topic("SET", TOPIC, "x", "PX", LONG)
    with pytest.raises(Exception, match="WRONGTYPE"):
        app.publish(Ordered(n=1))


# -- scripts that the server does not know, and answers that are lost --------------------------------------------------


def test_a_server_that_forgets_its_scripts_is_given_them(app: StreamTask, topic: Topic, publish: Publish) -> None:
    for n in range(0, 4, 2):
        topic("SCRIPT", "FLUSH")
        publish(app, Ordered(n=n), Ordered(n=n + 1))
    topic("SCRIPT", "FLUSH")
    if publish not in (at_once, at_once_by_asyncio):
        publish(app, Ordered(n=4), key="k")
    assert numbers(topic)[:4] == [0, 1, 2, 3]


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("lose", ["drop_reply", "drop_command"])
def test_what_was_not_answered_is_published_again_and_is_there_once(
    far: StreamTask, proxy: Proxy, topic: Topic, publish: Publish, lose: str, known: bool
) -> None:
    """On each server, at first and later, when the server is known."""
    if known:
        publish(far, Ordered(n=-1))
    getattr(proxy, lose)(times=2 if known else 1)
    (id,) = publish(far, Ordered(n=1))
    assert numbers(topic)[-1:] == [1]
    assert topic.ids()[-1] == id
    assert len(topic.ids()) == 1 + known


@pytest.mark.parametrize("nth", [1, 700])
def test_a_thousand_whose_answers_stop_in_the_middle_are_there_once(
    far: StreamTask, proxy: Proxy, topic: Topic, nth: int
) -> None:
    far.publish(Ordered(n=-1))
    proxy.drop_reply(nth)
    ids = far.publish_many([Ordered(n=n) for n in range(1100)])
    assert sorted(numbers(topic)) == list(range(-1, 1100))
    assert sorted(topic.ids()[1:]) == sorted(ids)


def test_a_key_is_published_once_also_when_its_entry_is_gone_before_it_is_asked_again(
    far: StreamTask, proxy: Proxy, topic: Topic
) -> None:
    for script in ALL:
        topic("SCRIPT", "LOAD", script.text)  # so that the first reply is the event's own
    proxy.drop_reply(1, then=lambda: topic("DEL", TOPIC))
    assert far.publish(Ordered(n=1), key="k")
    assert topic.ids() == []


def test_a_refusal_after_a_lost_answer_is_no_certain_one(
    far: StreamTask, proxy: Proxy, topic: Topic, server_name: str
) -> None:
    """The event may have taken the last place itself; where its id is looked for before the place, it is found."""
    far.topic(TOPIC, max_length=1, hard_max_length=2)
    topic.begin()
    far.publish(Ordered(n=0))
    proxy.drop_reply()
    if server_name == "redis-8.6":
        with pytest.raises(
            MaybeSent, match=r"is full: 2 entries.* sent before, without an answer: look for its event id"
        ):
            far.publish(Ordered(n=1))
    else:
        assert far.publish(Ordered(n=1)) == topic.ids()[1]
    assert numbers(topic) == [0, 1]
    with pytest.raises(QueueFull):
        far.publish(Ordered(n=2))


def test_in_a_forked_child_nothing_doubles_and_nothing_is_lost(app: StreamTask, topic: Topic) -> None:
    app.publish(Ordered(n=0))
    in_child(lambda: app.publish_many([Ordered(n=n) for n in range(1, 50)]))
    app.publish_many([Ordered(n=n) for n in range(50, 100)])
    assert sorted(numbers(topic)) == list(range(100))


@idempotent
def test_a_server_that_forgot_what_it_could_is_asked_in_the_old_way(app: StreamTask, topic: Topic) -> None:
    """An older one stands there now, as after a failover."""
    sending = app.post.sender._sending
    sending._idmp[TOPIC] = True
    app.publish(Ordered(n=1))
    assert numbers(topic) == [1]


@pytest.mark.parametrize("server_name", ["valkey-8.1", "redis-7.0"])
def test_an_older_server_behind_the_same_address_is_asked_in_the_old_way(app: StreamTask, topic: Topic) -> None:
    app.post.sender._sending._idmp[TOPIC] = True
    app.publish(Ordered(n=1))
    app.publish_many([Ordered(n=2), Ordered(n=3)])
    assert numbers(topic) == [1, 2, 3]


def test_who_may_only_xadd_publishes_without_limits(server: Server, topic: Topic) -> None:
    topic("ACL", "SETUSER", "adder", "on", ">secret", "~*", "&*", "+xadd", "+sadd", "+hello", "+ping", "+client")
    try:
        app = StreamTask("ns", server.url.replace("unix://", "unix://adder:secret@"))
        app.topic(TOPIC, max_length=1, hard_max_length=1)
        for n in range(2):
            app.publish(Ordered(n=n))
        app.publish_many([Ordered(n=2), Ordered(n=3)])
        assert numbers(topic) == [0, 1, 2, 3]
        app.close()
    finally:
        topic("ACL", "DELUSER", "adder")


def test_without_a_server_it_says_so() -> None:
    app = StreamTask("ns", "redis://127.0.0.1:1/0", settings=Settings(send_timeout=0.2))
    with pytest.raises(SendError, match="did not answer"):
        app.publish(Ordered(n=1))
    with pytest.raises(PublishErrors) as told:
        app.publish_many([Ordered(n=1), Paid(n=2)])
    assert sorted(told.value.errors) == [0, 1]
    assert not any(isinstance(error, (NoRedis, MaybeSent)) for error in told.value.errors.values())
    assert told.value.ids == ("", "")


# -- waiting for groups, and answers -----------------------------------------------------------------------------------


def test_a_group_that_is_not_there_is_told_before_anything_is_published(app: StreamTask, topic: Topic) -> None:
    with pytest.raises(
        UnknownGroup, match=r"has no group 'g' \(it has none\); start its worker, or `streamtask topics"
    ):
        app.publish(Ordered(n=1), wait_for=["g"])
    topic.begin()
    with pytest.raises(UnknownGroup, match=r"has no group 'h' \(it has g\)"):
        app.publish(Ordered(n=1), wait_for=["g", "h"])
    assert topic.ids() == []


def test_waiting_ends_with_the_time_and_says_where_it_stands(app: StreamTask, topic: Topic) -> None:
    topic.begin(), topic.seen_by("h").begin()
    with pytest.raises(TimeoutError, match=r"is not handled after 0.01 s by g \(unread\), h \(unread\)"):
        app.publish(Ordered(n=1), wait_for=["g", "h"], timeout=0.01)
    assert numbers(topic) == [1]


def until(app: StreamTask, *groups: str, entry_id: str, timeout: float = 30) -> None:
    app.post.drive(app.post.events.until_handled(TOPIC, groups, entry_id, timeout))


def test_waiting_ends_when_each_group_has_done_with_it(app: StreamTask, topic: Topic) -> None:
    topic.begin(), topic.seen_by("h").begin()
    id = app.publish(Ordered(n=1))
    topic.finish()
    until(app, "g", entry_id=id)
    topic("SCRIPT", "FLUSH")
    with pytest.raises(TimeoutError, match=r"by h \(unread\)"):
        until(app, "g", "h", entry_id=id, timeout=0)
    topic.seen_by("h").finish()
    until(app, "g", "h", entry_id=id)


def test_waiting_tells_what_a_group_buried(app: StreamTask, topic: Topic) -> None:
    topic.begin()
    id = app.publish(Ordered(n=1))
    topic.read()
    record = b'{"state":"dead","task":"shop.h","reason":"retries","error":{"type":"E","message":"m","traceback":"T"}}'
    item = Item("X", id, mid=id, result=topic.keys.result(id), value=record, fields=event())
    assert topic.settle(item, kind="topic") == [1]
    with pytest.raises(TaskFailed, match="failed") as told:
        until(app, "g", entry_id=id)
    assert (told.value.error_type, told.value.message, told.value.reason) == ("E", "m", "retries")


def test_waiting_ends_when_the_group_leaves(app: StreamTask, topic: Topic) -> None:
    topic.begin()
    id = app.publish(Ordered(n=1))
    topic("XGROUP", "DESTROY", TOPIC, "g")
    with pytest.raises(UnknownGroup, match="left the topic"):
        until(app, "g", entry_id=id)


def test_an_answer_goes_to_a_stream_that_ends_by_itself(app: StreamTask, topic: Topic) -> None:
    meta = EventMeta("e", "Asked", "s", Ordered(n=0).meta.created_at, {"reply_to": "shop:r", "correlation_id": "c"})
    asked = RawEvent(meta)
    id = app.reply(asked, Paid(n=5))
    ((found, fields),) = topic.entries("shop:r")
    assert found == id
    assert (fields[b"payload"], fields[b"metadata"]) == (b'{"n":5}', b'{"correlation_id":"c"}')
    assert 0 < topic("PTTL", "shop:r") <= 300_000
    topic("PERSIST", "shop:r")
    assert app.reply(asked, Paid(n=6)) is None
    topic("DEL", "shop:r")
    topic("SET", "shop:r", "x", "PX", LONG)
    with pytest.raises(SendError, match=r"Redis refused the answer to shop:r: .*WRONGTYPE"):
        app.reply(asked, Paid(n=7))
