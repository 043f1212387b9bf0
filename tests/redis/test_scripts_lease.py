"""RENEW, MARK and RELEASE: what a worker does with what it holds, beside ending it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from streamtask.broker.keys import GROUP, RELEASED
from streamtask.broker.link import ResponseError, SyncLink
from streamtask.broker.scripts import RENEW
from tests.redis.kit import LONG, Item, Row, Stage
from tests.support import eventually

Full = Callable[[Callable[[Stage], None]], Stage]

# -- RENEW --------


def test_a_renewed_delivery_is_as_fresh_as_a_new_one(stage: Stage) -> None:
    ids = stage.hold(*"ab")
    for id in ids:
        stage("XCLAIM", stage.keys.stream, GROUP, "w1", 0, id, "IDLE", 50_000, "JUSTID")
    assert stage.renew(ids[0], 1) == [1]
    assert stage.idle(ids[0]) < 10_000
    assert stage.idle(ids[1]) >= 50_000
    assert stage.pending() == {id: Row("w1", 1) for id in ids}, "neither owner nor count"


def test_it_says_taken_and_gone_apart(stage: Stage) -> None:
    """Taken is cancelled; gone (trimmed, flushed) may go on: nobody else runs it."""
    ours, again, taken, done, deleted = stage.hold(*"abcde")
    stage.take_over(again, "w1")
    stage.take_over(taken, "w2")
    stage.done(done, 1)
    stage("XDEL", stage.keys.stream, deleted)
    assert stage.renew(ours, 1, again, 1, taken, 1, taken, 2, done, 1, deleted, 1, "1-1", 1) == [1, 0, 0, 0, -1, -1, -1]
    assert stage.pending() == {ours: Row("w1", 1), again: Row("w1", 2), taken: Row("w2", 2)}
    assert stage.renew(again, 2) == [1]


def test_it_never_steals_back_what_went_to_another(stage: Stage) -> None:
    (id,) = stage.hold("a")
    stage("XCLAIM", stage.keys.stream, GROUP, "w2", 0, id, "IDLE", 50_000, "RETRYCOUNT", 1, "JUSTID")
    assert stage.renew(id, 1) == [0], "also when the count happens to be the same"
    assert stage.pending() == {id: Row("w2", 1)}
    assert stage.idle(id) >= 50_000


def test_it_tells_the_time_for_the_workers_clock(stage: Stage) -> None:
    (id,) = stage.hold("a")
    before = stage.time()
    found = stage.run(RENEW, [stage.keys.stream], GROUP, "w1", id, 1)
    assert before <= found[0] <= stage.time()
    assert stage.run(RENEW, [stage.keys.stream], GROUP, "w1")[1:] == []


def test_two_hundred_are_renewed_in_one_call_in_their_order(stage: Stage) -> None:
    ids = stage.hold(*(str(n) for n in range(200)))
    for id in ids[::3]:
        stage.take_over(id, "w2")
    tokens = [part for id in ids for part in (id, 1)]
    assert stage.renew(*tokens) == [0 if n % 3 == 0 else 1 for n in range(200)]


def test_renew_works_at_full_memory(full: Full) -> None:
    held: list[str] = []
    stage = full(lambda stage: held.extend(stage.hold("a")))
    assert stage.renew(held[0], 1) == [1]


# -- MARK --------


def test_a_first_start_finds_no_mark_and_a_second_one_finds_it(stage: Stage) -> None:
    (id,) = stage.hold("m")
    assert stage.mark(id, 1, "m") == [0]
    stage.take_over(id, "w2")
    assert stage.mark(id, 2, "m", me="w2") == [1], "w1 started it and never said how it ended"
    stage.take_over(id, "w3")
    assert stage.mark(id, 3, "m", me="w3") == [2]


def test_a_mark_sent_again_by_the_same_delivery_is_the_same_mark(stage: Stage) -> None:
    """A lost reply must not look like a worker that died."""
    (id,) = stage.hold("m")
    assert [stage.mark(id, 1, "m") for _ in range(3)] == [[0], [0], [0]]
    stage.take_over(id, "w1")
    assert [stage.mark(id, 2, "m") for _ in range(3)] == [[1], [1], [1]]


def test_who_does_not_hold_it_cannot_mark_it(stage: Stage) -> None:
    (id,) = stage.hold("m")
    stage.take_over(id, "w2")
    assert stage.mark(id, 1, "m") == [-1]
    assert stage.mark(id, 2, "m") == [-1]
    assert stage.mark("1-1", 1, "m") == [-1]
    assert stage.hash(stage.keys.suspects) == {}


def test_a_mark_needs_the_count_of_its_delivery(stage: Stage) -> None:
    (id,) = stage.hold("m")
    stage.take_over(id, "w1")
    assert stage.mark(id, 1, "m") == [-1], "it went round and came back to the same worker"
    assert stage.hash(stage.keys.suspects) == {}


def test_the_mark_of_another_owner_is_another_mark(stage: Stage) -> None:
    """A message that was given back unstarted comes to the next worker with the very same count."""
    (id,) = stage.hold("m")
    stage.mark(id, 1, "m")
    stage("XCLAIM", stage.keys.stream, GROUP, "w2", 0, id, "RETRYCOUNT", 1, "JUSTID")
    assert stage.mark(id, 1, "m", me="w2") == [1]


def test_marks_of_a_batch_do_not_mix(stage: Stage) -> None:
    ids = stage.hold(*"abc")
    stage.mark(ids[1], 1, "b")
    stage.take_over(ids[1], "w1")
    assert stage.mark(ids[0], 1, "a", ids[1], 2, "b", "1-1", 1, "x", ids[2], 1, "c") == [0, 1, -1, 0]


def test_a_mark_ends_with_its_message_or_a_graceful_release(stage: Stage) -> None:
    ids = stage.hold(*"ab")
    stage.mark(ids[0], 1, "a", ids[1], 1, "b")
    stage.settle(Item("D", ids[0], mid="a", marked=True))
    stage.release(ids[1], 1, 1, "b", 1)
    assert stage.hash(stage.keys.suspects) == {}


def test_mark_works_at_full_memory(full: Full) -> None:
    held: list[str] = []
    stage = full(lambda stage: held.extend(stage.hold("m")))
    assert stage.mark(held[0], 1, "m") == [0]


# -- RELEASE --------


def test_what_never_started_costs_no_delivery_and_what_started_does(stage: Stage) -> None:
    ids = stage.hold(*"ab")
    assert stage.release(ids[0], 1, 0, "a", 0, ids[1], 1, 1, "b", 0) == 2
    assert stage.pending() == {ids[0]: Row(RELEASED, 0), ids[1]: Row(RELEASED, 1)}
    assert stage.ids() == ids, "the entry that wakes readers is gone again"
    assert stage.idle(ids[0]) > 10**9, "any lease is over"


def test_only_the_holder_gives_back(stage: Stage) -> None:
    ids = stage.hold(*"abcd")
    stage.take_over(ids[0], "w2")
    stage.take_over(ids[1], "w1")
    stage("XCLAIM", stage.keys.stream, GROUP, "w2", 0, ids[3], "RETRYCOUNT", 1, "JUSTID")  # as after a release
    assert stage.release(*(part for id in ids for part in (id, 1, 0, "m", 0))) == 1
    theirs = {ids[0]: Row("w2", 2), ids[1]: Row("w1", 2), ids[3]: Row("w2", 1)}
    assert stage.pending() == {**theirs, ids[2]: Row(RELEASED, 0)}
    last = stage("XINFO", "STREAM", stage.keys.stream)
    assert stage.release(ids[0], 1, 0, "m", 0) == 0
    assert stage("XINFO", "STREAM", stage.keys.stream) == last, "nothing was released: nobody is woken"


def test_what_never_started_takes_back_only_its_own_mark(stage: Stage) -> None:
    """An older one is the evidence against it."""
    own, accused = stage.hold("own", "accused")
    stage.mark(own, 1, "own", accused, 1, "accused")
    stage.take_over(accused, "w1")
    stage.mark(accused, 2, "accused")
    assert stage.release(own, 1, 0, "own", 1, accused, 2, 0, "accused", 1) == 2
    assert list(stage.hash(stage.keys.suspects)) == ["accused"]


def test_a_graceful_end_takes_back_all_marks(stage: Stage) -> None:
    """It ran here and killed nobody."""
    (id,) = stage.hold("m")
    stage.mark(id, 1, "m")
    stage.take_over(id, "w1")
    assert stage.mark(id, 2, "m") == [1]
    assert stage.release(id, 2, 1, "m", 1) == 1
    assert stage.hash(stage.keys.suspects) == {}


def test_a_second_try_leaves_alone_what_its_old_owner_was_given_meanwhile(stage: Stage) -> None:
    """The answer to the first try was lost; the message has come back with the very same token, and runs."""
    (id,) = stage.hold("m")
    held = stage.time()
    while (first := stage.time()) <= held:
        pass
    assert stage.release(id, 1, 0, "m", 0) == 1
    stage("XCLAIM", stage.keys.stream, GROUP, "w1", 0, id)
    assert stage.release(id, 1, 0, "m", 0, before=first) == 0
    assert stage.pending() == {id: Row("w1", 1)}


def test_a_second_try_gives_back_where_the_first_one_did_not_arrive(stage: Stage) -> None:
    (id,) = stage.hold("m")
    held = stage.time()
    while (first := stage.time()) <= held:
        pass
    assert stage.release(id, 1, 0, "m", 0, before=first) == 1
    assert stage.pending() == {id: Row(RELEASED, 0)}


def test_a_late_renewal_or_verdict_misses_what_was_given_back(stage: Stage) -> None:
    (id,) = stage.hold("m")
    stage.release(id, 1, 1, "m", 0)
    assert stage.renew(id, 1) == [0]
    assert stage.done(id, 1) == [0]
    assert stage.settle(Item("D", id)) == [0]


def test_a_wrong_type_beside_it_does_not_stop_a_release(stage: Stage) -> None:
    ids = stage.hold(*"ab")
    stage("SET", stage.keys.suspects, "somebody's", "PX", LONG)
    assert stage.release(ids[0], 1, 1, "a", 1, ids[1], 1, 0, "b", 1) == 2


def test_release_works_at_full_memory(full: Full) -> None:
    held: list[str] = []
    stage = full(lambda stage: held.extend(stage.hold("a")))
    assert stage.release(held[0], 1, 0, "a", 0) == 1
    assert stage.pending() == {held[0]: Row(RELEASED, 0)}


class Reader:
    """A worker in a thread that waits in XREADGROUP ... CLAIM."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.name, self.found = name, SimpleQueue[Any]()
        self.link = SyncLink(stage.url, timeout=30, name=name)
        command = (
            "XREADGROUP",
            "GROUP",
            GROUP,
            name,
            "COUNT",
            1,
            "BLOCK",
            0,
            "CLAIM",
            LONG,
            "STREAMS",
            stage.keys.stream,
            ">",
        )
        self.thread = threading.Thread(target=lambda: self.found.put(self.link.call(*command)), daemon=True)
        self.thread.start()
        eventually(lambda: self.waits(stage))

    def waits(self, stage: Stage) -> bool:
        """Is it blocked now?"""
        lines = stage("CLIENT", "LIST").decode().splitlines()
        return any(f"name={self.name} " in line and "cmd=xreadgroup" in line for line in lines)


