"""AGREE: one lease for all workers of a queue, whoever comes first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamtask.broker.keys import GROUP
from streamtask.broker.link import ResponseError
from streamtask.broker.scripts import AGREE
from tests.redis.kit import Stage


@pytest.fixture
def stage(stage: Stage) -> Stage:
    """With the group."""
    stage.group()
    return stage


def agree(stage: Stage, asked: int, *absent: str, me: str = "w1") -> int:
    """AGREE; gives the lease in ms."""
    found: int = stage.run(AGREE, [stage.keys.stream, stage.keys.conf], GROUP, me, asked, *absent)
    return found


def stored(stage: Stage) -> bytes:
    """The lease in Redis."""
    found: bytes = stage("HGET", stage.keys.conf, "lease")
    return found


def test_the_first_one_decides(stage: Stage) -> None:
    assert agree(stage, 3000) == 3000
    assert agree(stage, 600, me="w2") == 3000, "w1 has read nothing yet, and is seen"
    assert agree(stage, 3000, me="w3") == 3000
    assert stored(stage) == b"3000"
    names = [row[1] for row in stage("XINFO", "CONSUMERS", stage.keys.stream, GROUP)]
    assert sorted(names) == [b"w1", b"w2", b"w3"]


def test_what_nobody_uses_is_replaced(stage: Stage) -> None:
    agree(stage, 3000)
    assert agree(stage, 600) == 600, "it was this very worker's"
    assert agree(stage, 3000, "w1", me="w2") == 3000, "w1's presence is not there any more"
    assert stored(stage) == b"3000"


def test_who_holds_messages_is_not_overlooked(stage: Stage) -> None:
    """Its presence may be missing: a full Redis refuses to be told it."""
    agree(stage, 3000)
    stage.add("m")
    (id,) = stage.read("w1")
    assert agree(stage, 600, "w1", me="w2") == 3000
    stage.back_to_released(id, 1)
    assert agree(stage, 600, "w1", me="w2") == 600, "what was given back is nobody's"


def test_it_can_be_asked_again_after_a_lost_answer(stage: Stage) -> None:
    assert [agree(stage, 600) for _ in range(3)] == [600] * 3
    assert agree(stage, 3000, me="w2") == 600
    assert agree(stage, 3000, me="w2") == 600


def test_it_works_at_full_memory(full: Callable[[Callable[[Stage], None]], Stage]) -> None:
    stage = full(Stage.group)
    assert agree(stage, 600) == 600
    assert agree(stage, 600, me="w2") == 600


def test_a_queue_without_a_group_is_said_so(stage: Stage) -> None:
    stage("DEL", stage.keys.stream)
    with pytest.raises(ResponseError, match=r"NOGROUP|requires the key to exist|No such"):
        agree(stage, 600)
