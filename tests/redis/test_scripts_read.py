"""READ: takes what was given back or has run out. The way for servers without CLAIM runs on both, to be compared."""

from __future__ import annotations

from typing import Any

import pytest

from streamtask.broker.keys import GROUP, RELEASED
from streamtask.broker.scripts import READ
from tests.redis.kit import LONG, Row, Stage

#: A deadline that no test reaches, in ms.
NEVER = 9_000_000_000_000


#: Both ways of the script, the native one where the server has CLAIM.
each_way = pytest.mark.parametrize(
    ("server_name", "native"), [("redis-8.6", "0"), ("redis-8.6", "1"), ("valkey-8.1", "0"), ("redis-7.0", "0")]
)


def look(
    stage: Stage, me: str = "w2", count: int = 10, lease: int = LONG, until: int = NEVER, native: str = "0"
) -> tuple[int, list[Any]]:
    """READ; gives the ms until the next look, and id, deliveries before this one for each entry."""
    now, wait, entries = stage.run(READ, [stage.keys.stream], GROUP, me, count, lease, until, native)
    assert now <= stage.time()
    return wait, [(entry[0].decode(), entry[3]) for entry in entries]


def read(stage: Stage, me: str = "w2", count: int = 10, lease: int = LONG) -> list[Any]:
    """READ by the way for servers without CLAIM; gives id, deliveries before this one."""
    return look(stage, me, count, lease)[1]


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
    (entry,) = stage.run(READ, [stage.keys.stream], GROUP, "w2", 10, LONG, NEVER, "0")[2]
    assert entry[0].decode() == id
    assert entry[1] == [b"task", b"t", b"id", b"m", b"args", b"{}"]
    assert (entry[2] > LONG, entry[3]) == (True, 1)


@pytest.mark.parametrize("server_name", ["redis-8.6"])
def test_with_the_native_command_it_says_the_same(stage: Stage) -> None:
    """And gives new entries, too, where there is room."""
    ids = stage.hold(*"abc")
    make_idle(stage, ids[0])
    make_idle(stage, ids[1], ms=LONG + 5000)
    stage.back_to_released(ids[2], 0)
    expected = [(ids[2], 0), (ids[1], 1), (ids[0], 1)]
    (new,) = stage.add("new")
    assert look(stage, count=3, native="1") == (0, expected), "there may be more"
    assert look(stage, native="1")[1] == [(new, 0)]
    (raw,) = stage.hold("d")
    make_idle(stage, raw)
    by_script, native = (taken(stage, raw, way) for way in "01")
    assert [entry[:2] for entry in by_script] == [entry[:2] for entry in native]
    assert [len(entry) for entry in (*by_script, *native)] == [4, 4]


def taken(stage: Stage, id: str, way: str) -> list[Any]:
    """What READ gives raw; the entry is idle again afterwards."""
    found: list[Any] = stage.run(READ, [stage.keys.stream], GROUP, "w2", 10, LONG, NEVER, way)[2]
    make_idle(stage, id, owner="w2")
    return found


@each_way
def test_a_claim_that_comes_late_claims_nothing(stage: Stage, native: str) -> None:
    """The server stood still while it was under way: every lease looks run out, and its owners are well."""
    ids = stage.hold(*"ab")
    make_idle(stage, ids[0])
    stage.back_to_released(ids[1], 0)
    assert look(stage, until=stage.time() - 1, native=native) == (-1, [(ids[1], 0)]), "what was given back is anybody's"
    assert stage.pending()[ids[0]] == Row("w1", 1)
    assert look(stage, until=stage.time() + LONG, native=native)[1] == [(ids[0], 1)]


@each_way
def test_it_says_when_a_lease_can_run_out_at_the_soonest(stage: Stage, native: str) -> None:
    stage.group()
    assert look(stage, native=native) == (LONG, []), "what is read from now on has a whole lease"
    ids = stage.hold(*"abc")
    make_idle(stage, ids[1], ms=LONG // 2)
    wait, found = look(stage, native=native)
    assert (LONG // 2 - 10_000 < wait <= LONG // 2, found) == (True, [])
    make_idle(stage, *ids)
    assert look(stage, count=2, native=native)[0] == 0, "there may be more"
    assert LONG - 10_000 < look(stage, native=native)[0] <= LONG
    stage.hold(*(str(n) for n in range(250)))
    assert look(stage, native=native)[0] == 750, "too many to look at each"


@each_way
def test_what_did_not_fit_is_looked_for_at_once(stage: Stage, native: str) -> None:
    """Among so many that each look at them would cost too much, too."""
    make_idle(stage, *stage.hold(*"abc"))
    stage.hold(*(str(n) for n in range(250)))
    assert look(stage, count=2, native=native)[0] == 0


@each_way
def test_many_that_are_held_do_not_make_a_short_lease_longer(stage: Stage, native: str) -> None:
    stage.hold(*(str(n) for n in range(250)))
    wait, _ = look(stage, count=1000, lease=600, native=native)
    assert wait <= 600


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
