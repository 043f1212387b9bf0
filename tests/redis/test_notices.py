"""Waits for results in one event loop: one connection for all, which may be lost, and is gone when nobody waits."""

from __future__ import annotations

import asyncio

import pytest

from streamtask import StreamTask
from streamtask.broker.link import Link
from streamtask.broker.notices import Notices
from streamtask.errors import ResultExpired
from tests.support import aeventually


def subscribers(listing: bytes) -> list[str]:
    """The connections that have subscribed, by CLIENT LIST."""
    return [line for line in listing.decode().splitlines() if "cmd=subscribe" in line or "sub=0" not in line]


@pytest.fixture
async def link(url: str) -> Link:
    return Link(url)


async def test_many_that_wait_share_a_connection(url: str, link: Link) -> None:
    notices = Notices(url, timeout=5)
    heard = 0

    async def wait(n: int) -> None:
        nonlocal heard
        async with notices.on(f"channel:{n % 10}") as notice:
            notice.told.clear()  # of the subscription itself
            await notice.wait(30)
            heard += 1

    waiting = [asyncio.create_task(wait(n)) for n in range(50)]
    await aeventually(lambda: asyncio.sleep(0, len(notices._subscribed) == 10))
    assert len(subscribers(await link.call("CLIENT", "LIST"))) == 1
    for n in range(10):
        await link.call("PUBLISH", f"channel:{n}", "x")
    await asyncio.gather(*waiting)
    assert heard == 50
    assert notices._listening == {}
    await notices.close()
    assert subscribers(await link.call("CLIENT", "LIST")) == []
    await link.close()


async def test_a_lost_connection_wakes_who_waits_and_is_made_again(url: str, link: Link) -> None:
    notices = Notices(url, timeout=5)
    async with notices.on("channel") as notice:
        notice.told.clear()
        await link.call("CLIENT", "KILL", "TYPE", "pubsub")
        await notice.wait(30)  # heard again, and something may have been missed: have a look
        assert b"channel" in notices._subscribed
        await link.call("PUBLISH", "channel", "x")
        await notice.wait(30)
    await notices.close()
    await link.close()


async def test_a_wait_ends_in_time_although_nobody_answers(tmp_path: object) -> None:
    notices = Notices(f"unix://{tmp_path}/none", timeout=0.05)
    async with notices.on("channel") as notice, asyncio.timeout(30):
        await notice.wait(0.05)
    await notices.close()


async def test_call_without_a_worker_leaves_nothing(url: str, link: Link) -> None:
    app = StreamTask("shop", url)
    with pytest.raises(TimeoutError, match="no result after"):
        await app.acall("nobody", timeout=0.05)
    ((_, fields),) = await link.call("XRANGE", "shop:default", "-", "+")
    assert b'"ttl":0.05' in fields[-1]
    await link.call("XTRIM", "shop:default", "MAXLEN", 0)
    found = app.result("0" * 32)
    with pytest.raises(ResultExpired):
        await found.aget(1)
    await app.aclose()
    await link.close()
