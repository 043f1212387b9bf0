"""SETTLE: a batch of verdicts, each carried out only by who holds the message."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from streamtask.broker.watch import SyncWatch
from tests.redis.kit import LONG, Item, Row, Stage

FIELDS = ("task", "t", "id", "m", "args", '{"n":1}')
AS_READ = {b"task": b"t", b"id": b"m", b"args": b'{"n":1}'}


def test_done_writes_the_result_tells_of_it_and_deletes_the_message(stage: Stage) -> None:
    (id,) = stage.hold("m")
    key = stage.keys.result("m")
    with SyncWatch(stage.url, key, timeout=5) as watch:
        assert stage.settle(Item("D", id, result=key, value=b'{"state":"done"}', ttl=LONG)) == [1]
        start = time.monotonic()
        watch.wait(30)
        assert time.monotonic() - start < 20, "the notice ended the wait"
    assert stage("GET", key) == b'{"state":"done"}'
    assert 0 < stage("PTTL", key) <= LONG
    assert (stage.ids(), stage.pending()) == ([], {})


def test_done_without_a_result_leaves_nothing(stage: Stage) -> None:
    (id,) = stage.hold("m")
    assert stage.settle(Item("D", id)) == [1]
    assert set(stage("KEYS", "*")) == {stage.keys.stream.encode()}


def test_a_retry_waits_in_the_due_set_with_all_its_fields(stage: Stage) -> None:
    (id,) = stage.hold("m")
    before = stage.time()
    assert stage.settle(Item("R", id, delay=30_000, fields=FIELDS)) == [1]
    assert before + 30_000 <= stage.due()["m"] <= stage.time() + 30_000
    assert stage.hash(stage.keys.body) == {"m": b'4:task,1:t,2:id,1:m,4:args,7:{"n":1},'}
    assert (stage.ids(), stage.pending()) == ([], {})


def test_a_retry_at_once_goes_to_the_end_of_the_stream(stage: Stage) -> None:
    id, other = stage.hold("m", "other")
    assert stage.settle(Item("R", id, delay=0, fields=FIELDS)) == [1]
    (_, (again, fields)) = stage.entries()
    assert fields == AS_READ
    assert stage.hash(stage.keys.where) == {"m": again.encode()}, "a lookup by message id finds its new entry"
    assert stage.pending() == {other: Row("w1", 1)}
    assert stage.due() == {}


def test_a_dead_letter_keeps_the_fields_it_is_given(stage: Stage) -> None:
    (id,) = stage.hold("m")
    assert stage.settle(Item("X", id, fields=(*FIELDS, "dead_reason", "retries"))) == [1]
    ((_, fields),) = stage.entries(stage.keys.dead)
    assert fields == AS_READ | {b"dead_reason": b"retries"}
    assert (stage.ids(), stage.pending()) == ([], {})


def test_a_batch_has_one_status_an_item_in_its_order(stage: Stage) -> None:
    ids = stage.hold(*"abcde")
    stage.take_over(ids[1], "w2")
    stage.take_over(ids[2], "w1")
    found = stage.settle(
        Item("R", ids[3], mid="d", delay=1000, fields=FIELDS),
        Item("D", ids[1], mid="b"),
        Item("X", ids[2], mid="c", fields=FIELDS),
        Item("D", ids[0], mid="a"),
        Item("D", ids[0], mid="a"),
        Item("D", "1-1", mid="never"),
    )
    assert found == [1, 0, 0, 1, 0, 0]
    assert stage.pending() == {ids[1]: Row("w2", 2), ids[2]: Row("w1", 2), ids[4]: Row("w1", 1)}
    assert stage.ids(stage.keys.dead) == []


def test_a_batch_may_span_any_time(stage: Stage) -> None:
    ids = stage.hold_at("1-1", "1-2", "7-0", "1700000000000-0")
    assert stage.settle(Item("D", ids[0], mid="a"), Item("D", ids[3], mid="d")) == [1, 1]
    assert stage.settle(Item("D", ids[2], mid="c"), Item("D", ids[1], mid="b")) == [1, 1]
    assert stage.ids() == []


@pytest.mark.parametrize("op", ["D", "R", "X"])
def test_a_verdict_without_the_token_changes_nothing(stage: Stage, op: str) -> None:
    """A late finisher never overwrites the newer attempt: neither its place, nor its lock, nor its result."""
    (id,) = stage.hold("m")
    lock, result = stage.keys.unique("t", "h"), stage.keys.result("m")
    stage("SET", lock, "m", "PX", LONG)
    stage.take_over(id, "w2")
    before = sorted(stage("KEYS", "*"))
    verdict = Item(op, id, unique=lock, result=result, value="late", delay=5, fields=FIELDS)
    assert stage.settle(verdict) == [0]
    assert stage.settle(verdict._replace(count=2)) == [0], "the right count under another name"
    assert stage.settle(verdict, me="w2") == [0], "the right name with an old count"
    assert sorted(stage("KEYS", "*")) == before
    assert stage.pending() == {id: Row("w2", 2)}
    assert stage("GET", lock) == b"m"


def test_sent_again_after_a_lost_reply_it_changes_nothing(stage: Stage) -> None:
    (id,) = stage.hold("m")
    verdict = Item("X", id, fields=FIELDS)
    assert (stage.settle(verdict), stage.settle(verdict)) == ([1], [0])
    assert len(stage.ids(stage.keys.dead)) == 1


def test_a_deleted_entry_can_still_be_settled(stage: Stage) -> None:
    """Its fields come from the worker, which has them."""
    ids = stage.hold("m", "n")
    stage("XDEL", stage.keys.stream, *ids)
    assert stage.settle(Item("R", ids[0], delay=9000, fields=FIELDS), Item("D", ids[1], mid="n")) == [1, 1]
    assert stage.pending() == {}
    assert set(stage.due()) == {"m"}


def test_a_topic_keeps_its_entries_for_other_groups(stage: Stage) -> None:
    ids = stage.hold("m", "n")
    assert stage.settle(Item("D", ids[0]), Item("R", ids[1], mid="n", delay=1000, fields=FIELDS), kind="topic") == [
        1,
        1,
    ]
    assert stage.ids() == ids
    assert stage.pending() == {}


# -- unique keys, marks, places --------


@pytest.mark.parametrize("op", ["D", "X"])
def test_a_final_verdict_opens_the_lock_that_its_message_holds(stage: Stage, op: str) -> None:
    id, other = stage.hold("m", "n")
    mine, theirs = stage.keys.unique("t", "1"), stage.keys.unique("t", "2")
    stage("SET", mine, "m", "PX", LONG)
    stage("SET", theirs, "somebody", "PX", LONG)
    assert stage.settle(
        Item(op, id, unique=mine, fields=FIELDS), Item(op, other, mid="n", unique=theirs, fields=FIELDS)
    ) == [1, 1]  # fmt: skip
    assert stage("GET", mine) is None
    assert stage("GET", theirs) == b"somebody"


def test_a_retry_keeps_the_lock_and_gives_it_more_time(stage: Stage) -> None:
    id, other = stage.hold("m", "n")
    mine, theirs = stage.keys.unique("t", "1"), stage.keys.unique("t", "2")
    for lock, holder in ((mine, "m"), (theirs, "somebody")):
        stage("SET", lock, holder, "PX", 5000)
    retry = Item("R", id, unique=mine, unique_ttl=LONG, delay=1000, fields=FIELDS)
    assert stage.settle(retry, retry._replace(id=other, mid="n", unique=theirs)) == [1, 1]
    assert stage("PTTL", mine) > 5000
    assert stage("PTTL", theirs) <= 5000


@pytest.mark.parametrize("op", ["D", "R", "X"])
def test_a_settled_suspect_is_none_any_more(stage: Stage, op: str) -> None:
    id, unmarked = stage.hold("m", "n")
    stage.mark(id, 1, "m", unmarked, 1, "n")
    assert stage.settle(
        Item(op, id, marked=True, delay=1000, fields=FIELDS), Item(op, unmarked, mid="n", delay=1000, fields=FIELDS)
    ) == [1, 1]  # fmt: skip
    assert set(stage.hash(stage.keys.suspects)) == {"n"}


@pytest.mark.parametrize("op", ["D", "R", "X"])
def test_the_place_of_a_moved_message_is_forgotten(stage: Stage, op: str) -> None:
    (id,) = stage.hold("m")
    stage("HSET", stage.keys.where, "m", id)
    assert stage.settle(Item(op, id, delay=1000, fields=FIELDS)) == [1]
    assert stage.hash(stage.keys.where) == {}


# -- two messages of one id --------


def test_two_messages_with_one_id_both_wait(stage: Stage) -> None:
    """A foreign producer's ids are not ours to trust: nothing is lost, whoever wrote them."""
    first, second = stage.hold("m", "m")
    for id, n in ((first, "1"), (second, "2")):
        assert stage.settle(Item("R", id, delay=1000, fields=("task", "t", "id", "m", "args", n))) == [1]
    assert set(stage.due()) == {"m", f"m@{second}"} == set(stage.hash(stage.keys.body))
    assert stage.hash(stage.keys.body)["m"].endswith(b"1:1,")
    assert stage.hash(stage.keys.body)[f"m@{second}"].endswith(b"1:2,")


