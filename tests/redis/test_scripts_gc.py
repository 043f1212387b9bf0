"""GC: a consumer is forgotten only when it holds nothing, for its pending entries would be lost with it."""

from __future__ import annotations

import pytest

from streamtask.broker.keys import GROUP
from streamtask.broker.link import ResponseError
from streamtask.broker.scripts import GC
from tests.redis.kit import Row, Stage


def forget(stage: Stage, name: str) -> int:
    found: int = stage.run(GC, [stage.keys.stream], GROUP, name)
    return found


def consumers(stage: Stage) -> list[bytes]:
    return sorted(row[1] for row in stage("XINFO", "CONSUMERS", stage.keys.stream, GROUP))


def test_who_holds_something_stays(stage: Stage) -> None:
    (id,) = stage.hold("m")
    assert forget(stage, "w1") == 0
    assert stage.pending() == {id: Row("w1", 1)}
    assert consumers(stage) == [b"w1"]


def test_who_holds_nothing_goes(stage: Stage) -> None:
    (id,) = stage.hold("m")
    stage.take_over(id, "w2")
    assert forget(stage, "w1") == 1
    assert consumers(stage) == [b"w2"], "whatever the others hold"
    assert stage.pending() == {id: Row("w2", 2)}


def test_who_is_not_there_is_gone(stage: Stage) -> None:
    stage.group()
    assert [forget(stage, "nobody") for _ in range(2)] == [1, 1]
    assert consumers(stage) == []


def test_a_queue_without_a_group_is_said_so(stage: Stage) -> None:
    with pytest.raises(ResponseError, match=r"NOGROUP|No such key"):
        forget(stage, "w1")
