"""The suspect lane: what may have killed its worker starts alone and marked, and only a marked start convicts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from streamtask import current
from streamtask.broker.keys import GROUP
from streamtask.broker.reader import Entry
from streamtask.worker import suspects
from tests.support import aeventually
from tests.worker.kit import Lab

LEASE = 0.6


def crash(lab: Lab, times: int, **fields: object) -> None:
    """What `times` workers leave behind that die one after the other while they hold everything that waits."""
    entries = lab.ghost()
    stream = lab.keys().stream
    for _ in range(times - 1):
        lab.client.xclaim(stream, GROUP, "ghost", 0, entries)
    lab.client.xclaim(stream, GROUP, "ghost", 0, entries, idle=3_600_000, justid=True)


def mark(lab: Lab, id: str) -> None:
    """The mark of a start that never ended."""
    lab.client.hset(lab.keys().suspects, id, "1 0-1 2 ghost")


async def test_suspects_start_one_at_a_time_and_nothing_else_beside_them(lab: Lab) -> None:
    inside: Counter[str] = Counter()
    together: set[str] = set()
    ran: list[int] = []

    async def work(n: int) -> None:
        kind = "suspect" if current().deliveries >= 3 else "other"
        if kind == "suspect":
            inside[kind] += 1
            await asyncio.sleep(0.002)
            together.add(f"{inside['suspect']} suspects, {inside['other']} others")
            inside[kind] -= 1
        else:
            if inside["suspect"]:
                together.add("another started beside a suspect")
            await asyncio.sleep(0)
        ran.append(n)

    task = lab.task(work, result=False)
    await task.adelay_many((n,) for n in range(40))
    crash(lab, 2)
    async with lab.worker(lease=LEASE):
        await task.adelay_many((n,) for n in range(100, 140))
        await lab.empty()
    assert sorted(ran) == [*range(40), *range(100, 140)]
    assert together == {"1 suspects, 0 others"}
    assert lab.dead() == []


async def test_only_a_marked_start_convicts(lab: Lab) -> None:
    ran: list[int] = []

    async def work(n: int) -> None:
        ran.append(n)

    task = lab.task(work)
    results = await task.adelay_many((n,) for n in range(20))
    crash(lab, 5)
    mark(lab, results[7].id)
    async with lab.worker(lease=LEASE):
        await lab.empty()
    assert sorted(ran) == [n for n in range(20) if n != 7]
    (dead,) = lab.dead()
    assert dead[b"dead_id"].decode() == results[7].id
    assert (dead[b"dead_reason"], dead[b"dead_deliveries"]) == (b"poison", b"6")
    assert (await results[7].ainfo()).reason == "poison"


async def test_suspects_without_an_id_are_told_apart_by_their_entries(lab: Lab) -> None:
    """Another language may leave the id out; one that killed its worker convicts none of the others."""
    ran: list[int] = []

    async def work(n: int) -> None:
        ran.append(n)

    lab.task(work)
    lab.group()
    entries = [lab.client.xadd(lab.keys().stream, {"task": "work", "args": f'{{"n":{n}}}'}) for n in range(3)]
    crash(lab, 3)
    mark(lab, entries[1].decode())
    async with lab.worker(lease=LEASE):
        await lab.empty()
    assert sorted(ran) == [0, 2]
    assert [dead[b"dead_id"] for dead in lab.dead()] == [entries[1]]
    assert all(lab.client.exists(lab.keys().result(entry.decode())) for entry in entries)


async def test_a_mark_of_its_own_convicts_nobody(lab: Lab) -> None:
    """The answer to MARK was lost, and the worker asks again."""
    ran: list[int] = []

    async def work() -> None:
        ran.append(current().deliveries)

    result = await lab.task(work, result=False).adelay()
    crash(lab, 2)
    (entry, _, _) = lab.pending()[0]
    async with lab.worker(lease=LEASE) as worker:
        lab.client.hset(lab.keys().suspects, result.id, f"1 {entry} 3 {worker.consumer}")
        await lab.empty()
    assert ran == [3]
    assert lab.dead() == []


async def test_at_most_once_means_that_a_start_is_never_repeated(lab: Lab) -> None:
    ran: list[str] = []

    async def once(name: str) -> None:
        ran.append(f"{name} {current().deliveries}")

    task = lab.task(once, idempotent=False)
    started, buffered = await task.adelay("started"), await task.adelay("buffered")
    crash(lab, 1)
    mark(lab, started.id)
    async with lab.worker(lease=LEASE):
        await lab.empty()
    assert ran == ["buffered 2"]
    (dead,) = lab.dead()
    assert (dead[b"dead_id"].decode(), dead[b"dead_reason"]) == (started.id, b"poison")
    assert await buffered.astatus() == "done"


async def test_a_suspect_that_is_lost_does_not_block_the_lane(lab: Lab) -> None:
    gate = asyncio.Event()
    ran: list[int] = []

    async def work(n: int) -> None:
        ran.append(n)
        if len(ran) == 1:
            await gate.wait()

    task = lab.task(work, result=False)
    await task.adelay_many((n,) for n in range(5))
    crash(lab, 2)
    async with lab.worker(lease=LEASE) as worker:
        await aeventually(lambda: len(ran) == 1)
        for entry, owner, _ in lab.pending():
            if owner == worker.consumer:
                lab.steal(entry)  # the running one, and those that wait behind it
        await lab.empty()
    assert sorted(ran) == list(range(5))
    (dead,) = lab.dead()  # the one that ran: nobody can tell a worker that lost its lease from a dead one
    assert (dead[b"dead_reason"], dead[b"args"]) == (b"poison", b'{"n":%d}' % ran[0])


async def test_a_suspect_that_finds_no_peace_is_given_back_once_then_starts_beside_unmarked(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's other task takes an hour. A crash now would convict nobody."""
    monkeypatch.setattr(suspects, "PATIENCE", 0.1)
    gate, done = asyncio.Event(), asyncio.Event()
    ran: list[tuple[str, int]] = []

    async def hour() -> None:
        ran.append(("hour", current().deliveries))
        await gate.wait()

    async def work(n: int) -> None:
        ran.append((f"work {n}", current().deliveries))
        await done.wait()

    hours, works = lab.task(hour, result=False), lab.task(work, result=False)
    await works.adelay(1)
    crash(lab, 2)
    await hours.adelay()
    async with lab.worker(lease=LEASE) as worker:  # a worker that starts claims nothing at first
        await aeventually(lambda: len(ran) == 2)
        assert ran == [("hour", 1), ("work 1", 3)], "what was given back is not counted"
        assert len(lab.events.named("task.released")) == 1
        assert lab.client.hgetall(lab.keys().suspects) == {}
        assert worker.executor.demand(("coroutine",)) == 0, "nothing starts beside it"
        (entry,) = [entry for entry, _, count in lab.pending() if count == 3]
        lab.steal(entry)  # as a crash: it never says how it ended
        done.set()
        gate.set()
        await lab.empty()
    assert ran[2:] == [("work 1", 5)]
    assert lab.dead() == []


