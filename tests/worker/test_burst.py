"""A worker that ends when there is nothing left to do."""

from __future__ import annotations

import asyncio

from streamtask import RetryPolicy, current
from tests.worker.kit import Lab


async def test_burst_works_off_what_is_there(lab: Lab) -> None:
    ran: list[int] = []

    async def parent(n: int) -> None:
        ran.append(n)
        if n % 10 == 0 and n < 100:
            await task.adelay(n + 100)

    def other(n: int) -> None:
        ran.append(n)

    task, thread = lab.task(parent), lab.task(other, queue="threads")
    await task.adelay_many((n,) for n in range(100))
    await thread.adelay_many((n,) for n in range(1000, 1020))
    assert await lab.burst() == 0
    assert sorted(ran) == [*range(100), *range(100, 200, 10), *range(1000, 1020)]
    await lab.empty("default", "threads")


async def test_burst_on_nothing_ends_at_once(lab: Lab) -> None:
    lab.task(lambda: None, name="nothing")
    assert await lab.burst() == 0


async def test_burst_waits_for_what_it_holds(lab: Lab) -> None:
    async def slow() -> str:
        await asyncio.sleep(0.3)
        return "waited for"

    result = await lab.task(slow).adelay()
    assert await lab.burst() == 0
    assert await result.aget(10) == "waited for"


async def test_burst_does_not_wait_for_a_later_retry(lab: Lab) -> None:
    async def fail() -> None:
        raise OSError(f"attempt {current().attempt}")

    result = await lab.task(fail, retry=RetryPolicy(base=3600, jitter="none")).adelay()
    assert await lab.burst() == 0
    assert await result.astatus() == "due"
