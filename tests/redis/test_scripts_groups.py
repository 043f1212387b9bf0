"""The scripts of a group on a topic: IGNORE, HANDLES, ONCE, HANDLED, REPLY; and all others with a topic's kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamtask.broker.link import ResponseError
from streamtask.broker.scripts import BURY, MOVE, REPLY
from tests.redis.kit import LONG, Item, Row, Stage, fill
from tests.redis.topics import TOPIC, Topic, event
from tests.servers import StartServer


@pytest.fixture
def other(topic: Topic) -> Topic:
    """Another group, which has read the same events."""
    return topic.seen_by("h")


def both_hold(topic: Topic, other: Topic, *types: str) -> list[str]:
    """Both groups hold an event of each type."""
    other.group()
    ids = topic.hold_events(*types)
    assert other.read("v1") == ids
    return ids


# -- IGNORE and HANDLES ------------------------------------------------------------------------------------------------


def test_a_type_that_nobody_handles_is_acknowledged_for_this_group_only(topic: Topic, other: Topic) -> None:
    (id,) = both_hold(topic, other, "Paid")
    assert topic.ignore(id, 1, "Paid") == [-1]
    assert topic.pending() == {}
    assert topic.ids() == [id], "the topic keeps it"
    assert other.pending() == {id: Row("v1", 1)}


def test_a_type_that_a_sibling_handles_is_left_alone(topic: Topic) -> None:
    ids = topic.hold_events("Paid", "Other", "Paid")
    assert topic.handles("Ordered", "Paid") == 2
    found = topic.ignore(ids[0], 1, "Paid", ids[1], 1, "Other", ids[2], 1, "Paid")
    assert found[1] == -1
    assert all(0 < found[i] < LONG for i in (0, 2)), "at least 1, although it is the same millisecond"
    assert topic.pending() == {ids[0]: Row("w1", 1), ids[2]: Row("w1", 1)}


def test_what_one_group_handles_is_nothing_to_another(topic: Topic, other: Topic) -> None:
    (id,) = both_hold(topic, other, "Paid")
    topic.handles("Paid")
    assert other.ignore(id, 1, "Paid", me="v1") == [-1]
    assert topic.ignore(id, 1, "Paid")[0] > 0


def test_a_sibling_that_handles_all_types_makes_none_a_stranger(topic: Topic) -> None:
    ids = topic.hold_events("Paid", "Other")
    topic.handles("*")
    assert all(age > 0 for age in topic.ignore(ids[0], 1, "Paid", ids[1], 1, "Other"))
    assert set(topic.pending()) == set(ids)


def test_it_tells_how_long_ago_the_last_one_said_so(topic: Topic) -> None:
    (id,) = topic.hold_events("Paid")
    now = topic.time()
    topic("HSET", topic.keys.types, "Paid", now - 50_000, "*", now - 90_000)
    assert 50_000 <= topic.ignore(id, 1, "Paid")[0] < 80_000
    topic.handles("Paid")
    assert topic.ignore(id, 1, "Paid")[0] < 50_000
    topic("HSET", topic.keys.types, "Paid", topic.time() + LONG)
    assert topic.ignore(id, 1, "Paid") == [2], "a clock that was ahead"


def test_ignoring_needs_the_token(topic: Topic) -> None:
    ids = topic.hold_events("Paid", "Paid")
    topic.take_over(ids[0], "w2")
    found = topic.ignore(ids[0], 1, "Paid", ids[0], 2, "Paid", ids[1], 2, "Paid", "9-9", 1, "Paid")
    assert found == [0, 0, 0, 0]
    assert topic.pending() == {ids[0]: Row("w2", 2), ids[1]: Row("w1", 1)}
    assert topic.ignore(ids[0], 2, "Paid", me="w2") == [-1]


def test_in_the_groups_own_queue_nothing_is_ignored(topic: Topic) -> None:
    """Somebody has handled it once; it becomes a dead letter when the grace is over, and it was never announced."""
    own = topic.own
    own.group()
    id = own("XADD", own.keys.stream, "*", *event(), "id", "5-5", "meta", "{}").decode()
    own("HSET", own.keys.where, "5-5", id)
    own.read()
    assert own.ignore(id, 1, "Ordered")[0] > 10**12
    assert (own.ids(), set(own.pending())) == ([id], {id})


def test_at_full_memory_a_worker_can_still_say_what_it_handles(
    full: Callable[[Callable[[Stage], None]], Stage],
) -> None:
    """Else its siblings would take those events for nobody's; and what is nobody's can go."""
    held: list[str] = []
    stage = full(lambda stage: held.extend(Topic(stage.url).hold_events("Paid", "Other")))
    topic = Topic(stage.url)
    assert topic.handles("Paid") == 1
    assert topic.ignore(held[0], 1, "Paid", held[1], 1, "Other")[1] == -1
    assert set(topic.pending()) == {held[0]}
    topic.link.close()


# -- ONCE --------------------------------------------------------------------------------------------------------------


def test_the_first_entry_of_an_event_goes_on_and_another_one_learns_of_it(topic: Topic) -> None:
    assert topic.once("e", "1-1", 0, "f", "1-2", 0) == ["", ""]
    assert topic.once("e", "1-1", 0) == [""], "asked again, as after a lost answer or in its second attempt"
    assert topic.once("e", "2-2", 0, "g", "2-3", 0) == ["1-1", ""]
    assert topic("GET", topic.keys.once("e")) == b"1-1"
    assert 0 < topic("PTTL", topic.keys.once("e")) <= LONG


def test_twice_in_one_call_one_goes_on(topic: Topic) -> None:
    assert topic.once("e", "1-1", 0, "e", "2-2", 0) == ["", "1-1"]


def test_what_is_done_is_done_for_all_also_for_who_had_the_lock_and_who_would_take_it_over(topic: Topic) -> None:
    topic("SET", topic.keys.once("e"), "done", "PX", LONG)
    assert topic.once("e", "1-1", 0, "e", "2-2", 1) == ["done", "done"]


def test_a_lock_whose_holder_is_gone_is_taken_over_when_that_is_said(topic: Topic) -> None:
    topic.once("e", "1-1", 0)
    assert topic.once("e", "2-2", 1) == [""]
    assert topic.once("e", "1-1", 0) == ["2-2"]


def test_groups_remember_apart(topic: Topic, other: Topic) -> None:
    assert topic.once("e", "1-1", 0) == [""]
    assert other.once("e", "2-2", 0) == [""]


def test_each_look_at_its_own_lock_makes_it_last(topic: Topic) -> None:
    topic.once("e", "1-1", 0, ttl=1000)
    topic.once("e", "1-1", 0, ttl=LONG)
    assert topic("PTTL", topic.keys.once("e")) > 1000
    topic.once("e", "2-2", 0, ttl=500)
    assert topic("PTTL", topic.keys.once("e")) > 1000, "the look of another one changes nothing"


def test_at_full_memory_a_handler_can_still_start(full: Callable[[Callable[[Stage], None]], Stage]) -> None:
    """It may be the one that makes room."""
    topic = Topic(full(lambda stage: None).url)
    assert topic.once("e", "1-1", 0) == [""]
    assert topic.once("e", "2-2", 0, "f", "2-3", 0) == ["1-1", ""]
    topic.link.close()


# -- verdicts on a topic -----------------------------------------------------------------------------------------------


def test_done_acknowledges_and_leaves_the_topic_and_other_groups_alone(topic: Topic, other: Topic) -> None:
    ids = both_hold(topic, other, "Ordered", "Ordered", "Ordered")
    topic.take_over(ids[2], "w2")
    assert topic.done(ids[0], 1, ids[1], 2, ids[2], 1, kind="topic") == [1, 0, 0]
    assert topic.ids() == ids
    assert topic.pending() == {ids[1]: Row("w1", 1), ids[2]: Row("w2", 2)}
    assert other.pending() == dict.fromkeys(ids, Row("v1", 1))


def test_a_final_verdict_tells_its_end_and_leaves_the_topic_and_other_groups_alone(topic: Topic, other: Topic) -> None:
    (id,) = both_hold(topic, other, "Ordered")
    once = topic.keys.once("e0")
    assert topic.settle(Item("D", id, mid=id, result=once, value="done"), kind="topic") == [1]
    assert topic("GET", once) == b"done"
    assert (topic.ids(), topic.pending()) == ([id], {})
    assert other.pending() == {id: Row("v1", 1)}


def test_a_retry_waits_in_the_groups_own_queue_and_never_comes_back_to_the_topic(topic: Topic, other: Topic) -> None:
    (id,) = both_hold(topic, other, "Ordered")
    fields = [*event(), "id", id, "meta", '{"attempt":1}']
    assert topic.settle(Item("R", id, mid=id, delay=1, fields=fields), kind="topic") == [1]
    assert (topic.ids(), topic.pending(), other.pending()) == ([id], {}, {id: Row("v1", 1)})
    own = topic.own
    assert (list(own.due()), list(own.hash(own.keys.body))) == ([id], [id])
    assert (other.own.due(), other.own.ids()) == ({}, [])
    topic("ZADD", own.keys.due, 1, id)
    keys = own.keys
    own.run(MOVE, [keys.due, keys.body, keys.stream, keys.where, keys.mover], keys.group, "w1", 100, LONG, "1")
    ((again, found),) = own.entries()
    assert (found[b"event_id"], found[b"id"], found[b"meta"]) == (b"e0", id.encode(), b'{"attempt":1}')
    assert own.hash(keys.where) == {id: again.encode()}
    assert topic.ids() == [id]


def test_a_dead_letter_is_the_groups_own(topic: Topic, other: Topic) -> None:
    (id,) = both_hold(topic, other, "Ordered")
    item = Item("X", id, mid=id, result=topic.keys.result(id), value="{}", fields=[*event(), "dead_group", "g"])
    assert topic.settle(item, kind="topic") == [1]
    ((_, letter),) = topic.entries(topic.keys.dead)
    assert letter[b"dead_group"] == b"g"
    assert topic.keys.dead == "{shop:events}:g:dead"
    assert (topic.ids(), topic.pending(), other.pending()) == ([id], {}, {id: Row("v1", 1)})
    assert topic.entries(other.keys.dead) == []


@pytest.mark.parametrize("op", ["D", "R", "X"])
def test_no_verdict_without_the_token(topic: Topic, op: str) -> None:
    (id,) = topic.hold_events("Ordered")
    topic.take_over(id, "w2")
    assert topic.settle(Item(op, id, mid=id, delay=5, fields=event()), kind="topic") == [0]
    assert (topic.ids(), topic.pending()) == ([id], {id: Row("w2", 2)})
    assert (topic.due(), topic.ids(topic.keys.dead)) == ({}, [])


def bury(topic: Topic, id: str, count: int = 1, owner: str = "w1") -> list[int]:
    keys = topic.keys
    names = [keys.stream, keys.dead, keys.suspects, keys.where]
    item = (id, owner, count, id, 0, 0, "", 0, 2, "dead_group", keys.group)
    found: list[int] = topic.run(BURY, names, keys.group, "topic", 7000, *item)
    return found


def test_burying_copies_and_leaves_the_topic_and_other_groups_alone(topic: Topic, other: Topic) -> None:
    (id,) = both_hold(topic, other, "Ordered")
    assert bury(topic, id) == [1]
    ((_, letter),) = topic.entries(topic.keys.dead)
    assert (letter[b"event_id"], letter[b"dead_group"]) == (b"e0", b"g")
    assert (topic.ids(), topic.pending(), other.pending()) == ([id], {}, {id: Row("v1", 1)})
    assert bury(other, id, count=2, owner="v1") == [0]


def test_what_is_given_back_wakes_the_group_and_is_not_seen_by_others(topic: Topic, other: Topic) -> None:
    ids = both_hold(topic, other, "Ordered", "Ordered")
    assert topic.release(ids[0], 1, 0, ids[0], 0, ids[1], 1, 1, ids[1], 0) == 2
    assert topic.pending() == {ids[0]: Row("released", 0), ids[1]: Row("released", 1)}
    assert topic.ids() == ids, "what wakes readers is gone at once"
    assert other.pending() == dict.fromkeys(ids, Row("v1", 1))
    assert other.read() == []


def test_marks_of_one_group_convict_nobody_in_another(topic: Topic, other: Topic) -> None:
    (id,) = both_hold(topic, other, "Ordered")
    assert topic.mark(id, 1, id) == [0]
    topic.take_over(id, "w1")
    assert topic.mark(id, 2, id) == [1]
    assert other.mark(id, 1, id, me="v1") == [0]


def test_everything_that_ends_an_event_works_at_full_memory(own_server: StartServer, server_name: str) -> None:
    topic = Topic(own_server(server_name).url)
    other = topic.seen_by("h")
    ids = both_hold(topic, other, *["Ordered"] * 6)
    fill(topic)
    assert topic.mark(ids[0], 1, ids[0]) == [0]
    assert topic.done(ids[0], 1, kind="topic") == [1]
    assert topic.settle(
        Item("D", ids[1], mid=ids[1], result=topic.keys.once("e1"), value="done"),
        Item("R", ids[2], mid=ids[2], delay=5, fields=event()),
        Item("X", ids[3], mid=ids[3], fields=event()),
        kind="topic",
    ) == [1, 1, 1]  # fmt: skip
    assert bury(topic, ids[4]) == [1]
    assert topic.release(ids[5], 1, 0, ids[5], 0) == 1
    assert topic.ids() == ids
    assert other.pending() == dict.fromkeys(ids, Row("v1", 1))
    topic.link.close()


# -- HANDLED -----------------------------------------------------------------------------------------------------------


def test_handled_tells_each_state(topic: Topic) -> None:
    (id,) = topic.fill(1)
    assert topic.handled(id) == "no group"
    topic.begin()
    assert topic.handled(id) == "unread"
    topic.read()
    assert topic.handled(id) == "held"
    topic.release(id, 1, 0, id, 0)
    assert topic.handled(id) == "held", "given back"
    topic.take_over(id, "w1")
    topic.settle(Item("R", id, count=1, mid=id, delay=LONG, fields=[*event(), "id", id, "meta", "{}"]), kind="topic")
    assert topic.handled(id) == "later", "its retry waits"
    own = topic.own
    topic("ZADD", own.keys.due, 1, id)
    keys = own.keys
    own.run(MOVE, [keys.due, keys.body, keys.stream, keys.where, keys.mover], keys.group, "w1", 100, LONG, "1")
    assert topic.handled(id) == "later", "it runs from there"
    own.group()
    (again,) = own.read()
    assert topic.handled(id) == "later"
    assert own.settle(Item("D", again, mid=id)) == [1]
    assert topic.handled(id) == "done"
    topic("SET", own.keys.result(id), '{"state":"dead"}', "PX", LONG)
    assert topic.handled(id) == '{"state":"dead"}'


def test_handled_of_a_topic_that_is_not_there_and_of_an_entry_that_never_was(topic: Topic) -> None:
    assert topic.handled("5-5") == "no group"
    assert topic("KEYS", "*") == []
    topic.begin("7-3")
    assert topic.handled("7-4") == topic.handled("8-0") == "unread"
    assert topic.handled("7-3") == topic.handled("6-9") == "done", "the group began behind it"


def test_handled_looks_at_one_groups_place(topic: Topic, other: Topic) -> None:
    topic.begin()
    other.begin("$")
    (id,) = topic.fill(1)
    topic.finish()
    assert (topic.handled(id), other.handled(id)) == ("done", "unread")


def test_handled_looks_at_one_groups_rows(topic: Topic, other: Topic) -> None:
    (id,) = both_hold(topic, other, "Ordered")
    topic.done(id, 1, kind="topic")
    assert (topic.handled(id), other.handled(id)) == ("done", "held")


# -- REPLY -------------------------------------------------------------------------------------------------------------


def reply(topic: Topic, n: int = 0, key: str = "shop:replies:1", kept: int = 1000) -> str:
    said: bytes = topic.run(REPLY, [key], kept, LONG, "event_id", f"e{n}")
    return said.decode()


def test_an_answer_brings_the_end_of_its_stream(topic: Topic) -> None:
    first, second = reply(topic, 1), reply(topic, 2)
    assert topic.ids("shop:replies:1") == [first, second]
    assert 0 < topic("PTTL", "shop:replies:1") <= LONG


def test_an_answer_that_is_late_leaks_nothing_either(topic: Topic) -> None:
    reply(topic)
    topic("DEL", "shop:replies:1")
    reply(topic)
    assert 0 < topic("PTTL", "shop:replies:1") <= LONG


def test_a_stream_that_lives_for_ever_is_no_reply_stream(topic: Topic) -> None:
    """Who asks names the key: it may be anything, also a topic, and must not die."""
    ids = topic.fill(1)
    assert reply(topic, key=TOPIC) == "0"
    assert (topic.ids(), topic("PTTL", TOPIC)) == (ids, -1)


def test_a_reply_stream_does_not_grow_for_ever(topic: Topic) -> None:
    for n in range(350):
        reply(topic, n, kept=100)
    assert 100 <= len(topic.ids("shop:replies:1")) <= 200


def test_a_key_of_another_type_is_told(topic: Topic) -> None:
    topic("SET", "shop:replies:1", "x", "PX", LONG)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        reply(topic)
