"""The claim holiday: when everybody's leases only look run out, nobody takes another one's messages."""

from __future__ import annotations

import asyncio
import time

from redis.exceptions import ConnectionError as RedisConnectionError

from streamtask.broker.keys import GROUP
from streamtask.worker import Worker
from streamtask.worker.contact import Contact
from tests.servers import StartServer
from tests.support import aeventually
from tests.worker.conftest import MakeLab
from tests.worker.kit import Lab
from tests.worker.test_waiting import deaf

LEASE = 30.0


def idle(lab: Lab, entry: bytes) -> None:
    """As if nobody had renewed it for a long time."""
    lab.client.xclaim(lab.keys().stream, GROUP, "ghost", 0, [entry], idle=3_600_000, justid=True)


def contact_of(worker: Worker, holiday: float) -> Contact:
    """A worker's contact, with a holiday of so many seconds from now; it has looked at no lease yet."""
    contact = worker.fetcher._contact
    contact._holiday_until = time.monotonic() + holiday
    worker.fetcher._look_at = dict.fromkeys(worker.fetcher._look_at, 0.0)
    return contact


async def test_nothing_is_claimed_in_a_holiday_but_what_was_given_back(lab: Lab) -> None:
    ran: list[int] = []

    async def work(n: int) -> None:
        ran.append(n)

    task = lab.task(work, result=False)
    async with lab.worker(lease=LEASE) as worker:
        hears = await deaf(worker)
        await task.adelay_many((n,) for n in range(2))
        held, parked = lab.ghost()
        idle(lab, held)
        lab.client.xclaim(lab.keys().stream, GROUP, "released", 0, [parked], time=1, retrycount=0, justid=True)
        contact_of(worker, holiday=3600.0)
        hears()
        await aeventually(lambda: ran == [1])
        await task.adelay(2)
        await aeventually(lambda: ran == [1, 2])
        await aeventually(lambda: [row[1:] for row in lab.pending()] == [("ghost", 1)])
        contact_of(worker, holiday=0.0)
        await task.adelay(3)  # ends a read that waits for the holiday's end
        await lab.empty()
    assert sorted(ran) == [0, 1, 2, 3]


async def test_a_claim_that_redis_carries_out_late_takes_nothing(lab: Lab) -> None:
    """Redis stood still meanwhile, and no owner could renew."""

    async def work() -> None: ...

    task = lab.task(work, result=False)
    async with lab.worker(lease=LEASE) as worker:
        await deaf(worker)
        await task.adelay()
        (entry,) = lab.ghost()
        idle(lab, entry)
        contact = contact_of(worker, holiday=0.0)
        contact._heard_at = time.monotonic() - 0.6 * LEASE
        assert not await worker.fetcher._take([(lab.keys(), 10)])
        assert [row[1:] for row in lab.pending()] == [("ghost", 1)]
        assert contact.claims_from > time.monotonic(), "and the owners get time to come back"
        contact_of(worker, holiday=0.0)
        assert await worker.fetcher._take([(lab.keys(), 10)])
        await lab.empty()


async def test_who_could_not_read_for_a_while_renews_and_claims_nothing(lab: Lab) -> None:
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()

    task = lab.task(work, result=False)
    async with lab.worker(lease=LEASE) as worker:
        await task.adelay()
        await aeventually(worker._running)
        (delivery,) = worker._running()
        await deaf(worker)
        contact, before = contact_of(worker, holiday=0.0), delivery.confirmed_at
        worker.fetcher._last_good = time.monotonic() - 0.2 * LEASE
        await worker.fetcher._failed(RedisConnectionError("away"))
        assert contact.claims_from < time.monotonic() + 1.3, "a moment's rest only"
        assert delivery.confirmed_at == before
        worker.fetcher._last_good = time.monotonic() - 0.5 * LEASE
        await worker.fetcher._failed(RedisConnectionError("away"))
        assert contact.claims_from > time.monotonic() + 1.3
        assert delivery.confirmed_at > before
        gate.set()
        await lab.empty()


async def test_a_server_that_has_just_started_gives_its_workers_time(
    server_name: str, own_server: StartServer, make_lab: MakeLab
) -> None:
    """All of them were away; any of them may be back first."""
    lab = make_lab(own_server(server_name).url)

    async def work() -> None: ...

    lab.task(work)
    began = time.monotonic()
    async with lab.worker(lease=3600.0) as worker:
        assert worker.fetcher._contact.claims_from > began + 1000
