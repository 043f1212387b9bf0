"""What another worker gave back is taken up at once, or within a second where no reader is woken for it."""

from __future__ import annotations

import time

from streamtask.broker.keys import GROUP
from streamtask.broker.scripts import RELEASE
from tests.support import Lost, aeventually
from tests.worker.kit import Lab


async def test_a_waiting_worker_takes_what_is_given_back_within_a_second(lab: Lab) -> None:
    ran: list[int] = []

    async def task(i: int) -> None:
        ran.append(i)

    made = lab.task(task, result=False)
    for turn in range(2):
        id = made.delay(turn).id
        (entry,) = lab.ghost()
        async with lab.worker(lease=30.0) as worker:
            await aeventually(lambda worker=worker: worker.fetcher.waits)  # type: ignore[misc]
            keys = lab.keys()
            with Lost() as lost:
                given_back = time.monotonic()
                args = (GROUP, "ghost", 0, entry, 1, "0", id, "0")
                assert lab.client.eval(RELEASE.text, 2, keys.stream, keys.suspects, *args) == 1
                await aeventually(lambda turn=turn: turn in ran)  # type: ignore[misc]
                took = time.monotonic() - given_back
            assert took <= 1.1 + lost.seconds
            await lab.empty()
