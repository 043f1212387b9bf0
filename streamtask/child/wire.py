"""What a worker and its child process say to one another: frames of a JSON head and raw bytes, over a socket.

A call's bytes are the message's arguments as they came from Redis, an answer's are the result as it goes there, so
neither is parsed on the way, and nothing is ever pickled. Pure: who reads and writes stands elsewhere.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic_core import from_json, to_json

from streamtask.context import Context
from streamtask.message import Message
from streamtask.policy import Again, Bury, Decided, Failure, Finish, Misfit, Outcome, Raised, Returned, Verdict

#: The lengths of head and bytes, which stand before both.
LENGTHS = struct.Struct(">II")

Head = Mapping[str, Any]


def frame(head: Head, body: bytes = b"") -> bytes:
    """One frame."""
    packed = to_json(head)
    return LENGTHS.pack(len(packed), len(body)) + packed + body


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt: the message, and what its Context says of the delivery. Times in ms of Redis time, and seconds."""

    message: Message
    queue: str
    stream_id: str
    deliveries: int
    worker: str
    sent_ms: int
    started_ms: float
    timeout: float | None
    is_last_attempt: bool

    def dump(self) -> bytes:
        """As a frame."""
        message = self.message
        facts = {name: getattr(self, name) for name in self.__slots__ if name != "message"}
        return frame({"id": message.id, "task": message.task, "meta": message.meta, **facts}, message.args)

    @classmethod
    def of(cls, head: Head, args: bytes) -> Call:
        """The call that `dump` made."""
        facts = dict(head)
        message = Message(facts.pop("id"), facts.pop("task"), args, facts.pop("meta"))
        return cls(message, **facts)

    def context(self) -> Context:
        """What `current()` gives in the child."""
        facts = {name: getattr(self, name) for name in self.__slots__ if name != "message"}
        return Context(self.message, **facts)


def dump_answer(outcome: Outcome, decide: Any) -> bytes:
    """How an attempt ended, as a frame. `decide(outcome)` gives the verdict on an exception, which cannot travel."""
    match outcome:
        case Returned(result):
            return frame({"returned": True}, result or b"")
        case Misfit(reason, failure):
            return frame({"misfit": reason, "failure": asdict(failure)})
        case Raised():
            return frame(_dump_verdict(decide(outcome)))
    raise TypeError(f"no outcome of a function: {outcome!r}")


def answer_of(head: Head, body: bytes, message: Message) -> Outcome:
    """The outcome that `dump_answer` was given; of an exception, what was decided on it."""
    if "returned" in head:
        return Returned(body or None)
    if "misfit" in head:
        return Misfit(head["misfit"], Failure(**head["failure"]))
    failure = Failure(**head["failure"]) if head.get("failure") else None
    if "again" in head:
        return Decided(Again(message._replace(meta=head["meta"]), head["delay"], head["again"], failure))
    if "bury" in head and failure is not None:
        return Decided(Bury(head["bury"], failure))
    return Decided(Finish(head["finish"], note=head["note"]))


def _dump_verdict(verdict: Verdict) -> Head:
    match verdict:
        case Again(message, delay, kind, failure):
            told = None if failure is None else asdict(failure)
            return {"again": kind, "delay": delay, "meta": message.meta, "failure": told}
        case Bury(reason, failure):
            return {"bury": reason, "failure": asdict(failure)}
        case Finish(state, _, note):
            return {"finish": state, "note": note}
    raise TypeError(f"no verdict on an exception: {verdict!r}")


def parse(head: bytes) -> Head:
    """A frame's head."""
    read: Head = from_json(head)
    return read
