"""SWEEP and BURY: what nobody can read ends as a dead letter without being read, and what is no more is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamtask.broker.broker import MOST_FIELDS
from streamtask.broker.keys import GROUP, RELEASED
from streamtask.broker.link import Arg
from streamtask.broker.scripts import BURY, SWEEP
from tests.redis.kit import LONG, Row, Stage

Full = Callable[[Callable[[Stage], None]], Stage]
TOLD = ("dead_reason", "poison")


def sweep(stage: Stage, most: int = 30, idle: int = 1000, start: str = "-", page: int = 100) -> tuple[str, list[Any]]:
    """SWEEP; gives where the next page begins, and the hopeless rows."""
    following, *flat = stage.run(SWEEP, [stage.keys.stream], GROUP, most, idle, start, page)
    return following.decode(), [tuple(flat[i : i + 6]) for i in range(0, len(flat), 6)]


def deliver(stage: Stage, id: str, deliveries: int, owner: str = "w1", idle: int = LONG) -> None:
    """As if it had been delivered so often, the last time a while ago."""
    stage("XCLAIM", stage.keys.stream, GROUP, owner, 0, id, "IDLE", idle, "RETRYCOUNT", deliveries, "JUSTID")


def bury(
    stage: Stage, *items: tuple[Arg, ...], lock: str = "", result: str = "", ttl: int = LONG, kind: str = "task"
) -> list[Any]:
    """BURY of entry id, owner, count, message id; the lock and the result are those of the first item."""
    keys = [stage.keys.stream, stage.keys.dead, stage.keys.suspects, stage.keys.where, *filter(None, (lock, result))]
    numbers = (5 if lock else 0, (6 if lock else 5) if result else 0)
    args: list[Arg] = []
    for item in items:
        args += (*item, *numbers, "record", ttl, len(TOLD), *TOLD)
        numbers = (0, 0)
    found: list[Any] = stage.run(BURY, keys, GROUP, kind, MOST_FIELDS, *args)
    return found


def add(stage: Stage, *fields: Arg) -> str:
    """An entry that w1 holds."""
    stage.group()
    id: str = stage("XADD", stage.keys.stream, "*", *fields).decode()
    assert stage.read() == [id]
    return id


# -- SWEEP --------


def test_only_what_was_delivered_often_and_left_alone_is_hopeless(stage: Stage) -> None:
    often, healthy, young, parked = stage.hold("often", "healthy", "young", "parked")
    deliver(stage, often, 30)
    deliver(stage, healthy, 31, idle=0)
    deliver(stage, young, 29)
    stage.back_to_released(parked, 30)
    rows = [(often.encode(), b"w1", 30, b"often", b"t", b""), (parked.encode(), b"released", 30, b"parked", b"t", b"")]
    assert sweep(stage) == ("", rows)
    assert len(stage.pending()) == 4, "it only looks"


def test_what_an_entry_says_of_itself_is_told_if_it_can_be_ours(stage: Stage) -> None:
    entries: list[tuple[Arg, ...]] = [
        ("task", "t", "id", "m", "meta", '{"unique":"h","x":{"y":[]}}', "args", "x" * 100_000),
        ("task", "t" * 1025, "id", "m" * 257, "meta", '{"unique":"h"'),
        ("meta", "[" * 5000 + "]" * 5000),
        ("meta", '{"unique":7}', "id", b"\xff\x00"),
        ("meta", '"unique"'),
        ("meta", '{"unique":"' + "h" * 300 + '"}'),
        ("meta", '{"unique":"h","pad":"' + "x" * 70_000 + '"}'),
    ]
    ids = [add(stage, *entry) for entry in entries]
    for id in ids:
        deliver(stage, id, 99)
    said = [row[3:] for row in sweep(stage)[1]]
    assert said == [(b"m", b"t", b"h"), *([(b"", b"", b"")] * 2), (b"\xff\x00", b"", b""), *([(b"", b"", b"")] * 3)]


def test_a_row_without_an_entry_is_acknowledged_once_nobody_renews_it(stage: Stage) -> None:
    """Such rows are walked over by every read with CLAIM, for ever."""
    gone, held, there = stage.hold(*"abc")
    stage("XDEL", stage.keys.stream, gone, held)
    deliver(stage, there, 1)
    assert sweep(stage, idle=LONG)[1] == []
    assert set(stage.pending()) == {gone, held, there}
    assert sweep(stage, idle=0)[1] == []
    assert set(stage.pending()) == {there}


def test_pages_follow_one_another(stage: Stage) -> None:
    ids = stage.hold(*(str(n) for n in range(25)))
    for id in ids:
        deliver(stage, id, 30)
    start, found, pages = "-", [], 0
    while start:
        start, rows = sweep(stage, start=start, page=10)
        found += [row[0].decode() for row in rows]
        pages += 1
    assert (found, pages) == (ids, 3)
    assert sweep(stage, page=25)[0] == f"({ids[-1]}", "a full page may have another behind it"
    assert sweep(stage, start=f"({ids[-1]}") == ("", [])


# -- BURY --------


def test_a_copy_is_a_dead_letter_with_all_its_bytes(stage: Stage) -> None:
    every = bytes(range(256))
    id = add(stage, "task", "t", every, every, "", "")
    deliver(stage, id, 30)
    lock, result = stage.keys.unique("t", "h"), stage.keys.result("m")
    stage("SET", lock, "m", "PX", LONG)
    stage("HSET", stage.keys.suspects, "m", "1 x", "other", "1 x")
    stage("HSET", stage.keys.where, "m", id)
    assert bury(stage, (id, "w1", 30, "m"), lock=lock, result=result) == [1]
    ((_, fields),) = stage.entries(stage.keys.dead)
    assert fields == {b"task": b"t", every: every, b"": b"", b"dead_reason": b"poison"}
    assert (stage.ids(), stage.pending()) == ([], {})
    assert (stage("GET", lock), stage("GET", result)) == (None, b"record")
    assert 0 < stage("PTTL", result) <= LONG
    assert set(stage.hash(stage.keys.suspects)) == {"other"}
    assert stage.hash(stage.keys.where) == {}


def test_a_row_that_moved_on_is_left_alone(stage: Stage) -> None:
    ids = stage.hold(*"abcd")
    stage.take_over(ids[0], "w2")
    stage.take_over(ids[1], "w1")
    stage.done(ids[2], 1)
    stage.back_to_released(ids[3], 1)
    assert bury(stage, *((id, "w1", 1, "m") for id in ids)) == [0, 0, 0, 0]
    assert stage.pending() == {ids[0]: Row("w2", 2), ids[1]: Row("w1", 2), ids[3]: Row(RELEASED, 1)}
    assert stage.ids(stage.keys.dead) == []


def test_what_was_given_back_can_be_buried(stage: Stage) -> None:
    """A supervisor gives back what its child had when it died."""
    (id,) = stage.hold("m")
    stage.back_to_released(id, 30)
    assert bury(stage, (id, RELEASED, 30, "m")) == [1]


def test_a_row_without_its_entry_is_acknowledged_and_its_lock_opened(stage: Stage) -> None:
    (id,) = stage.hold("m")
    lock, result = stage.keys.unique("t", "h"), stage.keys.result("m")
    stage("SET", lock, "m", "PX", LONG)
    stage("XDEL", stage.keys.stream, id)
    assert bury(stage, (id, "w1", 1, "m"), lock=lock, result=result) == [-1]
    assert stage.pending() == {}
    assert (stage("GET", lock), stage("GET", result)) == (None, None)
    assert stage.ids(stage.keys.dead) == []


def test_the_lock_of_another_message_stays(stage: Stage) -> None:
    (id,) = stage.hold("m")
    lock = stage.keys.unique("t", "h")
    stage("SET", lock, "another", "PX", LONG)
    assert bury(stage, (id, "w1", 1, "m"), lock=lock) == [1]
    assert stage("GET", lock) == b"another"


def test_an_entry_may_have_more_fields_than_lua_can_hand_over(stage: Stage) -> None:
    fields = [str(n).encode() for n in range(20_000)]
    id = add(stage, *fields)
    few = add(stage, *fields[:MOST_FIELDS])
    assert bury(stage, (id, "w1", 1, "m"), (few, "w1", 1, "n")) == [1, 1]
    (_, packed), (_, plain) = stage.entries(stage.keys.dead)
    netstrings = b"".join(b"%d:%b," % (len(field), field) for field in fields)
    assert packed == {b"dead_fields": netstrings, b"dead_reason": b"poison"}
    assert len(plain) == MOST_FIELDS // 2 + 1


def test_a_dead_stream_of_the_wrong_type_leaves_its_item(stage: Stage) -> None:
    ids = stage.hold(*"ab")
    stage("SET", stage.keys.dead, "somebody's", "PX", LONG)
    stage("XDEL", stage.keys.stream, ids[1])
    found = bury(stage, (ids[0], "w1", 1, "a"), (ids[1], "w1", 1, "b"))
    assert b"WRONGTYPE" in found[0]
    assert found[1] == -1
    assert (stage.ids(), stage.pending()) == ([ids[0]], {ids[0]: Row("w1", 1)})
    stage("DEL", stage.keys.dead)
    assert bury(stage, (ids[0], "w1", 1, "a")) == [1]


def test_keys_of_the_wrong_type_beside_it_hold_nothing_up(stage: Stage) -> None:
    (id,) = stage.hold("m")
    lock = stage.keys.unique("t", "h")
    for key in (lock, stage.keys.suspects, stage.keys.where):
        stage("RPUSH", key, "somebody's")
    stage("EXPIRE", lock, 60)
    assert bury(stage, (id, "w1", 1, "m"), lock=lock) == [1]
    assert stage.pending() == {}


def test_a_record_that_is_refused_is_left_out(stage: Stage) -> None:
    """The dead letter is written by then, and would be written again with every try."""
    (id,) = stage.hold("m")
    assert bury(stage, (id, "w1", 1, "m"), result=stage.keys.result("m"), ttl=0) == [1]
    assert stage.pending() == {}
    assert len(stage.ids(stage.keys.dead)) == 1


def test_a_topic_keeps_its_entry(stage: Stage) -> None:
    (id,) = stage.hold("m")
    assert bury(stage, (id, "w1", 1, "m"), kind="topic") == [1]
    assert (stage.ids(), stage.pending()) == ([id], {})


def test_both_work_at_full_memory(full: Full) -> None:
    held: Sequence[str] = []

    def prepare(stage: Stage) -> None:
        nonlocal held
        held = stage.hold("m", "n")
        deliver(stage, held[0], 30)
        stage("XDEL", stage.keys.stream, held[1])

    stage = full(prepare)
    ((id, owner, count, mid, *_),) = sweep(stage, idle=0)[1]
    assert list(stage.pending()) == [held[0]]
    assert bury(stage, (id, owner, count, mid), result=stage.keys.result("m")) == [1]
    assert stage("GET", stage.keys.result("m")) == b"record"
