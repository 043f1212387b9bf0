"""PUBLISH and TRIM: a topic is cut only by what every group has done with, or by what was chosen to be lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamtask.broker.keys import lost, published
from streamtask.broker.link import ResponseError
from tests.redis.kit import LONG, Row, Stage, fill
from tests.redis.topics import TOPIC, Topic
from tests.servers import StartServer

newest = pytest.mark.parametrize("server_name", ["redis-8.6"])


def test_it_adds_the_fields_as_they_are_and_answers_the_entry_id(topic: Topic) -> None:
    status, id = topic.publish(fields=("event_id", "e", "payload", b"\x00\xff", "x", ""))
    assert status == 1
    assert topic.entries() == [(id, {b"event_id": b"e", b"payload": b"\x00\xff", b"x": b""})]
    assert set(topic("KEYS", "*")) == {TOPIC.encode()}, "without a lock it leaves nothing else"


# -- once --------------------------------------------------------------------------------------------------------------


def test_under_one_key_it_adds_once_and_answers_the_first_entry(topic: Topic) -> None:
    _, id = topic.publish(1, lock="key:k")
    assert topic.publish(2, lock="key:k") == [0, id]
    assert topic.publish(3, lock="key:other")[0] == 1
    assert topic.ids()[0] == id
    assert len(topic.ids()) == 2
    lock = published(TOPIC, "key:k")
    assert topic("GET", lock) == id.encode()
    assert 0 < topic("PTTL", lock) <= LONG


def test_a_key_whose_time_is_over_may_be_published_again(topic: Topic) -> None:
    topic.publish(1, lock="key:k")
    topic("DEL", published(TOPIC, "key:k"))
    assert topic.publish(1, lock="key:k")[0] == 1


def test_a_key_is_known_also_when_its_topic_is_full_or_its_entry_is_gone(topic: Topic) -> None:
    _, id = topic.publish(1, lock="key:k", full=1)
    assert topic.publish(1, lock="key:k", full=1) == [0, id]
    topic("XDEL", TOPIC, id)
    assert topic.publish(1, lock="key:k", full=1) == [0, id]


def test_a_refused_event_leaves_no_lock(topic: Topic) -> None:
    topic.publish(1)
    assert topic.publish(2, lock="key:k", full=1) == [-1, 1]
    assert not topic("EXISTS", published(TOPIC, "key:k"))


@newest
def test_an_idempotent_add_is_known_by_its_producer_and_the_id_of_the_publication(topic: Topic) -> None:
    _, id = topic.publish(1, pid="p", id="a")
    assert topic.publish(1, pid="p", id="a") == [1, id]
    assert topic.publish(1, pid="p", id="b")[1] != id
    assert topic.publish(1, pid="q", id="a")[1] != id
    assert len(topic.ids()) == 3


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_entries_that_all_groups_have_done_with_go_beyond_what_is_kept(topic: Topic) -> None:
    """Only now and then: here when the hundredth is there."""
    topic.begin(), topic.seen_by("h").begin()
    ids = topic.fill(400)
    topic.finish(), topic.seen_by("h").finish()
    topic.publish(most=100)
    left = topic.ids()
    assert 101 <= len(left) <= 201, "Redis cuts whole nodes"
    assert left[:-1] == ids[-len(left) + 1 :]
    topic.publish(most=100)
    assert topic.ids()[:-1] == left, "it is not tried each time"


def test_nothing_that_a_group_has_not_read_is_cut(topic: Topic) -> None:
    topic.begin(), topic.seen_by("h").begin()
    ids = topic.fill(400)
    topic.finish()
    topic.seen_by("h").finish(count=150)
    topic.publish(most=10)
    left = topic.ids()
    assert ids.index(left[0]) <= 150
    assert left[:-1] == ids[-len(left) + 1 :]
    assert len(left) <= 351, "whole nodes below it may go"
    topic.trim(most=10)
    assert topic.ids()[0] == ids[150], "and the rest by hand"


@pytest.mark.parametrize("place", [0, 120])
def test_nothing_that_a_group_holds_is_cut(topic: Topic, place: int) -> None:
    """Neither in a worker's hands nor given back."""
    other = topic.seen_by("h")
    topic.begin(), other.begin()
    ids = topic.fill(400)
    topic.finish(), other.read()
    held = ids[place]
    other("XACK", TOPIC, "h", *[id for id in ids if id != held])
    other.back_to_released(held, 1)
    for _ in range(5):
        topic.trim(most=10)
    assert held in topic.ids()
    assert other.pending() == {held: Row("released", 1)}
    assert topic.ids()[0] == held, "what comes before it is cut"
    other("XACK", TOPIC, "h", held)
    new = topic.fill(10)
    topic.finish(), other.finish()
    for _ in range(5):
        topic.trim(most=10)
    assert topic.ids() == new


