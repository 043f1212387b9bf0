"""Sends that come side by side in an event loop go in one write; each is answered for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from streamtask import Result, SendError
from streamtask.broker.link import Command, LinkPool
from streamtask.errors import MaybeSent
from tests.proxy import Proxy
from tests.redis.shop import Shop


@pytest.fixture
def shop(far_shop: Shop) -> Shop:
    """Far away, and what the first send learns of the server is known."""
    far_shop.pack.delay(-1)
    return far_shop


def run(shop: Shop, sends: Coroutine[Any, Any, Any]) -> Any:
    async def main() -> Any:
        try:
            return await sends
        finally:
            await shop.app.aclose()

    return asyncio.run(main())


async def side_by_side(shop: Shop, count: int) -> list[Any]:
    return await asyncio.gather(*(shop.pack.adelay(n) for n in range(count)), return_exceptions=True)


def noted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of commands of each write from here on."""
    writes: list[int] = []
    batch = LinkPool.batch

    async def counting(pool: LinkPool, commands: Sequence[Command]) -> list[Any]:
        writes.append(len(commands))
        return await batch(pool, commands)

    monkeypatch.setattr(LinkPool, "batch", counting)
    return writes


def test_a_hundred_side_by_side_are_one_write_and_each_gets_its_own_receipt(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = noted(monkeypatch)
    results: list[Result[Any]] = run(shop, side_by_side(shop, 100))
    assert writes == [100]
    assert [result.id for result in results] == [fields["id"] for fields in shop.fields()][1:]
    assert results[70].info().entry_id == shop.stage.ids()[71]


def test_callers_that_send_one_after_the_other_stay_together(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = noted(monkeypatch)

    async def caller(which: int) -> None:
        for n in range(5):
            await shop.pack.adelay(10 * which + n)

    async def all_of_them() -> None:
        await asyncio.gather(*(caller(which) for which in range(10)))

    run(shop, all_of_them())
    assert writes == [10] * 5
    assert len(shop.fields()) == 51


def test_what_redis_refuses_of_one_queue_is_no_matter_of_another(shop: Shop) -> None:
    shop.app.queue("broken")
    shop.stage("SET", shop.stage.keys.stream.replace("q", "broken"), "text")

    async def both() -> list[Any]:
        elsewhere = shop.pack.options(queue="broken")
        return await asyncio.gather(shop.pack.adelay(1), elsewhere.adelay(2), return_exceptions=True)

    sent, refused = run(shop, both())
    assert sent.id in {fields["id"] for fields in shop.fields()}
    assert isinstance(refused, SendError)
    assert "WRONGTYPE" in str(refused)


def test_who_gives_up_takes_nobody_along(shop: Shop, proxy: Proxy) -> None:
    async def some_give_up() -> list[Any]:
        sends = [asyncio.ensure_future(shop.pack.adelay(n)) for n in range(10)]
        await asyncio.sleep(0)  # each has come to its send; nothing has left yet
        sends[3].cancel()
        return await asyncio.gather(*sends, return_exceptions=True)

    ended = run(shop, some_give_up())
    assert [type(one) for one in ended] == [Result] * 3 + [asyncio.CancelledError] + [Result] * 6
    assert len(shop.fields()) == 10


@pytest.mark.parametrize("server_name", ["redis-8.6"])
@pytest.mark.parametrize("nth", [1, 50, 100])
def test_when_the_answers_stop_in_the_middle_all_are_there_once(shop: Shop, proxy: Proxy, nth: int) -> None:
    proxy.drop_reply(nth)
    results = run(shop, side_by_side(shop, 100))
    assert [fields["id"] for fields in shop.fields()][1:] == [result.id for result in results]


@pytest.mark.parametrize("server_name", ["valkey-8.1", "redis-7.0"])
def test_elsewhere_each_is_told_of_its_own_message_alone(shop: Shop, proxy: Proxy) -> None:
    """Those that were answered know that they were sent; of the others each has its id, and its text."""
    proxy.drop_reply(5)
    ended = run(shop, side_by_side(shop, 10))
    sent, doubtful = ended[:4], ended[4:]
    there = [fields["id"] for fields in shop.fields()][1:]
    assert [result.id for result in sent] == there[:4]
    assert all(isinstance(error, MaybeSent) for error in doubtful)
    ids = [id for error in doubtful for id in error.ids]
    assert len(ids) == len(doubtful)
    assert there[4:] == ids[: len(there) - 4], "Redis has taken some of them, in their order"
    assert all(f"Redis may have taken shop.pack {error.ids[0]}" in str(error) for error in doubtful)
    assert all(error.__cause__ is not None for error in doubtful)


def test_without_a_server_each_has_an_error_of_its_own() -> None:
    shop = Shop("redis://127.0.0.1:1/0", send_timeout=0.2)
    ended = run(shop, side_by_side(shop, 3))
    assert all(type(error) is SendError and "did not answer" in str(error) for error in ended)
    assert len({id(error) for error in ended}) == 3
    shop.app.close()
