"""What this worker cannot run: unknown tasks, wrong arguments, garbage. It is parked or buried; the worker goes on."""

from __future__ import annotations

from collections import Counter

import pytest

from streamtask import StreamTask, policy
from streamtask.errors import TaskFailed
from streamtask.message import new_id
from tests.support import aeventually
from tests.worker.conftest import MakeLab
from tests.worker.garbage import ENTRIES
from tests.worker.kit import Lab


def echo(n: int = 0, text: str = "") -> int:
    """The task that the garbage calls."""
    return n + len(text)


async def test_garbage_ends_and_the_worker_goes_on(make_lab: MakeLab) -> None:
    lab = make_lab(unknown_grace=0.3)
    task = lab.task(echo, max_retries=0)
    lab.group()
    for garbage in ENTRIES:
        lab.client.execute_command("XADD", lab.keys().stream, "*", *garbage.flat)
    async with lab.worker():
        good = await task.adelay(41, "x")
        assert await good.aget(30) == 42
        await lab.empty(timeout=30)
        assert await (await task.adelay(1)).aget(10) == 1
    ends = Counter(dead[b"dead_reason"].decode() for dead in lab.dead())
    ends["done"] = len(lab.events.done_ids) - 2
    assert ends == Counter(garbage.end for garbage in ENTRIES), _difference(lab)
    originals = [_original(dead) for dead in lab.dead()]
    for garbage in ENTRIES:
        assert garbage.end != "decode" or garbage.fields in originals, garbage.name


def _original(dead: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """A dead letter without what was added to it."""
    return {name: value for name, value in dead.items() if not name.startswith(b"dead_")}


def _difference(lab: Lab) -> str:
    """Which garbage did not end as it should, as far as its fields can tell."""
    ends = [(dead[b"dead_reason"].decode(), _original(dead)) for dead in lab.dead()]
    wrong = []
    for garbage in ENTRIES:
        found = {reason for reason, original in ends if original == garbage.fields}
        if found != ({garbage.end} if garbage.end != "done" else set()):
            wrong.append(f"{garbage.name}: {found or 'done'}, not {garbage.end}")
    return "\n".join(wrong)


async def test_an_entry_of_more_fields_than_lua_can_unpack_ends(lab: Lab) -> None:
    task = lab.task(echo)
    lab.group()
    lab.client.execute_command("XADD", lab.keys().stream, "*", *(b"%d" % i for i in range(20_000)))
    async with lab.worker(lease=0.6):
        assert await (await task.adelay(1)).aget(10) == 1
        await lab.empty()
    (dead,) = lab.dead()
    assert dead[b"dead_reason"] == b"decode"
    assert dead[b"dead_fields"] == b"".join(b"%d:%d," % (len(str(i)), i) for i in range(20_000))


@pytest.mark.parametrize("idempotent", [True, False])
async def test_unknown_tasks_are_parked_then_buried(make_lab: MakeLab, idempotent: bool) -> None:
    lab = make_lab(unknown_grace=0.5)
    lab.task(echo, idempotent=idempotent)
    result = await lab.app.asend("module.new_task", {"a": 1})
    async with lab.worker():
        await aeventually(lambda: lab.events.named("task.unknown"))
        assert await result.astatus() == "due"
        with pytest.raises(TaskFailed, match=r"no worker knows the task 'module.new_task'") as caught:
            await result.aget(10)
        await lab.empty()
    assert caught.value.reason == "unknown_task"
    (dead,) = lab.dead()
    assert dead[b"task"] == b"module.new_task"
    assert dead[b"dead_attempt"] == b"0"
    parked = lab.events.named("task.unknown")
    assert [round(event["retry_in_s"], 1) for event in parked] == [0.5]


async def test_a_worker_that_knows_the_task_runs_what_was_parked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "PARK", 0.2)  # half a minute is right for a deploy and long for a test
    newer = StreamTask("lab", lab.url)

    @newer.task(name="fresh", max_retries=0)
    async def fresh(n: int) -> int:
        return n + 1

    lab.task(echo)
    async with lab.worker():
        result = await fresh.adelay(1)
        await aeventually(lambda: len(lab.events.named("task.unknown")) >= 2)
        async with lab.worker(newer):
            assert await result.aget(20) == 2
            info = await result.ainfo()
    assert info.attempt == 1
    assert lab.dead() == []
    await lab.empty()
    await newer.aclose()


async def test_wrong_arguments_are_parked_then_buried_by_their_tasks_own_grace(lab: Lab) -> None:
    async def strict(n: int, m: int = 0) -> int:
        return n + m

    task = lab.task(strict, unknown_grace=0.3)
    result = await lab.app.asend("strict", {"n": 1})
    mid = new_id()
    lab.client.xadd(lab.keys().stream, {"task": "strict", "id": mid, "args": '{"n": "secret", "newer": 1}'})
    async with lab.worker():
        assert await result.aget(10) == 1
        await aeventually(lab.dead)
        await lab.empty()
        assert await (await task.adelay(5, 6)).aget(10) == 11
    (dead,) = lab.dead()
    assert (dead[b"dead_reason"], dead[b"dead_id"]) == (b"arguments", mid.encode())
    assert b"n: " in dead[b"dead_error"]
    assert b"newer: " in dead[b"dead_error"]
    assert b"secret" not in dead[b"dead_error"] + dead[b"dead_traceback"]
    assert len(lab.events.named("task.unknown")) == 1


async def test_first_seen_far_ahead_parks_nothing_for_ever(make_lab: MakeLab) -> None:
    lab = make_lab(unknown_grace=0.2)
    lab.task(echo)
    lab.group()
    lab.client.xadd(lab.keys().stream, {"task": "nobody", "meta": '{"first_seen": 9007199254740991}'})
    async with lab.worker():
        await aeventually(lab.dead)


async def test_two_messages_of_one_id_that_both_fail_are_both_kept(lab: Lab) -> None:
    seen: list[int] = []

    async def flaky(n: int) -> None:
        seen.append(n)
        if seen.count(n) < 3:
            raise OSError("again")

    lab.task(flaky, retry=policy_of(0.1), max_retries=5)
    lab.group()
    for n in (1, 2, 3):
        lab.client.xadd(lab.keys().stream, {"task": "flaky", "id": "twin", "args": f'{{"n": {n}}}'})
    async with lab.worker():
        await aeventually(lambda: sorted(seen) == [1, 1, 1, 2, 2, 2, 3, 3, 3])
        await lab.empty()
    assert lab.dead() == []


def policy_of(seconds: float) -> object:
    """A policy that waits this long each time."""
    from streamtask import RetryPolicy

    return RetryPolicy(base=seconds, factor=1, jitter="none")