async def test_a_suspect_waits_for_what_runs_then_starts_marked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "PATIENCE", 3600.0)
    gate, end = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    async def first() -> None:
        ran.append("first")
        await gate.wait()

    async def work() -> None:
        ran.append("suspect")
        await end.wait()

    firsts, works = lab.task(first, result=False), lab.task(work, result=False)
    suspect = await works.adelay()
    crash(lab, 2)
    await firsts.adelay()
    async with lab.worker(lease=LEASE) as worker:  # a worker that starts claims nothing at first
        await aeventually(lambda: {owner for _, owner, _ in lab.pending()} == {worker.consumer} and ran)
        await aeventually(lambda: worker.executor.demand(("coroutine",)) == 0)  # the lane has it
        assert ran == ["first"]
        assert lab.client.hkeys(lab.keys().suspects) == []
        gate.set()
        await aeventually(lambda: ran == ["first", "suspect"])
        assert lab.client.hkeys(lab.keys().suspects) == [suspect.id.encode()]
        end.set()
        await lab.empty()
    assert lab.events.named("task.released") == []


async def test_where_a_second_start_is_forbidden_the_first_one_is_marked(lab: Lab) -> None:
    gate = asyncio.Event()

    async def once() -> None:
        await gate.wait()

    result = await lab.task(once, idempotent=False, result=False).adelay()
    async with lab.worker(lease=LEASE) as worker:
        await aeventually(lambda: worker.executor.running["coroutine"] == 1 and worker._running())
        assert lab.client.hkeys(lab.keys().suspects) == [result.id.encode()]
        gate.set()
        await lab.empty()