@newest
def test_where_redis_can_what_is_done_goes_also_behind_what_is_not(topic: Topic) -> None:
    topic.begin()
    ids = topic.fill(400)
    topic.read()
    topic("XACK", TOPIC, "g", *ids[1:])
    assert topic.trim(most=100)[0] > 0
    left = topic.ids()
    assert left[0] == ids[0]
    assert len(left) <= 200


def test_without_groups_the_newest_are_kept(topic: Topic) -> None:
    ids = topic.fill(400)
    topic.trim(most=100)
    assert topic.ids() == ids[-100:]


def test_a_group_that_begins_at_the_end_keeps_nothing_that_came_before(topic: Topic) -> None:
    topic.fill(300)
    topic.begin("$")
    unread = topic.fill(50)
    topic.trim(most=10)
    assert topic.ids() == unread


@pytest.mark.parametrize("start", ["now", "past"])
def test_a_group_that_begins_at_a_time_is_no_hindrance(topic: Topic, start: str) -> None:
    """Such a group stands behind the last possible entry of a millisecond: there is no next number."""
    ids = topic.fill(250)
    ms = topic.time() if start == "now" else int(ids[0].partition("-")[0]) - 5
    topic.begin(f"{ms}-18446744073709551615")
    assert topic.publish(most=100, full=250)[0] == (1 if start == "now" else -1)
    topic.trim(most=100)
    assert len(topic.ids()) == (100 if start == "now" else 250)


def test_many_groups_and_one_that_never_reads(topic: Topic) -> None:
    groups = [topic.seen_by(f"g{n}").begin() for n in range(20)]
    ids = topic.fill(300)
    for group in groups[1:]:
        group.finish()
    for _ in range(3):
        topic.publish(most=100)
        topic.trim(most=100)
    assert topic.ids()[:300] == ids
    groups[0].finish(count=200)
    topic.trim(most=100)
    assert topic.ids()[0] == ids[200]
    topic("DEL", TOPIC)


def test_nothing_is_cut_where_all_is_kept(topic: Topic) -> None:
    topic.fill(300)
    topic.publish(most=0)
    assert topic.trim(most=0) == [0, 0]
    assert len(topic.ids()) == 301


# -- full --------------------------------------------------------------------------------------------------------------


def test_a_full_topic_refuses_and_says_how_full(topic: Topic) -> None:
    topic.begin()
    ids = topic.fill(5)
    assert topic.publish(full=5) == [-1, 5]
    assert topic.publish(full=5, most=5) == [-1, 5]
    assert topic.publish(full=4) == [-1, 5]
    assert topic.ids() == ids
    assert topic.lost() == {}
    assert topic.publish(full=6)[0] == 1


@pytest.mark.parametrize(("most", "full"), [(1, 2), (3, 5), (10, 50), (99, 100), (100, 250)])
def test_a_topic_of_any_size_goes_on_when_all_is_done(topic: Topic, most: int, full: int) -> None:
    """Redis cuts whole nodes of a hundred, so a short topic would stay full for ever."""
    topic.begin()
    for n in range(2 * full):
        assert topic.publish(n, most=most, full=full)[0] == 1
        topic.finish()
    assert most <= len(topic.ids()) <= full


def test_a_full_topic_goes_on_as_soon_as_the_slowest_group_has_done_with_one(topic: Topic) -> None:
    topic.begin(), topic.seen_by("h").begin()
    ids = topic.fill(10)
    topic.finish()
    (first,) = topic.seen_by("h").read(count=1)
    assert topic.publish(most=2, full=10) == [-1, 10], "it is held"
    topic("XACK", TOPIC, "h", first)
    assert topic.publish(most=2, full=10)[0] == 1
    assert topic.ids()[:-1] == ids[1:]


