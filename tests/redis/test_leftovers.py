"""What a dead process held is given back by its parent: counts and marks stay, its name goes."""

from __future__ import annotations

import threading

import pytest

from streamtask.broker import keys as names
from streamtask.broker.keys import GROUP, RELEASED
from streamtask.broker.leftovers import ROWS, Leftovers
from streamtask.broker.link import SyncLink
from tests.redis.kit import Row, Stage
from tests.support import eventually


async def give_back(stage: Stage, consumer: str = "dead", *queues: str) -> int:
    """Once, for the queue of the stage."""
    leftovers = Leftovers(stage.url, "ns", consumer, queues or ("q",))
    try:
        return await leftovers.give_back()
    finally:
        await leftovers.close()


def consumers(stage: Stage) -> set[str]:
    return {row[1].decode() for row in stage("XINFO", "CONSUMERS", stage.keys.stream, GROUP)}


async def test_all_rows_go_and_those_of_others_stay(stage: Stage) -> None:
    ids = stage.hold(*(f"m{n}" for n in range(2 * ROWS + 50)), me="dead")
    (other,) = stage.hold("mine", me="alive")
    stage("SET", names.worker("ns", "dead"), "here", "PX", 60_000)
    assert await give_back(stage) == len(ids)
    assert stage.pending() == {id: Row(RELEASED, 1) for id in ids} | {other: Row("alive", 1)}
    assert consumers(stage) == {RELEASED, "alive"}
    assert stage("EXISTS", names.worker("ns", "dead")) == 0
    assert await give_back(stage) == 0  # safe to repeat


async def test_counts_stay_so_that_a_poison_is_found(stage: Stage) -> None:
    """A graceful stop lowers the count of what had not started; of a crash nobody knows what had."""
    (id,) = stage.hold("m", me="first")
    stage.take_over(id, "dead")
    assert await give_back(stage) == 1
    assert stage.pending() == {id: Row(RELEASED, 2)}


async def test_marks_stay_as_the_evidence(stage: Stage) -> None:
    (id,) = stage.hold("m", me="dead")
    assert stage.mark(id, 1, "m", me="dead") == [0]
    before = stage.hash(stage.keys.suspects)
    assert await give_back(stage) == 1
    assert stage.hash(stage.keys.suspects) == before != {}
    stage.take_over(id, "next")
    assert stage.mark(id, 2, "m", me="next") == [1]  # the next start finds it
    stage("DEL", stage.keys.suspects)


@pytest.mark.parametrize("server_name", ["redis-8.6"])  # elsewhere nothing wakes a reader: the mover tells it
async def test_a_reader_that_waits_has_them_at_once(stage: Stage) -> None:
    (id,) = stage.hold("m", me="dead")
    found: list[object] = []

    def read() -> None:
        link = SyncLink(stage.url, timeout=30)
        command = ("XREADGROUP", "GROUP", GROUP, "next", "COUNT", 1, "BLOCK", 20_000, "CLAIM", 60_000, "STREAMS")
        found.append(link.call(*command, stage.keys.stream, ">"))
        link.close()

    reader = threading.Thread(target=read)
    reader.start()
    eventually(lambda: "blocked_clients:1" in stage("INFO", "clients").decode())
    assert await give_back(stage) == 1
    reader.join(10)
    assert found
    assert stage.pending() == {id: Row("next", 2)}


async def test_a_queue_that_is_gone_stops_nothing(stage: Stage) -> None:
    (id,) = stage.hold("m", me="dead")
    assert await give_back(stage, "dead", "nowhere", "q") == 1
    assert stage.pending() == {id: Row(RELEASED, 1)}