async def test_what_a_read_brings_beside_a_running_suspect_waits_for_its_end(lab: Lab) -> None:
    gate = asyncio.Event()
    ran: list[int] = []

    async def work(n: int) -> None:
        ran.append(n)
        await gate.wait()

    task = lab.task(work, result=False)
    await task.adelay(1)
    crash(lab, 2)
    async with lab.worker(lease=5.0) as worker:
        await aeventually(lambda: ran == [1])
        await task.adelay(2)
        (entry,) = lab.ghost(name=worker.consumer)  # a read that was under way
        ((_, fields),) = lab.client.xrange(lab.keys().stream, entry, entry)
        flat = [part for pair in fields.items() for part in pair]
        worker.fetcher._admit([(lab.keys().stream, [Entry(entry, flat, 1)])], time.monotonic())
        worker.executor.fill()
        for _ in range(5):
            await asyncio.sleep(0)  # turns of the loop in which it would start
        assert (ran, len(lab.pending())) == ([1], 2)
        gate.set()
        await lab.empty()
    assert ran == [1, 2]


async def test_what_is_proven_need_not_wait_for_peace(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "PATIENCE", 3600.0)
    gate = asyncio.Event()
    ran: list[int] = []

    async def work(n: int) -> None:
        ran.append(n)
        await gate.wait()

    task = lab.task(work)
    guilty = await task.adelay(1)
    crash(lab, 3)
    mark(lab, guilty.id)
    await task.adelay(2)
    async with lab.worker(lease=LEASE):
        await aeventually(lambda: ran == [2] and lab.dead())
        gate.set()
        await lab.empty()
    assert [dead[b"dead_id"].decode() for dead in lab.dead()] == [guilty.id]


async def test_waiting_suspects_go_to_a_worker_with_a_free_lane(lab: Lab) -> None:
    gate = asyncio.Event()
    ran: dict[int, str] = {}

    async def work(n: int) -> None:
        ran[n] = current().worker
        if len(ran) == 1:
            await gate.wait()

    task = lab.task(work, result=False)
    await task.adelay_many((n,) for n in range(10))
    crash(lab, 2)
    async with lab.worker(lease=3.0) as one:
        await aeventually(lambda: len(ran) == 1)
        async with lab.worker(lease=3.0) as two:
            await aeventually(lambda: len(ran) == 10)
            gate.set()
            await lab.empty()
    assert Counter(ran.values()) == {one.consumer: 1, two.consumer: 9}


async def test_a_stop_takes_back_the_mark_of_a_start_but_not_the_evidence_of_another(lab: Lab) -> None:
    gate = asyncio.Event()
    ran: list[int] = []

    async def work(n: int) -> None:
        ran.append(n)
        await gate.wait()

    task = lab.task(work)
    _, guilty = await task.adelay(0), await task.adelay(1)
    crash(lab, 3)
    mark(lab, guilty.id)
    async with lab.worker(lease=LEASE, grace=0.05) as worker:
        await aeventually(lambda: ran == [0])
        assert {owner for _, owner, _ in lab.pending()} == {worker.consumer}
    assert {owner for _, owner, _ in lab.pending()} == {"released"}
    assert lab.client.hkeys(lab.keys().suspects) == [guilty.id.encode()]
    gate.set()
    async with lab.worker(lease=LEASE):
        await lab.empty()
    assert ran == [0, 0]
    assert [dead[b"dead_id"].decode() for dead in lab.dead()] == [guilty.id]
