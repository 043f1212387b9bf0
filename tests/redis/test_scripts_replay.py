"""REPLAY: a dead letter goes back into its stream, exactly once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamtask.broker.link import ResponseError
from streamtask.broker.scripts import REPLAY
from tests.redis.kit import LONG, Item, Stage

FIELDS = ("task", "t", "id", "m", "args", "{}")
AS_READ = {b"task": b"t", b"id": b"m", b"args": b"{}"}
LOCK = "{ns:q}:unique:t:1"


def bury(stage: Stage, mid: str = "m") -> str:
    """A dead letter with its record; gives its entry id."""
    (id,) = stage.hold(mid)
    record = stage.keys.result(mid)
    stage.settle(
        Item("X", id, mid=mid, result=record, value='{"state":"dead"}', fields=(*FIELDS, "dead_reason", "retries"))
    )
    return stage.ids(stage.keys.dead)[-1]


def replay(stage: Stage, dead: str, mid: str = "m", lock: str = "", force: int = 0) -> str:
    keys = [stage.keys.dead, stage.keys.stream, stage.keys.result(mid), *([lock] if lock else [])]
    found: bytes = stage.run(REPLAY, keys, dead, mid, LONG, force, *FIELDS)
    return found.decode()


def test_it_moves_back_with_the_fields_it_is_given_and_its_failure_is_no_end_any_more(stage: Stage) -> None:
    dead = bury(stage)
    entry = replay(stage, dead)
    assert stage.entries() == [(entry, AS_READ)]
    assert stage.ids(stage.keys.dead) == []
    assert stage("EXISTS", stage.keys.result("m")) == 0
    assert stage.read() == [entry]


def test_twice_is_once(stage: Stage) -> None:
    dead = bury(stage)
    assert replay(stage, dead) != "0"
    assert replay(stage, dead) == "0"
    assert replay(stage, "1-1") == "0"
    assert len(stage.ids()) == 1


def test_only_its_own_dead_letter_goes(stage: Stage) -> None:
    first, second = bury(stage, "m"), bury(stage, "n")
    replay(stage, second, "n")
    assert stage.ids(stage.keys.dead) == [first]


def test_its_lock_is_taken_again(stage: Stage) -> None:
    assert replay(stage, bury(stage), lock=LOCK) != "-1"
    assert stage("GET", LOCK) == b"m"
    assert 0 < stage("PTTL", LOCK) <= LONG


def test_a_lock_that_another_holds_refuses_unless_forced(stage: Stage) -> None:
    dead = bury(stage)
    stage("SET", LOCK, "somebody", "PX", LONG)
    assert replay(stage, dead, lock=LOCK) == "-1"
    assert (stage.ids(), stage.ids(stage.keys.dead)) == ([], [dead])
    assert stage("EXISTS", stage.keys.result("m")) == 1
    assert replay(stage, dead, lock=LOCK, force=1) != "-1"
    assert stage("GET", LOCK) == b"m"


def test_an_event_is_found_until_it_is_done(stage: Stage) -> None:
    dead = bury(stage)
    names = [stage.keys.dead, stage.keys.stream, stage.keys.result("m"), stage.keys.where]
    entry = stage.run(REPLAY, names, dead, "m", LONG, "event", *FIELDS)
    assert stage("HGETALL", stage.keys.where) == [b"m", entry]


def test_its_own_lock_does_not_refuse_it(stage: Stage) -> None:
    dead = bury(stage)
    stage("SET", LOCK, "m", "PX", LONG)
    assert replay(stage, dead, lock=LOCK) not in ("0", "-1")


@pytest.mark.parametrize("wrong", ["stream", "lock"])
def test_a_wrong_type_leaves_the_dead_letter(stage: Stage, wrong: str) -> None:
    dead = bury(stage)
    key = LOCK if wrong == "lock" else stage.keys.stream
    stage("DEL", key)
    stage("HSET", key, "a", "b")
    stage("EXPIRE", key, 60)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        replay(stage, dead, lock=LOCK)
    assert stage.ids(stage.keys.dead) == [dead]


def test_full_memory_leaves_the_dead_letter(full: Callable[[Callable[[Stage], None]], Stage]) -> None:
    known: list[str] = []
    stage = full(lambda stage: known.append(bury(stage)))
    with pytest.raises(ResponseError, match="maxmemory"):
        replay(stage, known[0], lock=LOCK)
    assert stage.ids(stage.keys.dead) == known
    assert stage("EXISTS", LOCK) == 0
