"""What a send says again, and what it tells when it gives up: the conversation by hand, without a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError

from streamtask.broker import sending
from streamtask.broker.keys import queue_keys
from streamtask.broker.link import Command, Cut, NoPermissionError, NoScriptError, ResponseError
from streamtask.broker.outgoing import Outgoing, Receipt
from streamtask.broker.publishing import Publication
from streamtask.broker.sending import Again, Sending
from streamtask.broker.server import idmp_is_flawed
from streamtask.errors import MaybeSent, SendError
from streamtask.message import Message

KEYS = queue_keys("ns", "q")
LOST = RedisConnectionError("reset by peer")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that the test sets: `clock[0] = 5.0`."""
    now = [0.0]
    monkeypatch.setattr(sending.time, "monotonic", lambda: now[0])
    return now


def outgoing(count: int = 1) -> list[Outgoing]:
    return [Outgoing(Message(f"{n:032x}", "t"), "q", KEYS) for n in range(count)]


def known(idmp: bool, reached: bool = True) -> Sending:
    """A sender that has sent to the queue before."""
    known = Sending("ns", 2.0)
    known._announced.add(("ns:queues", "q"))
    known._idmp[KEYS.stream] = idmp
    known._reached = reached
    return known


def failed(error: Exception) -> SendError:
    """What the client throws in when a connection fails."""
    told = SendError(f"no answer: {error}")
    told.__cause__ = error
    return told


def commands(turn: Any) -> list[Command]:
    return turn.commands if isinstance(turn, Again) else turn


def end(steps: Any, replies: list[Any]) -> list[Receipt | Exception]:
    """The last replies; gives what the conversation found."""
    with pytest.raises(StopIteration) as stopped:
        steps.send(replies)
    found: list[Receipt | Exception] = stopped.value.value
    return found


def test_what_had_no_connection_is_tried_again_until_the_time_is_over(clock: list[float]) -> None:
    steps = known(idmp=False).send(outgoing())
    first = next(steps)
    error = failed(LOST)
    for at in (0.1, 0.5, 1.5):
        clock[0] = at
        again = steps.throw(error)
        assert (again.commands, again.timeout) == (first, 2.0 - at)
        assert 0 < again.pause <= sending.LONGEST_PAUSE
    clock[0] = 1.999
    with pytest.raises(SendError) as told:
        steps.throw(error)
    assert told.value is error
    assert told.value.errors == {0: error}


def test_a_refusal_while_redis_loads_leaves_no_doubt() -> None:
    steps = known(idmp=False).send(outgoing())
    first = next(steps)
    again = steps.throw(failed(Cut(BusyLoadingError("Redis is loading the dataset in memory"), [])))
    assert commands(again) == first
    assert end(steps, [b"1-1"]) == [Receipt("1-1")]


def test_but_those_behind_it_may_have_run() -> None:
    steps = known(idmp=False).send(outgoing(3))
    next(steps)
    with pytest.raises(MaybeSent) as told:
        steps.throw(failed(Cut(BusyLoadingError("loading"), [b"1-1"])))
    assert sorted(told.value.errors) == [1, 2]


def test_an_answer_that_came_before_the_cut_counts() -> None:
    steps = known(idmp=True).send(outgoing(3))
    first = next(steps)
    again = steps.throw(failed(Cut(LOST, [b"1-1", ResponseError("OOM")])))
    assert commands(again) == first[2:], "the same command, with the same ids"
    assert [str(found) for found in end(steps, [b"1-3"])][1] == "OOM"


def test_redis_knows_a_message_by_its_own_id_and_each_send_under_way_by_another_producer_id() -> None:
    """A counter would begin anew in another process, and Redis would take its first message for a repetition."""
    both = known(idmp=True)
    first, second = outgoing(2)
    one, other = next(both.send([first])), next(both.send([second]))
    assert [one[0][4], other[0][4]] == [first.message.id, second.message.id]
    assert one[0][3] == other[0][3], "the first send was dropped, so its producer id is free"
    under_way = both.send([first])
    assert next(under_way)[0][3] != next(both.send([second]))[0][3]


def test_another_thread_may_take_the_last_free_producer_id_first() -> None:
    class Raced(list[str]):
        """Empty by now, though it was not when it was looked at."""

        def __bool__(self) -> bool:
            return True

    raced = known(idmp=True)
    raced._pids = Raced()
    assert next(raced.send(outgoing()))[0][3]