# -- bytes --------


def test_fields_may_hold_any_bytes(stage: Stage) -> None:
    """Also what netstrings use: digits, colons, commas."""
    every = bytes(range(256))
    fields = ("task", b"12:3,", every, every, b"", b"", b"0:,", b":")
    (id,) = stage.hold("m")
    assert stage.settle(Item("R", id, delay=1000, fields=fields)) == [1]
    packed = stage.hash(stage.keys.body)["m"]
    raw = [field.encode() if isinstance(field, str) else field for field in fields]
    assert packed == b"".join(b"%d:%b," % (len(field), field) for field in raw)
    (again,) = stage.hold("n")
    assert stage.settle(Item("X", again, fields=fields)) == [1]
    ((_, dead),) = stage.entries(stage.keys.dead)
    assert dead == dict(zip(raw[::2], raw[1::2], strict=True))


# -- errors --------


@pytest.mark.parametrize(
    ("wrong", "op", "delay"),
    [("due", "R", 1000), ("body", "R", 1000), ("dead", "X", 0)],
    ids=["due", "body", "dead"],
)  # fmt: skip
def test_a_destination_of_the_wrong_type_leaves_its_item_and_settles_the_neighbours(
    stage: Stage, wrong: str, op: str, delay: int
) -> None:
    ids = stage.hold(*"abc")
    key = getattr(stage.keys, wrong)
    stage("SET", key, "somebody's", "PX", LONG)
    bad = Item(op, ids[1], mid="b", delay=delay, fields=FIELDS, marked=True)
    found = stage.settle(Item("D", ids[0], mid="a"), bad, Item("D", ids[2], mid="c"))
    assert (found[0], found[2]) == (1, 1)
    assert b"WRONGTYPE" in found[1]
    assert stage.pending() == {ids[1]: Row("w1", 1)}
    assert stage.ids() == [ids[1]]
    untouched = {stage.keys.due, stage.keys.body, stage.keys.dead} - {key}
    assert stage("EXISTS", *untouched) == 0, "no half of a destination is left behind"
    stage("DEL", key)
    assert stage.settle(bad) == [1], "and it can be settled later"


