"""DONE: the cheap end of many deliveries at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.redis.kit import Row, Stage


@pytest.fixture(params=["as the server can", "by XACK and XDEL"])
def ackdel(request: pytest.FixtureRequest, stage: Stage) -> str:
    """Both ways of the script, where the server has both."""
    return stage.ackdel if request.param == "as the server can" else "0"


def test_it_acknowledges_and_deletes(stage: Stage, ackdel: str) -> None:
    ids = stage.hold(*"abc")
    assert stage.done(ids[0], 1, ids[2], 1, ackdel=ackdel) == [1, 1]
    assert stage.ids() == [ids[1]]
    assert stage.pending() == {ids[1]: Row("w1", 1)}


def test_a_thousand_at_once_in_any_order(stage: Stage, ackdel: str) -> None:
    ids = stage.hold(*(str(n) for n in range(1000)))
    tokens = [part for id in reversed(ids) for part in (id, 1)]
    assert stage.done(*tokens, ackdel=ackdel) == [1] * 1000
    assert (stage.ids(), stage.pending()) == ([], {})


def test_a_batch_may_span_any_time(stage: Stage, ackdel: str) -> None:
    ids = stage.hold_at("1-1", "1-2", "7-0", "1700000000000-0")
    assert stage.done(ids[0], 1, ids[3], 1, ackdel=ackdel) == [1, 1]
    assert stage.done(ids[2], 1, ids[1], 1, ackdel=ackdel) == [1, 1]
    assert stage.ids() == []


def test_another_count_means_it_went_round_and_is_not_ours(stage: Stage, ackdel: str) -> None:
    ids = stage.hold(*"ab")
    stage.take_over(ids[0], "w1")  # back to the same worker: only the count tells
    assert stage.done(ids[0], 1, ids[1], 1, ackdel=ackdel) == [0, 1]
    assert stage.pending() == {ids[0]: Row("w1", 2)}
    assert stage.done(ids[0], 2, ackdel=ackdel) == [1]


def test_another_owner_keeps_it(stage: Stage, ackdel: str) -> None:
    (id,) = stage.hold("a")
    stage.take_over(id, "w2")
    assert stage.done(id, 1, ackdel=ackdel) == [0]
    assert stage.done(id, 2, ackdel=ackdel) == [0]
    assert stage.pending() == {id: Row("w2", 2)}
    assert stage.ids() == [id]


def test_the_same_id_twice_counts_once(stage: Stage, ackdel: str) -> None:
    (id,) = stage.hold("a")
    assert stage.done(id, 1, id, 1, ackdel=ackdel) == [1, 0]


def test_sent_again_it_changes_nothing(stage: Stage, ackdel: str) -> None:
    """After a lost reply: 0 means applied before, or lost."""
    ids = stage.hold(*"ab")
    stage.done(ids[0], 1, ackdel=ackdel)
    assert stage.done(ids[0], 1, ackdel=ackdel) == [0]
    assert stage.pending() == {ids[1]: Row("w1", 1)}


def test_what_was_never_read_is_not_deleted(stage: Stage, ackdel: str) -> None:
    stage.hold("a")
    (waiting,) = stage.add("b")
    assert stage.done(waiting, 1, ackdel=ackdel) == [0]
    assert waiting in stage.ids()


def test_a_deleted_entry_leaves_no_row(stage: Stage, ackdel: str) -> None:
    """Somebody trimmed the stream while it was held: a tombstone."""
    ids = stage.hold(*"ab")
    stage("XDEL", stage.keys.stream, ids[0])
    assert stage.done(ids[0], 1, ids[1], 1, ackdel=ackdel) == [1, 1]
    assert stage.pending() == {}


def test_a_topic_is_acknowledged_and_kept(stage: Stage, ackdel: str) -> None:
    ids = stage.hold(*"ab")
    assert stage.done(ids[0], 1, kind="topic", ackdel=ackdel) == [1]
    assert stage.pending() == {ids[1]: Row("w1", 1)}
    assert stage.ids() == ids


def test_a_gone_stream_ends_nothing(stage: Stage, ackdel: str) -> None:
    ids = stage.hold("a")
    stage("DEL", stage.keys.stream)
    stage.group()
    assert stage.done(ids[0], 1, ackdel=ackdel) == [0]


def test_it_works_at_full_memory(full: Callable[[Callable[[Stage], None]], Stage]) -> None:
    held: list[str] = []
    stage = full(lambda stage: held.extend(stage.hold(*"ab")))
    assert stage.done(held[0], 1, held[1], 1) == [1, 1]
    assert stage.ids() == []
