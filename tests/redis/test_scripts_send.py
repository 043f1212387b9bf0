"""ENQ and DEFER: what producers send by when a plain XADD is not enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamtask.broker.link import Arg, ResponseError
from streamtask.broker.scripts import DEFER, ENQ
from tests.redis.kit import LONG, Stage

Full = Callable[[Callable[[Stage], None]], Stage]
FIELDS = ("task", "t", "id", "m", "args", "{}")
AS_READ = {b"task": b"t", b"id": b"m", b"args": b"{}"}
LOCK, OTHER = "{ns:q}:unique:t:1", "{ns:q}:unique:t:2"


def enq(stage: Stage, mid: str = "m", *locks: str, ttl: int = LONG, fields: tuple[Arg, ...] = FIELDS) -> Any:
    return stage.run(ENQ, [stage.keys.stream, *locks], mid, len(locks), *(ttl for _ in locks), *fields)


def defer(
    stage: Stage,
    mid: str = "m",
    *locks: str,
    ms: int = 5000,
    absolute: int = 0,
    ttl: int = LONG,
    fields: tuple[Arg, ...] = FIELDS,
) -> Any:
    keys = [stage.keys.due, stage.keys.body, *locks]
    return stage.run(DEFER, keys, mid, ms, absolute, len(locks), *(ttl for _ in locks), *fields)


def anything(stage: Stage) -> list[bytes]:
    """All keys."""
    return sorted(stage("KEYS", "*"))


# -- ENQ --------


def test_a_free_lock_is_taken_with_the_message(stage: Stage) -> None:
    status, id = enq(stage, "m", LOCK)
    assert status == 1
    assert stage.entries() == [(id.decode(), AS_READ)]
    assert stage("GET", LOCK) == b"m"
    assert LONG - 10_000 < stage("PTTL", LOCK) <= LONG


def test_a_held_lock_sends_nothing_and_names_the_holder(stage: Stage) -> None:
    enq(stage, "first", LOCK)
    assert enq(stage, "second", LOCK) == [0, b"first"]
    assert len(stage.ids()) == 1


def test_the_same_message_again_is_accepted_once(stage: Stage) -> None:
    """A producer whose answer was lost may ask again."""
    enq(stage, "m", LOCK)
    assert enq(stage, "m", LOCK) == [2, b""]
    assert len(stage.ids()) == 1


def test_all_locks_must_be_free_before_any_is_taken(stage: Stage) -> None:
    stage("SET", OTHER, "somebody", "PX", LONG)
    assert enq(stage, "m", LOCK, OTHER) == [0, b"somebody"]
    assert anything(stage) == [OTHER.encode()]
    stage("DEL", OTHER)
    assert enq(stage, "m", LOCK, OTHER)[0] == 1
    assert (stage("GET", LOCK), stage("GET", OTHER)) == (b"m", b"m")


def test_a_lock_that_ran_out_is_free(stage: Stage) -> None:
    enq(stage, "first", LOCK)
    stage("DEL", LOCK)
    assert enq(stage, "second", LOCK)[0] == 1


@pytest.mark.parametrize("wrong", ["{ns:q}:unique:t:1", "ns:q"])
def test_a_wrong_type_sends_nothing_and_locks_nothing(stage: Stage, wrong: str) -> None:
    stage("HSET", wrong, "a", "b")
    stage("EXPIRE", wrong, 60)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        enq(stage, "m", LOCK)
    assert anything(stage) == [wrong.encode()]


@pytest.mark.parametrize("send", [enq, defer], ids=["enq", "defer"])
def test_full_memory_is_told_to_the_caller_before_anything_is_written(full: Full, send: Callable[..., Any]) -> None:
    stage = full(lambda stage: stage.group())
    before = anything(stage)
    with pytest.raises(ResponseError, match="maxmemory"):
        send(stage, "m", LOCK)
    assert anything(stage) == before
    assert stage.ids() == []


# -- DEFER --------


def test_a_countdown_counts_from_the_servers_now(stage: Stage) -> None:
    before = stage.time()
    status, due = defer(stage, ms=5000)
    assert status == 1
    assert before + 5000 <= int(due) <= stage.time() + 5000
    assert stage.due() == {"m": int(due)}
    assert stage.hash(stage.keys.body) == {"m": b"4:task,1:t,2:id,1:m,4:args,2:{},"}


def test_an_eta_is_taken_as_it_is_also_in_the_past(stage: Stage) -> None:
    assert defer(stage, "m", ms=1_900_000_000_123, absolute=1) == [1, b"1900000000123"]
    assert defer(stage, "n", ms=1000, absolute=1) == [1, b"1000"]
    assert stage.due() == {"m": 1_900_000_000_123, "n": 1000}


def test_a_deferred_message_sent_again_keeps_its_first_time(stage: Stage) -> None:
    defer(stage, ms=5000)
    before = stage.due()
    assert defer(stage, ms=9000) == [2, b""]
    assert defer(stage, "m", LOCK, ms=9000) == [2, b""]
    assert stage.due() == before
    assert stage("EXISTS", LOCK) == 0


def test_a_held_lock_defers_nothing(stage: Stage) -> None:
    defer(stage, "first", LOCK)
    assert defer(stage, "second", LOCK) == [0, b"first"]
    assert defer(stage, "first", LOCK) == [2, b""]
    assert enq(stage, "third", LOCK) == [0, b"first"], "both scripts obey one lock"
    assert set(stage.due()) == set(stage.hash(stage.keys.body)) == {"first"}
    assert stage("GET", LOCK) == b"first"


def test_fields_may_hold_any_bytes(stage: Stage) -> None:
    every = bytes(range(256))
    defer(stage, fields=("task", b"12:3,", every, b""))
    assert stage.hash(stage.keys.body)["m"] == b"4:task,5:12:3,,256:" + every + b",0:,"


@pytest.mark.parametrize("wrong", ["due", "body", "lock"])
def test_a_wrong_type_defers_nothing_and_can_be_tried_again(stage: Stage, wrong: str) -> None:
    """A body without its member would look accepted at the next try, and be lost."""
    key = LOCK if wrong == "lock" else getattr(stage.keys, wrong)
    stage("RPUSH", key, "somebody's")
    stage("EXPIRE", key, 60)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        defer(stage, "m", LOCK)
    assert anything(stage) == [key.encode()]
    stage("DEL", key)
    assert defer(stage, "m", LOCK)[0] == 1
    assert set(stage.due()) == set(stage.hash(stage.keys.body)) == {"m"}