def test_when_only_what_is_said_beside_was_lost_nothing_is_sent_again() -> None:
    fresh = Sending("ns", 2.0)
    steps = fresh.send(outgoing())
    asked = next(steps)
    with pytest.raises(StopIteration) as stopped:
        steps.throw(failed(Cut(LOST, [[1, b"1-1"], []])))
    assert stopped.value.value == [Receipt("1-1")]
    assert [command[0] for command in asked] == ["EVAL", "HELLO", "XCFGSET", "SADD", "SADD"]
    assert [command[0] for command in next(fresh.send(outgoing()))] == ["EVAL", *(c[0] for c in asked[1:])]


def test_a_message_in_doubt_keeps_its_way_whatever_is_learned_meanwhile() -> None:
    """By another way Redis would not know it."""
    fresh = Sending("ns", 2.0)
    steps = fresh.send(outgoing())
    first = next(steps)
    fresh._idmp[KEYS.stream] = True
    fresh._announced.add(("ns:queues", "q"))
    assert commands(steps.throw(failed(Cut(LOST, [])))) == first[:1]


def test_a_long_timeout_is_no_reason_to_send_again_what_redis_has_forgotten(clock: list[float]) -> None:
    long = Sending("ns", 3600.0)
    long._idmp[KEYS.stream] = True
    steps = long.send(outgoing())
    next(steps)
    clock[0] = 61.0
    with pytest.raises(MaybeSent):
        steps.throw(failed(Cut(LOST, [])))


def test_no_producer_id_has_more_in_doubt_than_redis_keeps() -> None:
    steps = known(idmp=True).send(outgoing(1001))
    first = next(steps)
    assert set(Counter(command[3] for command in first).values()) == {100}
    assert commands(steps.throw(failed(Cut(LOST, [])))) == first, "the same commands, with the same ids"


def test_a_producer_id_that_was_in_doubt_is_used_no_more(clock: list[float]) -> None:
    """What went over the connection that was given up may come late; Redis must still know it then."""
    known_well = known(idmp=True)
    ids = []
    for lost in (False, False, True, False):
        steps = known_well.send(outgoing())
        ids.append(next(steps)[0][3])
        if lost:
            steps.throw(failed(Cut(LOST, [])))
        end(steps, [b"1-1"])
    assert ids[0] == ids[1] == ids[2] != ids[3]
    steps = known_well.send(outgoing(1001))
    first = next(steps)
    steps.throw(failed(Cut(LOST, [])))
    (last,) = commands(steps.send([b"1-1"] * 1000))
    assert last[3] not in {command[3] for command in first}
    clock[0] = 61.0
    with pytest.raises(MaybeSent):
        steps.throw(failed(Cut(LOST, [])))
    assert next(known_well.send(outgoing()))[0][3] != last[3]


def test_an_idempotent_xadd_that_may_forget_is_not_trusted() -> None:
    def hello(server: bytes, version: bytes) -> list[Any]:
        return [b"server", server, b"version", version, b"proto", 2]

    flawed = {v for v in (b"8.6.0", b"8.6.1", b"8.6.2", b"8.6.3", b"8.10.1") if idmp_is_flawed(hello(b"redis", v))}
    assert flawed == {b"8.6.0", b"8.6.1"}
    fresh = Sending("ns", 2.0)
    steps = fresh.send(outgoing())
    next(steps)
    end(steps, [[1, b"1-1"], hello(b"redis", b"8.6.1"), b"OK", 1, 1])
    assert next(fresh.send(outgoing()))[0][:3] == ("XADD", "ns:q", "*")


def test_a_script_that_cannot_be_loaded_ends_as_a_refusal() -> None:
    item = Outgoing(Message("m", "t"), "q", KEYS, due=5)
    steps = known(idmp=True).send([item])
    next(steps)
    again = steps.send([NoScriptError("no")])
    *loads, call = commands(again)
    assert [load[:2] for load in loads] == [("SCRIPT", "LOAD")] * 3, "all that senders call"
    assert call[0] == "EVALSHA"
    refused = [ResponseError("no room") for _ in loads]
    assert [str(found) for found in end(steps, [*refused, NoScriptError("no")])] == ["no"]


def test_an_event_in_doubt_tells_where_to_look_for_it(clock: list[float]) -> None:
    """Also one that went by a plain XADD: it is no task, and has no result to ask for."""
    event = Publication("e1", "Made", ["event_id", "e1"], "shop:orders")
    sender = known(idmp=True)
    sender._idmp["shop:orders"] = True
    sender._announced.add(("ns:topics", "shop:orders"))
    steps = sender.send([event])
    next(steps)
    (plain,) = commands(steps.send([NoPermissionError("no scripts")]))
    assert plain == ("XADD", "shop:orders", "*", "event_id", "e1")
    with pytest.raises(MaybeSent, match=r"Redis may have taken Made for shop:orders e1: look for its event id in the"):
        steps.throw(failed(Cut(LOST, [])))
