"""Asking whether an event was handled: nobody is forgotten who comes while the last answers are given out."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from streamtask.worker.clock import RedisClock
from streamtask.worker.delivery import Delivery, State
from streamtask.worker.once import Once


async def test_who_comes_between_the_last_look_and_the_end_is_asked_about_too() -> None:
    """The task has looked for the last time, and its end is not told yet: what comes just then must not wait for ever
    (the group would stand still until its next event).
    """
    loop = asyncio.get_running_loop()
    first, second = (cast("Delivery", SimpleNamespace(state=State.BUFFERED)) for _ in range(2))
    gone: list[Delivery] = []
    all_gone = asyncio.Event()

    async def ask(deliveries: list[Delivery]) -> list[str]:
        return ["" for _ in deliveries]

    def go(delivery: Delivery) -> None:
        gone.append(delivery)
        if delivery is first:
            loop.call_soon(once.add, second)  # runs before the end of the task is told
        else:
            all_gone.set()

    def end(*_: Any) -> None:
        raise AssertionError("nothing was handled before")

    once = Once(ask, cast("RedisClock", None), go, end)
    once.add(first)
    async with asyncio.timeout(5):
        await all_gone.wait()
    assert gone == [first, second]