@pytest.mark.parametrize("server_name", ["redis-8.6"])
def test_readers_that_wait_are_woken_at_once(stage: Stage) -> None:
    """A back-dated row wakes nobody; the entry that is added and deleted in the same script does."""
    ids = stage.hold(*"abc")
    readers = [Reader(stage, f"r{n}") for n in range(5)]
    assert stage.release(*(part for id in ids for part in (id, 1, 0, "m", 0))) == 3
    eventually(lambda: set(stage.ids()) == set(ids) and len(woken(readers)) >= 3, timeout=2)
    assert {row.owner for row in stage.pending().values()} <= {"r0", "r1", "r2", "r3", "r4"}
    assert {row.deliveries for row in stage.pending().values()} == {1}
    wake(stage, readers)


def woken(readers: list[Reader]) -> list[Reader]:
    """Those whose read is over."""
    return [reader for reader in readers if not reader.thread.is_alive()]


def wake(stage: Stage, readers: list[Reader]) -> None:
    """End the reads of the others."""
    left = [reader for reader in readers if reader.thread.is_alive()]
    stage.add(*(str(n) for n, _ in enumerate(left)))
    for reader in readers:
        reader.thread.join(10)
        reader.link.close()


@pytest.mark.parametrize("server_name", ["redis-8.6"])
def test_without_the_poke_nobody_would_wake(stage: Stage) -> None:
    """Why RELEASE adds and deletes an entry: the day a server wakes readers by itself, this test says so."""
    (id,) = stage.hold("a")
    reader = Reader(stage, "r0")
    stage.back_to_released(id, 0)
    with pytest.raises(AssertionError, match="not true within"):
        eventually(lambda: woken([reader]), timeout=0.5)
    wake(stage, [reader])


def test_a_group_that_is_gone_is_said_so(stage: Stage) -> None:
    (id,) = stage.hold("a")
    stage("XGROUP", "DESTROY", stage.keys.stream, GROUP)
    with pytest.raises(ResponseError, match=r"NOGROUP|No such key"):
        stage.renew(id, 1)
