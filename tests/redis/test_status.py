"""info() and status(): how a message stands, wherever it is. The test plays the worker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from streamtask import Result
from streamtask.broker.keys import GROUP
from streamtask.broker.scripts import MOVE
from tests.redis.kit import Item
from tests.redis.shop import ERROR, Shop, record_of


def info_of(result: Result[Any]) -> Any:
    """info() and ainfo(), which must agree."""

    async def ask() -> Any:
        info, status = await result.ainfo(), await result.astatus()
        await result._post.sender.aclose()
        return info, status

    info, status = asyncio.run(ask())
    assert (result.info(), result.status()) == (info, status)
    assert info.status == status
    return info


@pytest.mark.parametrize("by_id", [False, True], ids=["as sent", "by its id"])
def test_a_message_is_found_wherever_it_is(shop: Shop, by_id: bool) -> None:
    """From delay() to the end, through a retry, by the Result of delay() and by the bare id."""
    stage = shop.stage
    stage.group()
    other = shop.pack.delay(1)
    sent = shop.pack.delay(5)
    result = shop.app.result(sent.id, queue="q") if by_id else sent

    info = info_of(result)
    assert (info.status, info.task, info.queue, info.attempt, info.deliveries) == ("waiting", "shop.pack", "q", 0, 0)
    assert abs((info.enqueued_at - datetime.now(UTC)).total_seconds()) < 60

    first, entry = stage.read("w1")
    info = info_of(result)
    assert (info.status, info.worker, info.attempt, info.deliveries, info.entry_id) == ("running", "w1", 1, 1, entry)

    stage.back_to_released(entry, 0)
    assert info_of(result).status == "waiting"
    stage.take_over(entry, "w2")

    fields = ("task", "shop.pack", "id", sent.id, "args", "{}", "meta", '{"attempt":1,"sent_at":1763700000000}')
    assert stage.settle(Item("R", entry, 1, sent.id, delay=3_600_000, fields=fields), me="w2") == [1]
    info = info_of(result)
    assert (info.status, info.due_at is not None) == ("due", True)

    stage("ZADD", stage.keys.due, 1, sent.id)
    move(shop)
    info = info_of(result)
    assert (info.status, info.attempt, info.enqueued_at) == ("waiting", 1, datetime.fromtimestamp(1763700000, UTC))
    (again,) = stage.read("w3")
    assert (info_of(result).status, info_of(result).attempt) == ("running", 2)

    done = record_of("done", "{}", sent_at=1763700000000, started_at=1763700001000, finished_at=1763700002000.5)
    assert stage.settle(Item("D", again, 1, sent.id, result=stage.keys.result(sent.id), value=done), me="w3") == [1]
    info = info_of(result)
    assert (info.status, info.attempt, info.worker) == ("done", 2, "w1")
    assert info.finished_at == datetime.fromtimestamp(1763700002.0005, UTC)
    assert info_of(other).status == "running"
    assert first == info_of(other).entry_id


def move(shop: Shop) -> None:
    """What a worker's mover does."""
    keys = shop.stage.keys
    names = [keys.due, keys.body, keys.stream, keys.where, keys.mover]
    assert shop.stage.run(MOVE, names, GROUP, "w", 100, 2000, 0)[0] == 1


def test_a_dead_message_tells_why(shop: Shop) -> None:
    result = shop.pack.delay(5)
    shop.end(result, record_of("dead", reason="retries", error=ERROR), op="X")
    info = info_of(result)
    assert (info.status, info.reason, info.error_type, info.error) == ("dead", "retries", "OSError", "disk full")


def test_what_nobody_knows_is_unknown(shop: Shop) -> None:
    assert info_of(shop.app.result("nobody", queue="q")).status == "unknown"
    shop.pack.delay(5)
    assert info_of(shop.app.result("nobody", queue="q")).status == "unknown"


def test_a_message_far_down_the_stream_is_found_by_its_id(shop: Shop) -> None:
    results = shop.pack.delay_many(shop.pack.s(n) for n in range(2500))
    assert info_of(shop.app.result(results[2222].id, queue="q")).status == "waiting"