@pytest.mark.parametrize("op", ["D", "R", "X"])
@pytest.mark.parametrize("wrong", ["where", "suspects", "unique"])
def test_a_key_of_the_wrong_type_beside_the_destination_holds_nothing_up(stage: Stage, wrong: str, op: str) -> None:
    """An error after the destination was written would write it again with every try."""
    (id,) = stage.hold("m")
    lock = stage.keys.unique("t", "h")
    stage("RPUSH", lock if wrong == "unique" else getattr(stage.keys, wrong), "somebody's")
    stage("EXPIRE", lock, 60)
    verdict = Item(op, id, marked=True, unique=lock, delay=1000, fields=FIELDS)
    assert stage.settle(verdict) == [1]
    assert stage.pending() == {}


def test_a_retry_at_once_into_a_wrong_place_is_written_once(stage: Stage) -> None:
    (id,) = stage.hold("m")
    stage("SET", stage.keys.where, "somebody's", "PX", LONG)
    assert stage.settle(Item("R", id, delay=0, fields=FIELDS)) == [1]
    assert len(stage.ids()) == 1


def test_a_result_replaces_whatever_had_its_key(stage: Stage) -> None:
    (id,) = stage.hold("m")
    key = stage.keys.result("m")
    stage("RPUSH", key, "somebody's")
    assert stage.settle(Item("D", id, result=key, value="1")) == [1]
    assert stage("GET", key) == b"1"


def test_a_result_that_is_refused_leaves_its_item(stage: Stage) -> None:
    """Nothing is written yet, so it can be settled in another form."""
    ids = stage.hold(*"ab")
    verdict = Item("D", ids[0], mid="a", result=stage.keys.result("a"), value="1", ttl=0)
    found = stage.settle(verdict, Item("D", ids[1], mid="b"))
    assert b"invalid expire" in found[0]
    assert found[1] == 1
    assert stage.pending() == {ids[0]: Row("w1", 1)}
    assert stage.settle(verdict._replace(result="")) == [1]


def test_an_item_that_is_no_verdict_is_that_items_error(stage: Stage) -> None:
    ids = stage.hold(*"ab")
    found = stage.settle(Item("X", ids[0], mid="a", fields=()), Item("D", ids[1], mid="b"))
    assert isinstance(found[0], bytes)
    assert found[1] == 1
    assert stage.pending() == {ids[0]: Row("w1", 1)}


def test_every_verdict_works_at_full_memory(full: Callable[[Callable[[Stage], None]], Stage]) -> None:
    """What was accepted must be able to end, also when Redis takes nothing new."""
    ids: list[str] = []
    stage = full(lambda stage: ids.extend(stage.hold(*"abcd")))
    key = stage.keys.result("a")
    assert stage.settle(
        Item("D", ids[0], mid="a", result=key, value="1"),
        Item("R", ids[1], mid="b", delay=1000, fields=FIELDS),
        Item("R", ids[2], mid="c", delay=0, fields=FIELDS),
        Item("X", ids[3], mid="d", fields=FIELDS),
    ) == [1, 1, 1, 1]
    assert stage("GET", key) == b"1"
    assert (set(stage.due()), len(stage.ids()), len(stage.ids(stage.keys.dead))) == ({"b"}, 1, 1)
