"""Threads take what waits for them by themselves; until one has it, it is the loop's like anything that is buffered."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time

import pytest

from streamtask import current
from streamtask.broker.keys import GROUP, RELEASED
from streamtask.message import Message
from streamtask.outcome import Call, arguments
from streamtask.policy import Misfit
from streamtask.worker import attempts, delivery
from streamtask.worker.delivery import Delivery, State
from tests.support import aeventually
from tests.worker.by_hand import admit, deaf, hold
from tests.worker.kit import Lab, one_server

pytestmark = one_server


class Gated:
    """A thread task that notes each run, and waits in it until the test lets it go on."""

    def __init__(self, lab: Lab, **options: object) -> None:
        self.gate = threading.Event()
        self.runs: list[int] = []
        self.lab = lab

        def work(n: int) -> None:
            self.runs.append(n)
            while not self.gate.wait(0.01):
                current().raise_if_cancelled()

        self.task = lab.task(work, **{"result": False, **options})

    async def held(self, worker: object, n: int) -> Delivery:
        """One more message, in the worker's hands."""
        await self.task.adelay(n)
        return admit(self.lab, worker, await hold(self.lab, worker, 1))  # type: ignore[arg-type]


async def test_what_waits_for_a_thread_is_given_back_when_it_waits_too_long(lab: Lab) -> None:
    work = Gated(lab)
    async with lab.worker(lease=30.0, threads=1, prefetch=60.0) as worker:
        await deaf(worker)
        first, second = await work.held(worker, 1), await work.held(worker, 2)
        await aeventually(lambda: work.runs == [1])
        assert (first.state, second.state, second.started_at) == (State.RUNNING, State.RUNNING, 0.0)
        worker.executor.overdue(0.0)
        await aeventually(lambda: sorted(row[1:] for row in lab.pending()) == [(RELEASED, 0), (worker.consumer, 1)])
        assert worker.executor.running["thread"] == 1
        work.gate.set()
        await aeventually(lambda: worker.executor.idle)
    assert work.runs == [1]


async def test_what_waits_for_a_thread_at_a_stop_goes_back_uncounted(lab: Lab) -> None:
    work = Gated(lab)
    async with lab.worker(lease=30.0, threads=1, prefetch=60.0) as worker:
        await deaf(worker)
        for n in range(3):
            await work.held(worker, n)
        await aeventually(lambda: work.runs == [0])
        worker.stop()
        await aeventually(lambda: sum(row[1:] == (RELEASED, 0) for row in lab.pending()) == 2)
        work.gate.set()
        await aeventually(lambda: worker.executor.idle)
    assert work.runs == [0]


async def test_what_was_taken_while_it_waited_for_a_thread_does_not_run(lab: Lab) -> None:
    work = Gated(lab)
    async with lab.worker(lease=30.0, threads=1, prefetch=60.0) as worker:
        await deaf(worker)
        await work.held(worker, 1)
        await aeventually(lambda: work.runs == [1])
        taken = await work.held(worker, 2)
        lab.steal(taken.id)
        worker._lost(taken, taken.count, False)
        assert taken.id not in worker.queues[0].held
        assert worker.executor.running["thread"] == 1
        work.gate.set()
        await aeventually(lambda: worker.executor.idle)
        lab.client.xack(lab.keys().stream, GROUP, taken.id)
        lab.client.xdel(lab.keys().stream, taken.id)
    assert work.runs == [1]


async def test_a_timeout_counts_from_the_start_not_from_the_wait_for_a_thread(lab: Lab) -> None:
    work = Gated(lab, timeout=0.3, max_retries=0)
    async with lab.worker(lease=30.0, threads=1, prefetch=60.0) as worker:
        await deaf(worker)
        for n in range(3):
            await work.held(worker, n)
        await aeventually(lambda: len(lab.dead()) == 3)
    assert work.runs == [0, 1, 2]
    ends = [int(id.partition(b"-")[0]) for id, _ in lab.client.xrange(lab.keys().dead)]
    assert all(after - before >= 290 for before, after in itertools.pairwise(ends)), "each had its 0.3 s"


