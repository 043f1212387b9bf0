"""Sending: what each spelling writes into Redis. Every test runs for delay, adelay, delay_many and adelay_many."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from streamtask import Context, StreamTask, Unique
from streamtask.context import CURRENT
from streamtask.errors import AlreadyQueued
from streamtask.message import Message
from tests.redis.shop import WAYS, Send, Shop

DAY = date(2026, 11, 21)


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def send(request: pytest.FixtureRequest) -> Send:
    way: Send = request.param
    return way


def test_a_plain_call_is_one_entry_without_meta(shop: Shop, send: Send) -> None:
    result = send(shop.pack, 5, note="fragile")
    assert shop.fields() == [{"task": "shop.pack", "id": result.id, "args": '{"number":5,"note":"fragile"}'}]
    assert (result.task, result.queue, result.duplicate, len(result.id)) == ("shop.pack", "q", False, 32)
    assert shop.stage("SMEMBERS", "ns:queues") == [b"q"]
    assert shop.stage("SMEMBERS", "streamtask:namespaces") == [b"ns"]


def test_a_countdown_waits_in_the_due_set(shop: Shop, send: Send) -> None:
    now = shop.stage.time()
    result = send(shop.pack.options(countdown=timedelta(seconds=30)), 5)
    assert shop.stage.due()[result.id] == pytest.approx(now + 30_000, abs=5000)
    assert shop.stage.ids() == []
    assert result.status() == "due"


def test_an_eta_waits_until_its_moment(shop: Shop, send: Send) -> None:
    at = datetime(2040, 1, 1, tzinfo=UTC)
    result = send(shop.pack.options(eta=at), 5)
    assert shop.stage.due() == {result.id: int(at.timestamp() * 1000)}


def test_no_countdown_is_no_delay(shop: Shop, send: Send) -> None:
    send(shop.pack.options(countdown=0), 5)
    assert shop.stage.due() == {}
    assert len(shop.stage.ids()) == 1


def test_expiry_headers_and_queue_travel(shop: Shop, send: Send) -> None:
    shop.app.queue("other")
    send(shop.pack.options(expires=timedelta(minutes=2), headers={"lang": "de"}, queue="other"), 5)
    ((_, fields),) = shop.stage.entries("ns:other")
    assert json.loads(fields[b"meta"]) == {"ttl": 120.0, "headers": {"lang": "de"}}


def test_options_make_a_copy_and_add_up(shop: Shop, send: Send) -> None:
    later = shop.pack.options(countdown=30)
    send(shop.pack, 1)
    send(later.options(headers={"a": "b"}), 2)
    assert len(shop.stage.ids()) == len(shop.stage.due()) == 1
    assert (later.name, later is shop.pack, shop.app.tasks["shop.pack"]) == ("shop.pack", False, shop.pack)


# -- unique --------


def test_a_second_call_with_the_same_key_is_the_first_message(shop: Shop, send: Send) -> None:
    first = send(shop.report, "ada", DAY)
    second = send(shop.report, "ada", "2026-11-21", deep=True)
    assert (second.id, second.duplicate) == (first.id, True)
    assert not send(shop.report, "ada", DAY + timedelta(days=1)).duplicate
    assert len(shop.stage.ids()) == 2
    meta = json.loads(shop.fields()[0]["meta"])
    assert shop.stage("GET", shop.stage.keys.unique("shop.report", meta["unique"])) == first.id.encode()
    assert meta["ttl"] == 3600.0


def test_the_key_holds_while_the_message_is_due_too(shop: Shop, send: Send) -> None:
    first = send(shop.report.options(countdown=60), "ada", DAY)
    assert send(shop.report, "ada", DAY).id == first.id
    assert shop.stage.ids() == []


def test_who_asks_to_be_told_is_told(shop: Shop, send: Send) -> None:
    first = send(shop.once, "ada")
    with pytest.raises(AlreadyQueued, match=r"shop\.once is already queued under this unique key") as told:
        send(shop.once, "ada")
    assert told.value.holder == first.id


def test_a_fixed_time_lock_is_not_opened_by_the_worker(shop: Shop, send: Send) -> None:
    """Once in nine seconds, however short the task is."""

    @shop.app.task(name="shop.often", queue="q", unique=Unique(until=timedelta(seconds=9)))
    def often(user: str) -> None: ...

    assert [send(often, "ada").duplicate for _ in range(2)] == [False, True]
    (fields,) = shop.fields()
    assert "meta" not in fields, "the worker knows of no key, so it opens none"
    (lock,) = shop.stage("KEYS", "*:unique:shop.often:*")
    assert 0 < shop.stage("PTTL", lock) <= 9000


# -- message_id --------


def test_a_message_id_is_accepted_once(shop: Shop, send: Send) -> None:
    first, second = (send(shop.pack.options(message_id="order-5"), n) for n in (5, 6))
    assert (first.id, second.id) == ("order-5", "order-5")
    assert (first.duplicate, second.duplicate) == (False, True)
    assert [fields["args"] for fields in shop.fields()] == ['{"number":5}']
    assert 6 * 86_400_000 < shop.stage("PTTL", shop.stage.keys.sent("order-5")) <= 7 * 86_400_000


def test_a_message_id_may_be_deferred_and_sent_again(shop: Shop, send: Send) -> None:
    later = shop.pack.options(message_id="order-5", countdown=60)
    assert [send(later, 5).duplicate for _ in range(2)] == [False, True]
    assert send(shop.pack.options(message_id="order-5"), 5).duplicate
    assert list(shop.stage.due()) == ["order-5"]
    assert shop.stage.ids() == []


def test_a_message_id_sent_again_is_no_conflict_of_its_unique_key(shop: Shop, send: Send) -> None:
    named = shop.once.options(message_id="ada-1")
    assert [send(named, "ada").duplicate for _ in range(2)] == [False, True]
    with pytest.raises(AlreadyQueued):
        send(shop.once.options(message_id="ada-2"), "ada")


# -- many --------


def test_thousands_go_in_one_call_and_keep_their_order(shop: Shop) -> None:
    results = shop.pack.delay_many(shop.pack.s(n) for n in range(2500))
    assert [result.id for result in results] == [fields["id"] for fields in shop.fields()]
    assert len({result.id for result in results}) == 2500


def test_tuples_and_dicts_are_arguments(shop: Shop) -> None:
    shop.pack.delay_many([(1,), (2, "x"), {"number": 3}, shop.pack.s(4)])
    assert [json.loads(fields["args"])["number"] for fields in shop.fields()] == [1, 2, 3, 4]


def test_no_call_is_no_round_trip(shop: Shop) -> None:
    assert shop.pack.delay_many([]) == []
    assert StreamTask("x", "redis://127.0.0.1:1/0").task(name="t")(_plain).delay_many([]) == []


def test_one_wrong_call_sends_none(shop: Shop) -> None:
    for wrong in (("x",), {"colour": 1}, 5, "text", shop.silent.s()):
        with pytest.raises((TypeError, ValueError)):
            shop.pack.delay_many([(1,), wrong])  # type: ignore[list-item]
    assert shop.stage.ids() == []


def test_unique_calls_in_one_batch_see_each_other(shop: Shop) -> None:
    results = shop.report.delay_many([("ada", DAY), ("bob", DAY), ("ada", DAY)])
    assert [result.duplicate for result in results] == [False, False, True]
    assert results[2].id == results[0].id


def _plain() -> None: ...


# -- by name, and inside a task --------


def test_a_task_of_another_code_base_is_sent_by_its_name(shop: Shop) -> None:
    shop.app.queue("other")
    result = shop.app.send("elsewhere.f", {"x": [1]}, queue="other", expires=5, headers={"a": "b"})
    ((_, fields),) = shop.stage.entries("ns:other")
    assert (fields[b"task"], fields[b"id"], fields[b"args"]) == (b"elsewhere.f", result.id.encode(), b'{"x":[1]}')
    assert json.loads(fields[b"meta"]) == {"ttl": 5.0, "headers": {"a": "b"}}


async def test_a_known_task_by_its_name_is_checked_like_any(shop: Shop) -> None:
    with pytest.raises(ValueError, match=r"pack\(\)"):
        await shop.app.asend("shop.pack", {"number": "x"})
    first = await shop.app.asend("shop.report", {"user": "ada", "day": "2026-11-21"})
    again = await shop.app.asend("shop.report", {"user": "ada", "day": "2026-11-21"}, countdown=5)
    assert (first.queue, again.id, again.duplicate) == ("q", first.id, True)
    await shop.app.aclose()


def test_what_a_task_sends_names_its_parent_and_root(shop: Shop, send: Send) -> None:
    def running(meta: dict[str, Any]) -> Context:
        return Context(
            Message("2f", "t", meta=meta), queue="q", stream_id="1-1", deliveries=1, worker="w", sent_ms=0,
            started_ms=0, timeout=None, is_last_attempt=False,
        )  # fmt: skip

    for meta in ({}, {"parent": "1f", "root": "0f"}):
        token = CURRENT.set(partial(running, meta))
        try:
            send(shop.pack, 1)
        finally:
            CURRENT.reset(token)
    metas = [json.loads(fields["meta"]) for fields in shop.fields()]
    assert metas == [{"parent": "2f", "root": "2f"}, {"parent": "2f", "root": "0f"}]
