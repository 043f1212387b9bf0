"""Verdicts on events as script arguments: what an event leaves behind, and where."""

from __future__ import annotations

from typing import Any

import pytest

from streamtask import Event, StreamTask
from streamtask.broker.reader import Entry
from streamtask.envelope import decode_message, encode
from streamtask.outcome import DONE
from streamtask.policy import Again, Bury, Failure, Finish, Release
from streamtask.subscription import ONCE_TTL
from streamtask.worker.delivery import Delivery, QueueState
from streamtask.worker.queues import subscription_queues
from streamtask.worker.verdicts import is_plain, lesser, settle_items


class Made(Event, topic="shop:orders"):
    n: int = 0


def held(once: bool, own: bool = False, count: int = 1) -> Delivery:
    """An event in a worker's hands, read from the topic or from the group's own queue."""
    app = StreamTask("shop")
    app.on(Made, group="g", name="h", once="event_id" if once else None)(lambda event: None)
    queue: QueueState = subscription_queues(app.subscriptions.values(), "w")[own]
    fields = [
        part if isinstance(part, bytes) else part.encode() for part in encode("e1", "Made", "s", Made().meta.created_at)
    ]
    if own:
        fields += [b"id", b"5-5", b"meta", b'{"attempt":1}']
    delivery = Delivery(queue, Entry(b"9-9" if own else b"5-5", fields, count), 0.0, 0.0)
    assert queue.subscription is not None
    delivery.task = queue.subscription.handler("Made")
    delivery.message = decode_message(delivery.id.decode(), fields, "h", own=own)
    return delivery


class Told:
    """One item of SETTLE, read again."""

    def __init__(self, delivery: Delivery, verdict: Any) -> None:
        keys = delivery.queue.keys
        self.extra, args = settle_items(keys, [(delivery, verdict)], "w", 1000)
        names = ["op", "id", "count", "mid", "marked", "lock", "lock_ttl", "result", "value", "ttl", "delay", "n"]
        self.args = dict(zip(names, args, strict=False))
        self.fields = args[12:]

    def key(self, name: str) -> str:
        """The key that a number stands for."""
        number: int = self.args[name]  # type: ignore[assignment]
        return self.extra[number - 7] if number else ""


LOCK, RESULT = "{shop:orders}:g:once:e1", "{shop:orders}:g:result:5-5"
BURIED = Bury("retries", Failure("E", "m"))


def again(delivery: Delivery, delay: float = 0.0) -> Again:
    assert delivery.message is not None
    return Again(delivery.message._replace(meta={"attempt": 1}), delay, "retry")


def test_only_what_leaves_nothing_is_done_the_cheap_way() -> None:
    assert is_plain(held(once=False), DONE)
    assert not is_plain(held(once=True), DONE), "its id is remembered"
    assert not is_plain(held(once=False, own=True), DONE), "where it waited is to be tidied up"
    assert not is_plain(held(once=False, count=9), DONE), "it may be marked"
    assert not is_plain(held(once=False), Finish("cancelled"))


@pytest.mark.parametrize("own", [False, True])
def test_a_retry_at_once_never_goes_into_the_topic(own: bool) -> None:
    """From there all groups would get it; in the group's own queue it may go straight to the end of the stream."""
    delivery = held(once=False, own=own)
    told = Told(delivery, again(delivery))
    assert (told.args["op"], told.args["delay"]) == ("R", 0 if own else 1)
    assert told.fields[-4:] == ["id", "5-5", "meta", b'{"attempt":1}']
    assert told.fields[:2] == [b"event_id", b"e1"]
    assert told.args["n"] == len(told.fields) == (12)


@pytest.mark.parametrize("own", [False, True])
def test_a_success_shuts_the_lock_for_good_and_keeps_no_result(own: bool) -> None:
    told = Told(held(once=True, own=own), DONE)
    assert (told.args["op"], told.args["lock"], told.key("result")) == ("D", 0, LOCK)
    assert (told.args["value"], told.args["ttl"]) == (b"done", ONCE_TTL * 1000)
    told = Told(held(once=False, own=own), DONE)
    assert (told.extra, told.args["result"]) == ([], 0)


@pytest.mark.parametrize(("verdict", "op"), [(Finish("cancelled"), "D"), (Finish("expired"), "D"), (BURIED, "X")])
def test_every_other_end_opens_it(verdict: Any, op: str) -> None:
    told = Told(held(once=True), verdict)
    assert (told.args["op"], told.key("lock")) == (op, LOCK)
    assert told.key("result") == (RESULT if op == "X" else "")
    assert told.args["mid"] == "5-5"


def test_a_retry_keeps_it() -> None:
    delivery = held(once=True)
    told = Told(delivery, again(delivery, 5))
    assert (told.key("lock"), told.args["delay"]) == (LOCK, 5000)
    assert told.args["lock_ttl"] > 5000  # type: ignore[operator]


def test_a_dead_letter_tells_who_waits_and_names_its_group() -> None:
    told = Told(held(once=False, own=True), BURIED)
    assert (told.args["mid"], told.args["id"], told.key("result")) == ("5-5", b"9-9", RESULT)
    assert b'"state":"dead"' in told.args["value"]  # type: ignore[operator]
    letter = dict(zip(told.fields[::2], told.fields[1::2], strict=True))
    assert (letter["dead_group"], letter["dead_stream_id"], letter["dead_id"]) == (b"g", b"9-9", b"5-5")
    assert letter[b"event_id"] == b"e1"


def test_a_release_that_is_refused_buries_no_event() -> None:
    assert lesser(held(once=False), Release(started=False), "x") is None