async def test_what_waits_for_a_thread_holds_up_nobody_else_s_timeout(lab: Lab) -> None:
    work = Gated(lab, timeout=0.3, max_retries=0)
    ends: list[str] = []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("stopped")

    def hour() -> None:
        work.gate.wait()

    coroutine, busy = lab.task(hangs, result=False, timeout=0.3, max_retries=0), lab.task(hour, result=False)
    async with lab.worker(lease=30.0, threads=1, prefetch=60.0) as worker:
        await deaf(worker)
        await busy.adelay()
        admit(lab, worker, await hold(lab, worker, 1))
        waiting = await work.held(worker, 1)  # the thread has the other one
        await coroutine.adelay()
        admit(lab, worker, await hold(lab, worker, 1))
        await aeventually(lambda: ends == ["stopped"])
        assert (waiting.state, waiting.started_at) == (State.RUNNING, 0.0)
        work.gate.set()
        await lab.empty()
    assert work.runs == [1]


async def test_beside_a_suspect_nothing_starts_that_waited_for_a_thread(lab: Lab) -> None:
    work = Gated(lab)
    async with lab.worker(lease=30.0, threads=2, prefetch=60.0) as worker:
        await deaf(worker)
        for n in range(4):
            await work.held(worker, n)
        await aeventually(lambda: sorted(work.runs) == [0, 1])
        await work.task.adelay(9)
        admit(lab, worker, await hold(lab, worker, 3))  # the lane is its own from now on
        await aeventually(lambda: worker.executor._suspects.running is not None)
        assert worker.executor._threads.waiting == []
        work.gate.set()
        await lab.empty()
    assert work.runs[2] == 9, "what had waited starts after it"
    assert sorted(work.runs[3:]) == [2, 3]


async def test_no_start_is_marked_before_a_thread_is_free(lab: Lab) -> None:
    """Else a message would be buried for the death of a worker that never started it."""
    work = Gated(lab, idempotent=False)
    async with lab.worker(lease=30.0, threads=1, prefetch=60.0) as worker:
        await deaf(worker)
        for n in range(3):
            await work.held(worker, n)
        await aeventually(lambda: work.runs == [0])
        await aeventually(lambda: len(worker.executor._buffers["thread"]) == 2)
        assert lab.client.hlen(lab.keys().suspects) == 1
        work.gate.set()
        await lab.empty()
    assert work.runs == [0, 1, 2]


async def test_a_free_thread_takes_the_next_while_the_loop_stands_still(lab: Lab) -> None:
    runs: list[int] = []

    def work(n: int) -> None:
        runs.append(n)

    task = lab.task(work, result=False)
    async with lab.worker(lease=30.0, threads=1, prefetch=60.0) as worker:
        await deaf(worker)
        for n in range(20):
            await task.adelay(n)
            entry = await hold(lab, worker, 1)
            admit(lab, worker, entry)
        deadline = time.monotonic() + 10
        while len(runs) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)  # the loop stands still
        assert runs == list(range(20))
        await lab.empty()


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_what_breaks_before_the_function_is_its_own_failure_and_costs_no_slot(
    lab: Lab, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours, say: the next one must not wait for ever for the slot, nor this one for a worker."""
    runs: list[int] = []

    async def coroutine(n: int) -> None:
        runs.append(n)

    def thread(n: int) -> None:
        runs.append(n)

    def broken(task: object, raw: bytes) -> Call | Misfit:
        if raw == b'{"n":1}':
            raise LookupError("broken on purpose")
        return arguments(task, raw)  # type: ignore[arg-type]

    monkeypatch.setattr(attempts, "arguments", broken)
    task = lab.task(coroutine if kind == "coroutine" else thread, result=False, max_retries=0)
    async with lab.worker(concurrency=1, threads=1):
        for n in (1, 2):
            await task.adelay(n)
        await lab.empty()
    assert runs == [2]
    (dead,) = lab.dead()
    assert dead[b"dead_error"] == b"LookupError: broken on purpose"


async def test_what_cannot_be_decoded_for_whatever_reason_is_a_dead_letter(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(entry_id: str, flat: object) -> Message:
        raise RecursionError("too deep")

    async def work() -> None: ...

    monkeypatch.setattr(delivery, "decode", broken)
    task = lab.task(work, result=False)
    async with lab.worker():
        await task.adelay()
        await lab.empty()
    (dead,) = lab.dead()
    assert (dead[b"dead_reason"], dead[b"dead_error"]) == (b"decode", b"RecursionError: too deep")


async def test_presence_counts_what_has_begun(lab: Lab) -> None:
    work = Gated(lab)
    async with lab.worker(lease=30.0, threads=1, prefetch=60.0) as worker:
        await deaf(worker)
        for n in range(3):
            await work.held(worker, n)
        await aeventually(lambda: work.runs == [0])
        assert json.loads(worker._presence())["running"] == 1
        work.gate.set()
        await lab.empty()
