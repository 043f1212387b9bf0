"""READ: what XREADGROUP ... CLAIM does, for servers that have none. It runs on both, so that they can be compared."""

from __future__ import annotations

from typing import Any

import pytest

from streamtask.broker.keys import GROUP, RELEASED
from streamtask.broker.scripts import READ
from tests.redis.kit import LONG, Row, Stage


def read(stage: Stage, me: str = "w2", count: int = 10, lease: int = LONG) -> list[Any]:
    """READ; gives id, deliveries before this one."""
    return [(entry[0].decode(), entry[3]) for entry in stage.run(READ, [stage.keys.stream], GROUP, me, count, lease)]


def make_idle(stage: Stage, *ids: str, owner: str = "w1", ms: int = LONG + 1) -> None:
    """As if nobody had renewed them for that long."""
    for id in ids:
        stage("XCLAIM", stage.keys.stream, GROUP, owner, 0, id, "IDLE", ms, "JUSTID")


def test_what_was_given_back_comes_first_then_what_is_idle(stage: Stage) -> None:
    ids = stage.hold(*"abcd")
    make_idle(stage, ids[0], ids[1])
    stage.back_to_released(ids[2], 0)
    assert read(stage) == [(ids[2], 0), (ids[0], 1), (ids[1], 1)]
    assert stage.pending() == {
        ids[0]: Row("w2", 2), ids[1]: Row("w2", 2), ids[2]: Row("w2", 1), ids[3]: Row("w1", 1)
    }  # fmt: skip
    assert read(stage) == [], "what was just taken is fresh"


def test_it_gives_entries_of_four_like_the_native_command(stage: Stage) -> None:
    (id,) = stage.hold("m")
    make_idle(stage, id)
    (entry,) = stage.run(READ, [stage.keys.stream], GROUP, "w2", 10, LONG)
    assert entry[0].decode() == id
    assert entry[1] == [b"task", b"t", b"id", b"m", b"args", b"{}"]
    assert (entry[2] > LONG, entry[3]) == (True, 1)


@pytest.mark.parametrize("server_name", ["redis-8.6"])
def test_the_native_command_says_the_same(stage: Stage) -> None:
    ids = stage.hold(*"ab")
    make_idle(stage, *ids)
    by_script = stage.run(READ, [stage.keys.stream], GROUP, "w2", 1, LONG)
    make_idle(stage, *ids)
    reply = stage("XREADGROUP", "GROUP", GROUP, "w2", "CLAIM", LONG, "STREAMS", stage.keys.stream, ">")
    native = reply[0][1]
    assert [len(entry) for entry in (*by_script, *native)] == [4, 4, 4]
    assert by_script[0][:2] == next(entry for entry in native if entry[0] == by_script[0][0])[:2]
    assert {entry[0].decode(): entry[3] for entry in native} == {ids[0]: 2, ids[1]: 1}


def test_the_budget_is_for_both_kinds_together(stage: Stage) -> None:
    ids = stage.hold(*"abcde")
    make_idle(stage, *ids[:3])
    for id in ids[3:]:
        stage.back_to_released(id, 0)
    assert read(stage, count=1) == [(ids[3], 0)]
    assert read(stage, count=3) == [(ids[4], 0), (ids[0], 1), (ids[1], 1)]
    assert read(stage, count=3) == [(ids[2], 1)]


def test_without_a_lease_only_what_was_given_back_is_taken(stage: Stage) -> None:
    """A claim holiday: after an outage everything looks idle."""
    ids = stage.hold(*"ab")
    make_idle(stage, ids[0])
    stage.back_to_released(ids[1], 1)
    assert read(stage, lease=0) == [(ids[1], 1)]
    assert read(stage, lease=0) == []


def test_a_healthy_delivery_is_left_alone(stage: Stage) -> None:
    ids = stage.hold(*"ab")
    make_idle(stage, ids[0], ms=LONG // 2)
    assert read(stage) == []
    assert stage.pending() == {id: Row("w1", 1) for id in ids}


def test_ones_own_idle_entry_comes_back_like_any(stage: Stage) -> None:
    """Its reply may have been lost; the worker adopts it when it knows it."""
    (id,) = stage.hold("a")
    make_idle(stage, id)
    assert read(stage, me="w1") == [(id, 1)]


@pytest.mark.parametrize("how", ["idle", "released"])
def test_a_deleted_entry_is_cleared_and_not_given_out(stage: Stage, how: str) -> None:
    ids = stage.hold(*"ab")
    make_idle(stage, ids[1])
    if how == "idle":
        make_idle(stage, ids[0])
    else:
        stage.back_to_released(ids[0], 0)
    stage("XDEL", stage.keys.stream, ids[0])
    assert read(stage) == [(ids[1], 1)]
    assert stage.pending() == {ids[1]: Row("w2", 2)}


def test_new_entries_are_left_to_the_plain_read(stage: Stage) -> None:
    stage.group()
    stage.add("a")
    assert read(stage) == []
    assert stage.pending() == {}


def test_nobody_is_called_released_while_it_holds_nothing(stage: Stage) -> None:
    stage.group()
    assert read(stage) == []
    consumers = stage("XINFO", "CONSUMERS", stage.keys.stream, GROUP)
    assert RELEASED.encode() not in [consumer[1] for consumer in consumers]