def test_where_dropping_was_chosen_the_oldest_go_and_each_groups_loss_is_counted(topic: Topic) -> None:
    """Of ten, g has done with two, holds one and has not read the others; h has done with all, i has read nothing."""
    others = [topic.seen_by(name).begin() for name in ("h", "i")]
    topic.begin()
    ids = topic.fill(10)
    held = topic.read(count=3)
    topic("XACK", TOPIC, "g", *held[:2])
    others[0].finish()
    assert topic.publish(full=5, overflow="drop")[0] == 1
    assert topic.ids()[:-1] == ids[6:], "one more than too many, for the one that comes"
    assert topic.lost() == {"g": 4, "i": 6}
    assert topic.pending() == {}, "nobody waits for what is gone"
    assert others[1].read() == topic.ids()


def test_losses_add_up_and_what_is_done_comes_first(topic: Topic) -> None:
    topic.begin()
    topic.fill(100)
    topic.finish(count=50)
    for _ in range(200):
        topic.publish(most=10, full=100, overflow="drop")
    assert sum(topic.lost().values()) == 300 - 50 - len(topic.ids())
    assert len(topic.ids()) <= 100
    assert topic("XLEN", TOPIC) == len(topic.ids())


def test_without_groups_nothing_is_lost_to_anybody(topic: Topic) -> None:
    topic.fill(10)
    topic.publish(full=5, overflow="drop")
    assert topic.lost() == {}


def test_a_key_of_another_type_is_told_and_nothing_is_written(topic: Topic) -> None:
    topic("SET", TOPIC, "x", "PX", LONG)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        topic.publish(most=5, full=5, lock="key:k")
    assert not topic("EXISTS", published(TOPIC, "key:k"))


# -- TRIM --------------------------------------------------------------------------------------------------------------


def test_trim_gives_up_only_where_that_was_chosen(topic: Topic) -> None:
    topic.begin()
    ids = topic.fill(1000)
    assert topic.trim(most=10, full=400) == [0, 0]
    assert topic.trim(most=10, full=400, overflow="drop") == [0, 600]
    assert topic.ids() == ids[600:]
    assert topic.lost() == {"g": 600}
    assert topic.trim(most=10, full=400, overflow="drop") == [0, 0]


def test_trim_counts_what_all_had_done_with(topic: Topic) -> None:
    topic.begin()
    ids = topic.fill(1000)
    topic.finish(count=700)
    assert topic.trim(most=10, full=400, overflow="drop") == [700, 0]
    assert topic.ids() == ids[700:]
    assert topic.lost() == {}


def test_trim_of_no_topic_makes_none(topic: Topic) -> None:
    assert topic.trim(most=10, full=20, overflow="drop") == [0, 0]
    assert topic("KEYS", "*") == []


@pytest.fixture
def full_topic(own_server: StartServer, server_name: str) -> Topic:
    """On a server of its own: 400 entries that group g has done with, and a group h that has read half."""
    topic = Topic(own_server(server_name).url)
    topic.begin(), topic.seen_by("h").begin()
    topic.fill(400)
    topic.finish(), topic.seen_by("h").finish(count=200)
    return topic


def test_at_full_memory_publishing_is_refused_trim_makes_room_and_it_works_again(full_topic: Topic) -> None:
    """Publishing would cut the topic itself, but never comes to it: the outage that the trim is there for."""
    topic = full_topic
    used = int(topic("INFO", "memory").decode().partition("used_memory:")[2].split()[0])
    topic("SET", "ballast", "x" * 1_000_000, "PX", LONG)
    topic("CONFIG", "SET", "maxmemory", used + 900_000)
    with pytest.raises(ResponseError, match="maxmemory"):
        topic.publish(1)
    assert topic.trim(most=100, full=1000)[0] >= 100
    topic("DEL", "ballast")
    assert topic.publish(1, most=100, full=1000)[0] == 1
    topic.link.close()


def test_at_full_memory_losses_are_counted_too(full_topic: Topic) -> None:
    fill(full_topic)
    assert full_topic.trim(most=50, full=100, overflow="drop") == [200, 100]
    assert full_topic.lost() == {"h": 100}
    full_topic.link.close()


def test_at_full_memory_publishing_tells_it(full: Callable[[Callable[[Stage], None]], Stage]) -> None:
    stage = full(lambda stage: None)
    topic = Topic(stage.url)
    for lock in ("", "key:k"):
        with pytest.raises(ResponseError, match="maxmemory"):
            topic.publish(1, most=10, full=20, lock=lock)
    assert topic("KEYS", "*") == []
    assert lost(TOPIC) == "{shop:events}:lost"
    topic.link.close()
