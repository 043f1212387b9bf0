"""MOVE: from the due set into the stream, when the time has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamtask.broker.keys import GROUP
from streamtask.broker.link import Arg, ResponseError
from streamtask.broker.scripts import DEFER, MOVE, RELEASE
from tests.redis.kit import Item, Stage

PAST, FUTURE = 1_600_000_000_000, 4_000_000_000_000


def defer(stage: Stage, mid: str, at: int, *fields: Arg) -> None:
    stage.run(
        DEFER, [stage.keys.due, stage.keys.body], mid, at, 1, 0, *(fields or ("task", "t", "id", mid, "args", "{}"))
    )


def move(stage: Stage, me: str = "w1", limit: int = 100, lock: int = 60_000, force: int = 0) -> Any:
    """Moved, ms until the next, the time, are we the mover, was something given back?"""
    keys = stage.keys
    return stage.run(MOVE, [keys.due, keys.body, keys.stream, keys.where, keys.mover], GROUP, me, limit, lock, force)


def test_what_is_due_moves_in_the_order_of_its_time_and_the_rest_stays(stage: Stage) -> None:
    stage.group()
    for mid, at in (("late", PAST + 2), ("early", PAST), ("future", FUTURE)):
        defer(stage, mid, at)
    before = stage.time()
    moved, wait, now, leader, _ = move(stage)
    assert before <= now <= stage.time()
    assert (moved, leader) == (2, 1)
    assert FUTURE - wait == pytest.approx(now, abs=1)
    assert [fields[b"id"] for _, fields in stage.entries()] == [b"early", b"late"]
    assert set(stage.due()) == set(stage.hash(stage.keys.body)) == {"future"}
    assert stage.hash(stage.keys.where) == {
        mid: id.encode() for mid, (id, _) in zip(("early", "late"), stage.entries(), strict=True)
    }


def test_an_empty_set_says_so(stage: Stage) -> None:
    assert move(stage)[:2] == [0, -1]
    assert stage("EXISTS", stage.keys.stream) == 0


def test_at_most_the_limit_moves_and_the_next_call_goes_on_at_once(stage: Stage) -> None:
    stage.group()
    for n in range(5):
        defer(stage, str(n), PAST + n)
    assert [move(stage, limit=2)[:2] for _ in range(3)] == [[2, 0], [2, 0], [1, -1]]
    assert [fields[b"id"] for _, fields in stage.entries()] == [b"0", b"1", b"2", b"3", b"4"]


def test_fields_with_all_bytes_arrive_as_they_were(stage: Stage) -> None:
    every = bytes(range(256))
    flat = (b"task", b"12:3,", every, every * 40, b"", b"", b"0:,", b":", b"id", b"m")
    stage.group()
    defer(stage, "m", PAST, *flat)
    move(stage)
    ((id, fields),) = stage.entries()
    assert fields == dict(zip(flat[::2], flat[1::2], strict=True))
    assert stage.hash(stage.keys.where) == {"m": id.encode()}


def test_a_settled_retry_comes_back_byte_for_byte(stage: Stage) -> None:
    flat = (b"task", b"t", b"id", b"m", b"args", bytes(range(256)))
    (id,) = stage.hold("m")
    stage.settle(Item("R", id, delay=1, fields=flat))
    stage("ZADD", stage.keys.due, PAST, "m")  # a millisecond later
    assert move(stage)[0] == 1
    ((_, fields),) = stage.entries()
    assert fields == dict(zip(flat[::2], flat[1::2], strict=True))


def test_two_messages_of_one_id_both_move(stage: Stage) -> None:
    first, second = stage.hold("m", "m")
    for id in (first, second):
        stage.settle(Item("R", id, delay=60_000, fields=("task", "t", "id", "m", "args", id)))
    for member in stage.due():
        stage("ZADD", stage.keys.due, PAST, member)
    assert move(stage)[0] == 2
    assert {fields[b"args"].decode() for _, fields in stage.entries()} == {first, second}
    assert list(stage.hash(stage.keys.where)) == ["m"]


def test_it_tells_whether_something_was_given_back(stage: Stage) -> None:
    assert move(stage)[4] == 0, "also where nobody has read yet"
    stage.group()
    stage("XADD", stage.keys.stream, "1-1", "id", "a")
    stage("XREADGROUP", "GROUP", GROUP, "w1", "STREAMS", stage.keys.stream, ">")
    assert move(stage)[4] == 0
    stage.run(RELEASE, [stage.keys.stream, stage.keys.suspects], GROUP, "w1", 0, "1-1", 1, 0, "a", 0)
    assert [move(stage, me)[4] for me in ("w1", "w2")] == [1, 1], "the mover and who stands by"


# -- one mover --------


def test_one_moves_and_the_others_stand_by(stage: Stage) -> None:
    stage.group()
    assert move(stage, "w1")[3] == 1
    defer(stage, "m", PAST)
    assert move(stage, "w2")[:2] + move(stage, "w2")[3:4] == [0, -1, 0]
    assert stage.ids() == []
    assert move(stage, "w1")[0] == 1
    assert 0 < stage("PTTL", stage.keys.mover) <= 60_000


def test_who_knows_of_something_due_moves_it_although_it_is_not_the_mover(stage: Stage) -> None:
    stage.group()
    move(stage, "w1")
    defer(stage, "m", PAST)
    moved, _, _, leader, _ = move(stage, "w2", force=1)
    assert (moved, leader) == (1, 0)
    assert stage("GET", stage.keys.mover) == b"w1"


def test_a_mover_that_is_gone_is_replaced(stage: Stage) -> None:
    stage.group()
    move(stage, "w1")
    stage("DEL", stage.keys.mover)  # its two seconds are over
    assert move(stage, "w2")[3] == 1
    assert move(stage, "w1")[3] == 0


# -- errors --------


def test_a_stream_of_the_wrong_type_loses_nothing(stage: Stage) -> None:
    defer(stage, "m", PAST)
    stage("SET", stage.keys.stream, "somebody's")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        move(stage)
    assert set(stage.due()) == set(stage.hash(stage.keys.body)) == {"m"}
    stage("DEL", stage.keys.stream)
    assert move(stage)[0] == 1


def test_a_stream_that_takes_no_entry_loses_nothing(stage: Stage) -> None:
    stage.group()
    defer(stage, "m", PAST)
    last = 2**64 - 1
    stage("XADD", stage.keys.stream, f"{last}-{last}", "id", "the last one of all")
    with pytest.raises(ResponseError, match="exhausted"):
        move(stage)
    assert set(stage.due()) == set(stage.hash(stage.keys.body)) == {"m"}
    stage("DEL", stage.keys.stream)
    assert move(stage)[0] == 1


def test_a_place_of_the_wrong_type_moves_each_message_once(stage: Stage) -> None:
    stage.group()
    defer(stage, "m", PAST)
    stage("SET", stage.keys.where, "somebody's")
    assert [move(stage)[0] for _ in range(2)] == [1, 0]
    assert len(stage.ids()) == 1


@pytest.mark.parametrize(
    "body",
    [
        *(b"garbage", b"", b"4:task", b"-9:task,1:t,", b"4:task,1:t,2:id,", b"99999999999999999999:x,"),
        *(b"0x4:task,1:t,", b"1:x,1:y," * 5000),
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_damaged_body_does_not_stop_what_is_behind_it(stage: Stage, body: bytes) -> None:
    """It goes on as an entry that nobody can read, and ends as a dead letter with its bytes."""
    stage.group()
    defer(stage, "damaged", PAST)
    defer(stage, "sound", PAST + 1)
    stage("HSET", stage.keys.body, "damaged", body)
    assert move(stage)[0] == 2
    first, second = (fields for _, fields in stage.entries())
    assert b"task" not in first or b"id" not in first
    assert second[b"id"] == b"sound"
    assert (stage.due(), stage.hash(stage.keys.body)) == ({}, {})


def test_a_member_without_a_body_is_dropped(stage: Stage) -> None:
    stage.group()
    stage("ZADD", stage.keys.due, PAST, "m")
    assert move(stage)[0] == 1
    assert (stage.ids(), stage.due()) == ([], {})


def test_what_was_accepted_moves_also_at_full_memory(full: Callable[[Callable[[Stage], None]], Stage]) -> None:
    stage = full(lambda stage: defer(stage, "m", PAST))
    assert move(stage)[0] == 1
    assert len(stage.ids()) == 1
