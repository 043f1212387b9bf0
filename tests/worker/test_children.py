"""`process=True`: tasks in child processes, which can crash, hang and be killed, and take nobody along."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from streamtask import TaskFailed
from streamtask.errors import ConfigError
from streamtask.worker.child import Child
from tests.support import aeventually, alive
from tests.worker.children_kit import LONG, notes, pids, send
from tests.worker.kit import Lab, one_server, two_servers
from tests.worker.process_app import Day, create_app


@pytest.fixture
def lab(children_lab: Lab) -> Lab:
    """The one with children."""
    return children_lab


# -- what a child gives back -------------------------------------------------------------------------------------------


@one_server
async def test_a_child_lives_long_and_is_no_fork_of_the_worker(lab: Lab) -> None:
    async with lab.worker(children=1):
        found = {await send(lab, "pid").aget(LONG) for _ in range(3)}
        (child,) = found
        assert child != os.getpid()
        assert os.getpgid(child) == child
        day = lab.app.tasks["next_day"].delay(Day(date(2026, 1, 1), 1))
        assert await day.aget(LONG) == Day(date(2026, 1, 2), 2)
        assert len(await send(lab, "large", size=3_000_000).aget(LONG)) == 3_000_000
    assert not alive(child)


@one_server
async def test_current_works_and_what_it_sends_is_its_own_childs(lab: Lab, folder: str) -> None:
    async with lab.worker(children=1) as worker:
        task = lab.app.tasks["about"].options(headers={"from": "here"})
        result = task.delay(folder)
        told: Any = await result.aget(LONG)
        assert (told["id"], told["attempt"], told["deliveries"]) == (result.id, 1, 1)
        assert (told["worker"], told["headers"], told["seconds"]) == (worker.consumer, {"from": "here"}, 60)
        assert told["args"] == {"folder": folder}
        assert told["fence"].endswith("-0:1")
        assert await lab.app.result(told["after"], "default").aget(LONG) == result.id


@one_server
async def test_an_error_is_retried_and_buried_with_the_users_traceback(lab: Lab) -> None:
    async with lab.worker(children=1):
        with pytest.raises(TaskFailed) as failed:
            await send(lab, "fail", text="no bread").aget(LONG)
    (retry,) = lab.events.named("task.retry")
    assert retry["error_type"] == "ValueError"
    assert (failed.value.error_type, failed.value.message) == ("ValueError", "no bread")
    assert "raise ValueError(text)" in failed.value.traceback
    assert "streamtask/child" not in failed.value.traceback
    (dead,) = lab.dead()
    assert dead[b"dead_reason"] == b"retries"


@one_server
async def test_the_retry_policy_is_asked_where_the_exception_is(lab: Lab, folder: str) -> None:
    async with lab.worker(children=1):
        assert await send(lab, "later", folder=folder).aget(LONG) == "third time lucky"
        with pytest.raises(TaskFailed):
            await send(lab, "later", folder=f"{folder}/nowhere").aget(LONG)  # no NotNow, so never retried
    assert notes(folder) == ["attempt 1", "attempt 2", "attempt 3"]


@one_server
async def test_arguments_that_do_not_fit_wait_for_a_worker_that_knows_better(lab: Lab) -> None:
    async with lab.worker(children=1):
        lab.client.xadd(lab.keys().stream, {"task": "large", "args": '{"size": "many"}'})
        await aeventually(lambda: lab.events.named("task.unknown"), LONG)
    (event,) = lab.events.named("task.unknown")
    assert event["error_type"] == "ValidationError"
    assert lab.client.zcard(lab.keys().due) == 1


@one_server
async def test_records_of_logging_come_out_in_the_worker(
    lab: Lab, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    async with lab.worker(children=1):
        result = send(lab, "talk")
        await result.aget(LONG)
        assert "a word of the child's" in capfd.readouterr().out  # not only when the child ends
    (record,) = [record for record in caplog.records if record.name == "shop"]
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "sold out")
    assert "ValueError: no bread" in str(record.exc_text)
    assert (vars(record)["id"], vars(record)["task"]) == (result.id, "talk")


# -- slots -------------------------------------------------------------------------------------------------------------


@two_servers
async def test_no_more_run_at_once_than_there_are_children_and_none_is_hoarded(lab: Lab, folder: str) -> None:
    results = [send(lab, "gated", folder=folder, name=str(n)) for n in range(5)]
    async with lab.worker(children=2, prefetch=0) as worker:
        await aeventually(lambda: len(notes(folder)) == 2, LONG)
        assert worker.slots == {"coroutine": 100, "thread": 10, "child": 2}
        assert len(lab.pending()) == 2
        assert await lab.app.send("thread_add", {"x": 1, "y": 2}, queue="other").aget(LONG) == 3
        (Path(folder) / "gate").touch()
        for result in results:
            await result.aget(LONG)
    assert len(set(pids(folder))) == 2
    kinds = Counter(note.partition(" ")[0] for note in notes(folder))
    assert kinds == {"began": 5, "ended": 5}


@one_server
async def test_children_that_no_queue_of_ours_asks_for_are_started_when_a_message_does(lab: Lab) -> None:
    async with lab.worker(children=1, queues=("other",)) as worker:
        assert await lab.app.send("thread_add", {"x": 1, "y": 2}, queue="other").aget(LONG) == 3
        assert worker.children.starting is False  # none was started
        result = lab.app.tasks["pid"].options(queue="other").delay()
        assert await result.aget(LONG) != os.getpid()


@one_server
async def test_a_burst_waits_for_its_children(lab: Lab) -> None:
    result = send(lab, "pid")
    assert await lab.burst(children=1) == 0
    assert await result.astatus() == "done"


@one_server
async def test_a_child_that_cannot_import_the_app_is_told_of_and_tried_again(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    assert lab.origin is not None
    lab.origin = replace(lab.origin, path="tests.worker.process_app:nothing")
    result = send(lab, "pid")
    async with lab.worker(children=1):
        await aeventually(lambda: len(lab.events.named("worker.child_died")) >= 2, LONG)
        assert await result.astatus() == "waiting"
    event, *_ = lab.events.named("worker.child_died")
    assert (event["code"], event["level"]) == (4, logging.ERROR)
    assert "has no 'nothing'" in capfd.readouterr().err


@one_server
async def test_without_an_origin_there_is_a_clear_error(lab: Lab) -> None:
    lab.origin = None
    with pytest.raises(ConfigError, match="process=True tasks run in child processes of `streamtask worker`"):
        async with lab.worker():
            pass


# -- kills -------------------------------------------------------------------------------------------------------------


@two_servers
async def test_a_timeout_ends_an_endless_loop_and_lets_it_clean_up(lab: Lab, folder: str) -> None:
    async with lab.worker(children=1):
        with pytest.raises(TaskFailed, match=r"took longer than its timeout of 0[.]3 s"):
            await send(lab, "spin", folder=folder).aget(LONG)
        assert await send(lab, "pid").aget(LONG) not in pids(folder)
        await aeventually(lambda: not alive(pids(folder)[0]))
    assert notes(folder) == ["began", "cleaned up True"]
    assert lab.events.named("worker.child_died") == []  # it was our wish


@two_servers
async def test_a_timeout_kills_a_call_of_c_and_what_it_started(lab: Lab, folder: str) -> None:
    async with lab.worker(children=1) as worker:
        neighbour = lab.app.send("thread_add", {"x": 1, "y": 2}, queue="other")
        with pytest.raises(TaskFailed, match=r"took longer than its timeout of 0[.]3 s"):
            await send(lab, "stubborn", folder=folder).aget(LONG)
        assert await send(lab, "pid").aget(LONG) not in pids(folder)
        assert await neighbour.aget(LONG) == 3
        helper = int(notes(folder)[0].split()[1])
        await aeventually(lambda: not alive(helper) and not alive(pids(folder)[0]))
        assert worker.executor.running["child"] == 0


@one_server
async def test_a_lost_lease_ends_it(lab: Lab, folder: str) -> None:
    async with lab.worker(children=1):
        send(lab, "hold", folder=folder, seconds=600)
        await aeventually(lambda: notes(folder) == ["began 1"], LONG)
        ((entry, _, _),) = lab.pending()
        lab.steal(entry)
        await aeventually(lambda: not alive(pids(folder)[0]), LONG)
        assert await send(lab, "pid").aget(LONG) not in pids(folder)
    assert [row[:2] for row in lab.pending()] == [(entry, "thief")]


@one_server
async def test_the_lease_is_kept_while_a_child_holds_its_interpreter_lock(lab: Lab, folder: str) -> None:
    async with lab.worker(children=1, lease=0.6), lab.worker(children=1, lease=0.6):
        assert await send(lab, "hold", folder=folder, seconds=2.5).aget(LONG) == "held"
    assert notes(folder) == ["began 1"]
    assert lab.events.named("task.lease_lost") == []


# -- crashes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["exit", "segv", "kill", "fork"])
async def test_a_crash_makes_only_its_task_be_delivered_again(
    lab: Lab, folder: str, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with lab.worker(children=2) as worker:
        neighbour = send(lab, "gated", folder=folder, name="neighbour")
        await aeventually(lambda: notes(folder) == ["began neighbour"], LONG)
        result = send(lab, "crash", folder=folder, how=how, times=1)
        assert await result.aget(LONG) == "survived"
        (Path(folder) / "gate").touch()
        assert await neighbour.aget(LONG) == "neighbour"
        await lab.empty()
    assert notes(folder) == ["began neighbour", "began 1", "began 2", "ended neighbour"]
    (event,) = lab.events.named("worker.child_died")
    assert (event["id"], event["deliveries"]) == (result.id, 1)
    assert event["code"] == {"exit": 3, "fork": 3, "segv": -signal.SIGSEGV, "kill": -signal.SIGKILL}[how]
    assert ("Fatal Python error" in capfd.readouterr().err) is (how == "segv")
    (given_back,) = lab.events.named("task.released")
    assert (given_back["id"], given_back["started"]) == (result.id, True)
    assert worker._gave_back == 0  # no matter of the exit code: it was no stop


async def test_a_poison_kills_so_many_children_and_no_worker(lab: Lab, folder: str) -> None:
    async with lab.worker(children=2):
        innocent = [send(lab, "pid") for _ in range(20)]
        poison = send(lab, "crash", folder=folder, how="kill", times=99)
        innocent += [send(lab, "pid") for _ in range(20)]
        with pytest.raises(TaskFailed, match="its child process died \\(SIGKILL\\) while it ran \\(delivery 3 of 3\\)"):
            await poison.aget(LONG)
        for result in innocent:
            await result.aget(LONG)
        await lab.empty()
    assert notes(folder) == ["began 1", "began 2", "began 3"]
    (dead,) = lab.dead()
    assert (dead[b"dead_reason"], dead[b"dead_deliveries"]) == (b"poison", b"3")
    assert lab.client.hgetall(lab.keys().suspects) == {}


@one_server
async def test_a_validator_that_crashes_takes_only_a_child_along(lab: Lab) -> None:
    async with lab.worker(children=1):
        lab.client.xadd(lab.keys().stream, {"task": "validated", "args": '{"n": 13}'})
        await aeventually(lab.dead, LONG)
        assert await lab.app.tasks["validated"].delay(12).aget(LONG) == 12
    (dead,) = lab.dead()
    assert dead[b"dead_reason"] == b"poison"


@one_server
async def test_at_most_once_is_never_begun_again(lab: Lab, folder: str) -> None:
    async with lab.worker(children=1):
        with pytest.raises(TaskFailed, match="its child process died"):
            await send(lab, "at_most_once", folder=folder, how="segv", times=99).aget(LONG)
    assert notes(folder) == ["began 1"]


@one_server
async def test_the_death_of_an_idle_child_is_nobodys_fault(lab: Lab) -> None:
    async with lab.worker(children=1):
        first: int = await send(lab, "pid").aget(LONG)
        os.kill(first, signal.SIGKILL)
        assert await send(lab, "pid").aget(LONG) != first
    (event,) = lab.events.named("worker.child_died")
    assert "id" not in event
    assert not any(event["started"] for event in lab.events.named("task.released"))


@one_server
async def test_what_a_child_never_began_goes_to_the_next_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    begin, killed = Child.begin, []

    def kill_first(self: Child, delivery: Any) -> None:
        if not killed:
            killed.append(self)
            self.kill()
        begin(self, delivery)

    monkeypatch.setattr(Child, "begin", kill_first)
    async with lab.worker(children=1):
        assert await send(lab, "pid").aget(LONG)
    assert not any(event["started"] for event in lab.events.named("task.released"))


# -- the stop ----------------------------------------------------------------------------------------------------------


@two_servers
async def test_a_stop_waits_for_what_runs(lab: Lab, folder: str) -> None:
    async with lab.worker(children=1, grace=LONG) as worker:
        result = send(lab, "gated", folder=folder, name="a")
        await aeventually(lambda: notes(folder) == ["began a"], LONG)
        worker.stop()
        await aeventually(lambda: lab.events.named("worker.draining"))
        (Path(folder) / "gate").touch()
        assert await result.aget(LONG) == "a"


@two_servers
async def test_what_runs_longer_than_the_grace_is_killed_and_given_back_at_once(lab: Lab, folder: str) -> None:
    began = time.monotonic()
    async with lab.worker(children=2, grace=0.2, lease=60.0) as worker:
        send(lab, "deaf", folder=folder)
        once = send(lab, "gated_once", folder=folder, name="b")
        await aeventually(lambda: len(notes(folder)) == 2, LONG)
        worker.stop()
    assert not any(alive(pid) for pid in pids(folder))
    assert worker._gave_back == 1
    assert time.monotonic() - began < 60
    assert [(owner, count) for _, owner, count in lab.pending()] == [("released", 1)]
    with pytest.raises(TaskFailed, match="idempotent=False forbids a second start"):
        await once.aget(LONG)


@one_server
async def test_a_suspect_whose_time_comes_before_any_child_serves_goes_back_at_a_stop(lab: Lab, folder: str) -> None:
    send(lab, "gated", folder=folder, name="a")
    (entry,) = lab.ghost()
    for _ in range(2):
        lab.client.xclaim(lab.keys().stream, "workers", "ghost", 0, [entry])
    assert lab.origin is not None
    lab.origin = replace(lab.origin, path="tests.worker.process_app:nothing")
    # A queue of other tasks reads at once, and brings the suspect of this one along.
    lab.app.tasks = {name: lab.app.tasks[name] for name in ("gated", "thread_add")}
    lab.client.xadd(lab.keys("other").stream, {"task": "gated", "args": f'{{"folder": "{folder}", "name": "a"}}'})
    lab.ghost(queue="other")
    for _ in range(2):
        for entry, _, _ in lab.pending("other"):
            lab.client.xclaim(lab.keys("other").stream, "workers", "ghost", 0, [entry])
    async with lab.worker(children=1, lease=0.5, grace=0.2) as worker:
        await aeventually(lambda: worker.children._waiting, LONG)
    ((_, owner, deliveries),) = lab.pending("other")
    assert (owner, deliveries) == ("released", 3)  # taken over once, and never started
    assert notes(folder) == []


# -- a task's declaration ----------------------------------------------------------------------------------------------


def test_a_coroutine_function_cannot_be_a_process_task() -> None:
    async def fetch() -> None: ...

    with pytest.raises(TypeError, match="process=True is for plain functions"):
        create_app().task(process=True, name="fetch")(fetch)
