"""Messages that kill their worker: three deaths and one dead letter, whoever stood beside them."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from streamtask.broker.keys import GROUP
from tests.e2e.fleet import Fleet, Process
from tests.support import eventually

LEASE = 0.6
APP = '''
import asyncio, os, signal
from pydantic import BaseModel, field_validator
from tests.e2e.app_under_test import app, recorded


class Hostile(BaseModel):
    """An argument whose validation crashes the interpreter, as a broken extension would."""

    text: str

    @field_validator("text")
    @classmethod
    def crash(cls, text: str) -> str:
        if text == "poison":
            os.kill(os.getpid(), signal.SIGSEGV)
        return text


@app.task(name="hostile", result=False)
async def hostile(n: int, model: Hostile) -> None:
    with recorded(n):
        await asyncio.sleep(0.01)


@app.task(name="deadly", result=False)
async def deadly(n: int, after: float | None = None) -> None:
    """Ends its process after so many seconds, as a segmentation fault does."""
    with recorded(n):
        if after is not None:
            await asyncio.sleep(after)
            os._exit(9)
        await asyncio.sleep(0.01)


@app.task(name="gated", result=False)
async def gated(n: int, gate: str, deadly: bool) -> None:
    with recorded(n):
        while not os.path.exists(gate):
            await asyncio.sleep(0.01)
        if deadly:
            os._exit(9)


@app.task(name="once", result=False, idempotent=False)
async def once(n: int, seconds: float) -> None:
    with recorded(n):
        await asyncio.sleep(seconds)
'''


LONG = pytest.mark.long


def send(fleet: Fleet, n: int, how: str, deadly: bool) -> str:
    """A message that is poison in this way, or an innocent one of the same task; its id."""
    if how == "decode":
        return fleet.send("hostile", n=n, model={"text": "poison" if deadly else "good"}).id
    after = {"start": 0.0, "later": 1.0}[how]
    return fleet.send("deadly", n=n, **({"after": after} if deadly else {})).id


@pytest.mark.parametrize(
    ("place", "how"),
    [
        (50, "decode"),
        (50, "start"),
        pytest.param(0, "decode", marks=LONG),
        pytest.param(0, "start", marks=LONG),
        pytest.param(100, "start", marks=LONG),
        pytest.param(50, "later", marks=LONG),
    ],
)
def test_a_poison_kills_three_workers_and_buries_no_neighbour(fleet: Fleet, place: int, how: str) -> None:
    path = fleet.write("deadly", APP)
    ids = [send(fleet, n, how, deadly=n == place) for n in range(101)]
    workers: list[Process] = [fleet.worker("--concurrency", "40", path=path, lease=LEASE) for _ in range(2)]
    deaths = 0
    while fleet.left():
        eventually(lambda: fleet.left() == 0 or not all(worker.running for worker in workers), 60)
        for number, worker in enumerate(workers):
            if not worker.running:
                assert worker.end() == (-signal.SIGSEGV if how == "decode" else 9)
                deaths += 1
                assert deaths <= 3
                workers[number] = fleet.worker("--concurrency", "40", path=path, lease=LEASE)
    report = fleet.runs.report()
    print(f"\n{fleet.server.name}: poison at {place}, {how}, among 100: {deaths} deaths, {report}")
    (dead,) = fleet.dead()
    assert (dead[b"dead_id"].decode(), dead[b"dead_reason"]) == (ids[place], b"poison")
    assert fleet.runs.ended() == set(ids) - {ids[place]}
    assert deaths == 3
    assert len(report.starts[ids[place]]) == (0 if how == "decode" else 3)
    assert fleet.client.hlen(fleet.keys().suspects) == 0
    assert [worker.ready().stop() for worker in workers] == [0, 0]


@pytest.mark.long
def test_two_poisons_are_both_found(fleet: Fleet) -> None:
    path = fleet.write("deadly", APP)
    poisons = {20: 0.0, 60: 0.1}
    ids = [fleet.send("deadly", n=n, **({"after": poisons[n]} if n in poisons else {})).id for n in range(100)]
    worker, deaths = fleet.worker("--concurrency", "40", path=path, lease=LEASE), 0
    while fleet.left():
        eventually(lambda worker=worker: fleet.left() == 0 or not worker.running, 60)
        if not worker.running:
            deaths += 1
            assert deaths <= 6
            worker = fleet.worker("--concurrency", "40", path=path, lease=LEASE)
    print(f"\n{fleet.server.name}: two poisons: {deaths} deaths, {fleet.runs.report()}")
    assert {dead[b"dead_id"].decode() for dead in fleet.dead()} == {ids[n] for n in poisons}
    assert fleet.runs.ended() == set(ids) - {ids[n] for n in poisons}


def test_at_most_once_survives_a_kill(fleet: Fleet) -> None:
    """Started once and killed: a dead letter. Only read ahead beside it: started by another worker."""
    path = fleet.write("deadly", APP)
    worker = fleet.worker("--concurrency", "1", "--prefetch", "10s", path=path, lease=LEASE).ready()
    quick = {fleet.send("once", n=n, seconds=0).id for n in range(40)}
    eventually(lambda: fleet.runs.ended() == quick)
    killed = fleet.send("once", n=100, seconds=3600).id
    beside = {fleet.send("once", n=n, seconds=0.01).id for n in range(101, 110)}
    eventually(lambda: fleet.runs.open(worker.pid) == {killed} and fleet.pending() > 1)
    worker.kill9()
    heir = fleet.worker(path=path, lease=LEASE).ready()
    eventually(lambda: fleet.left() == 0, 30)
    assert Counter(run.id for run in fleet.runs.of("start")) == dict.fromkeys(quick | beside | {killed}, 1)
    assert fleet.runs.ended() == quick | beside
    assert [(dead[b"dead_id"].decode(), dead[b"dead_reason"]) for dead in fleet.dead()] == [(killed, b"poison")]
    assert heir.stop() == 0


def test_a_crash_of_what_ran_already_convicts_no_suspect(fleet: Fleet) -> None:
    path = fleet.write("deadly", APP)
    stream, kill, end = fleet.keys().stream, fleet.gate("kill"), fleet.gate("end")
    suspect = fleet.send("gated", n=1, gate=end.path, deadly=False).id
    fleet.client.xgroup_create(stream, GROUP, "0")
    ((_, ((entry, _),)),) = fleet.client.xreadgroup(GROUP, "ghost", {stream: ">"})
    fleet.client.xclaim(stream, GROUP, "ghost", 0, [entry])  # two workers died with it in their hands
    worker = fleet.worker(path=path, lease=LEASE)
    poison = fleet.send("gated", n=2, gate=kill.path, deadly=True).id

    def poison_runs() -> bool:
        """Keep the suspect away until the other one runs."""
        fleet.client.xclaim(stream, GROUP, "ghost", 0, [entry], idle=0, justid=True)
        return poison in fleet.runs.open(worker.pid)

    eventually(poison_runs, 20)
    eventually(lambda: "ghost" not in fleet.holders("default"), 20)
    assert suspect not in fleet.runs.open(worker.pid)  # it waits until it is alone
    kill.open()
    assert worker.end() == 9
    end.open()
    for _ in range(2):  # the poison kills two more
        worker = fleet.worker(path=path, lease=LEASE)
        eventually(lambda worker=worker: not worker.running or fleet.left() == 0, 20)
    fleet.worker(path=path, lease=LEASE)
    eventually(lambda: fleet.left() == 0, 20)
    assert [dead[b"dead_id"].decode() for dead in fleet.dead()] == [poison]
    assert suspect in fleet.runs.ended()
