"""Foreign entries among good messages: the good ones are done, the bad are kept, the worker process goes on."""

from __future__ import annotations

from collections import Counter

from tests.e2e.fleet import Fleet
from tests.support import eventually
from tests.worker.garbage import ENTRIES


def test_garbage_between_good_messages(fleet: Fleet) -> None:
    good: set[str] = set()
    for garbage in ENTRIES:
        good.add(fleet.send("nap", n=1, seconds=0).id)
        fleet.client.execute_command("XADD", fleet.keys().stream, "*", *garbage.flat)
    worker = fleet.worker(STREAMTASK_UNKNOWN_GRACE="0.5").ready()
    eventually(lambda: fleet.left() == 0, 60)
    eventually(lambda: good <= fleet.runs.ended())
    dead = fleet.dead()
    ends = Counter(letter[b"dead_reason"].decode() for letter in dead)
    ends["done"] = len(fleet.runs.of("end")) - len(good)
    print(f"\n{fleet.server.name}: {len(ENTRIES)} bad entries between {len(good)} good messages: {dict(ends)}")
    assert ends == Counter(garbage.end for garbage in ENTRIES)
    originals = [{name: letter[name] for name in letter if not name.startswith(b"dead_")} for letter in dead]
    for garbage in ENTRIES:
        if garbage.end == "decode":  # never parked, so byte for byte as it came
            assert garbage.fields in originals, garbage.name
        elif garbage.end != "done":  # its meta says since when it was tried
            assert any(garbage.fields.items() <= original.items() for original in originals), garbage.name
    assert (fleet.pending(), fleet.client.hlen(fleet.keys().body), fleet.client.hlen(fleet.keys().where)) == (0, 0, 0)
    assert len([run for run in fleet.runs.of("end") if run.id == "twin"]) == 2
    assert fleet.send("work", n=1, seconds=0).get(10) == worker.pid
    assert worker.stop() == 0


def test_a_message_that_no_worker_knows_waits_for_one_that_does(fleet: Fleet) -> None:
    worker = fleet.worker().ready()
    args = b'{"a": "' + b"x" * 100_000 + b'"}'
    fleet.client.xadd(fleet.keys().stream, {"task": "tomorrow", "id": "parked-1", "args": args})
    worker.wait_for("task.unknown", id="parked-1")
    eventually(lambda: fleet.client.zcard(fleet.keys().due) == 1)
    assert fleet.pending() == 0
    body = fleet.client.hget(fleet.keys().body, "parked-1")
    assert args in body
    assert fleet.send("work", n=1, seconds=0).get(10) == worker.pid
    assert worker.stop() == 0
