"""What a send says to Redis: at first, again when its answer was lost, and when it gives up. `Sender` carries it.

A command that was sent and not answered has run or not. It is sent again only where Redis takes it once:

* XADD by IDMP, with a producer id and the message id, on servers that have it (without its early defects);
* scripts, which find the message id that they left: for `countdown`, `unique` and `message_id`, and for the first send
  to a stream. That one also asks for IDMP, so that nobody waits for a probe.

A plain XADD, on other servers, stays in doubt: MaybeSent.
"""

from __future__ import annotations

import copy
import os
import random
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

from streamtask.broker import keys as names
from streamtask.broker.link import Command, Cut, NoPermissionError, NoScriptError, ResponseError, passing
from streamtask.broker.outgoing import REMEMBERED, Outgoing, Receipt
from streamtask.broker.publishing import Publication
from streamtask.broker.scripts import DEFER, ENQ, PUBLISH
from streamtask.broker.server import idmp_is_flawed
from streamtask.errors import MaybeSent, QueueFull, SendError

#: Messages in one round trip.
CHUNK = 1000
#: Ids that Redis keeps of one producer id, and so the most that share one in a round trip. It keeps so many by itself,
#: and for REMEMBERED seconds, unless its configuration says otherwise: so a stream that was deleted, and made again by
#: a send, is like one that was set up, and who sets it up after that makes Redis forget nothing.
KEPT = 100
#: Seconds after the first try in which a message may be sent again: Redis must still remember the first.
WINDOW = 0.6 * REMEMBERED
#: Seconds between two tries: at first, and at most.
PAUSE, LONGEST_PAUSE = 0.02, 0.3
_LOAD: list[Command] = [("SCRIPT", "LOAD", script.text) for script in (ENQ, DEFER, PUBLISH)]


class Again(NamedTuple):
    """Commands to send after a pause, on a connection of their own that gives up after `timeout`; both in seconds."""

    commands: list[Command]
    pause: float
    timeout: float


class After(NamedTuple):
    """Commands to send after a pause in seconds; no connection is kept meanwhile."""

    commands: list[Command]
    pause: float


Turn: TypeAlias = list[Command] | Again | After
Receipts: TypeAlias = list[Receipt | Exception]
#: A call of a task, or an event.
Item: TypeAlias = Outgoing | Publication


class Chunk:
    """Messages of one round trip; each keeps its command through all tries. All are of one call, and so of one queue.

    `left`: the places without an answer. `doubt`: these were sent at least once, so that Redis may have taken them.
    `again`: those that were sent once more then.
    """

    __slots__ = ("again", "commands", "doubt", "items", "left", "replies")

    def __init__(self, items: Sequence[Item], commands: list[Command]) -> None:
        self.items, self.commands = items, commands
        self.left = list(range(len(items)))
        self.replies: list[Any] = [None] * len(items)
        self.doubt = False
        self.again: set[int] = set()

    def take(self, replies: list[Any]) -> list[int]:
        """Keep the replies to the first ones that are left; gives their places."""
        if len(replies) == len(self.replies):  # as nearly always: all at once
            self.replies, places, self.left = replies, self.left, []
            return places
        places, self.left = self.left[: len(replies)], self.left[len(replies) :]
        for i, reply in zip(places, replies, strict=True):
            self.replies[i] = reply
        return places

    @property
    def repeatable(self) -> bool:
        """Does Redis take once what is left, however often it is sent?"""
        return not any(_is_plain(self.commands[i]) for i in self.left)

    def receipts(self) -> Receipts:
        """What became of each; for a chunk of which nothing is left."""
        pairs = zip(self.items, self.replies, strict=True)
        found = [reply if isinstance(reply, Exception) else item.receipt(reply) for item, reply in pairs]
        for i in self.again:  # its first try may have been the one that took the last place
            if isinstance(full := found[i], QueueFull):
                item = self.items[i]
                found[i] = MaybeSent(f"{full}. It was sent before, without an answer: {item.doubt}", [item.message.id])
        return found


class Sending:
    """The sends of one process, and what it has learned of the server. `timeout`: seconds for each send."""

    def __init__(self, namespace: str, timeout: float) -> None:
        self._namespace, self._window = namespace, min(timeout, WINDOW)
        self._announced: set[tuple[str, str]] = set()
        self._idmp: dict[str, bool] = {}  # by stream: it is set up, or the server cannot; absent: not known
        self._flawed = False
        # Each serves one send at a time, and none any more once a send was in doubt: so nobody makes Redis forget what
        # is in doubt, or what still comes, late, out of a connection that was given up.
        self._pids: list[str] = []
        # Who has just failed for a whole timeout tries once only, so that callers do not pile up.
        self._reached = False

    def forked(self) -> None:
        """In a forked child: the parent's producer ids are the parent's."""
        self._pids = []

    def send(self, outgoing: Sequence[Item]) -> Generator[Turn, list[Any], Receipts]:
        """Send all, a chunk a round trip. Raises SendError, or MaybeSent when some are in doubt, with `errors`."""
        receipts: Receipts = []
        pids, pid = self._free_pid()
        try:
            for start in range(0, len(outgoing), CHUNK):
                pid = pid or os.urandom(8).hex()
                chunk = self._chunk(outgoing[start : start + CHUNK], pid)
                try:
                    yield from self._exchange(chunk)
                except SendError as error:
                    self._reached = False
                    raise _told(error, receipts, chunk, outgoing) from error.__cause__
                finally:
                    if chunk.doubt:
                        pid = ""
                receipts += chunk.receipts()
        finally:
            if pid:
                pids.append(pid)
        return receipts

    def send_apart(self, outgoing: Sequence[Item]) -> Generator[Turn, list[Any], Receipts]:
        """Send messages of several callers, at most CHUNK, in one round trip; what fails of one is told to nobody else.

        Raises nothing: each gets its receipt, or the SendError that it would have got alone.
        """
        pids, pid = self._free_pid()
        chunk = self._chunk(outgoing, pid)
        try:
            yield from self._exchange(chunk)
        except SendError as error:
            self._reached = False
            return _apart(error, chunk)
        finally:
            if not chunk.doubt:
                pids.append(pid)
        return chunk.receipts()

    def _free_pid(self) -> tuple[list[str], str]:
        """A producer id, and the list to put it back into: a child that was forked meanwhile has another one."""
        pids = self._pids
        with suppress(IndexError):  # none is free
            return pids, pids.pop()
        return pids, os.urandom(8).hex()

    def _chunk(self, items: Sequence[Item], pid: str) -> Chunk:
        return Chunk(items, [self._command(item, pid, place) for place, item in enumerate(items)])

    def _command(self, item: Item, pid: str, place: int) -> Command:
        if item.scripted:
            return item.command()
        idmp = self._idmp.get(item.keys.stream)
        if idmp is None:
            return item.remembered(load=place == 0)
        return item.idempotent(f"{pid}.{place // KEPT}") if idmp else item.command()

    def _exchange(self, chunk: Chunk) -> Generator[Turn, list[Any], None]:
        """Send until every message has its answer; raises SendError when that may not be tried any longer."""
        deadline, pause, longest = time.monotonic() + self._window, 0.0, PAUSE
        before: list[Command] = []
        while chunk.left:
            after = self._introduction(chunk.items[0])
            commands = [*before, *[chunk.commands[i] for i in chunk.left], *after]
            trouble = None
            try:
                replies = yield Again(commands, pause, deadline - time.monotonic()) if pause else commands
                self._reached, pause = True, 0.0
            except SendError as error:
                replies, trouble = self._cut(chunk, error, len(before)), error
            before = self._mend(chunk, self._take(chunk, before, after, replies), before)
            if trouble is not None and chunk.left:
                pause = longest * (0.5 + random.random() / 2)
                longest = min(2 * longest, LONGEST_PAUSE)
                may = chunk.repeatable if chunk.doubt else self._reached
                chunk.again.update(chunk.left if chunk.doubt else ())
                if not may or time.monotonic() + pause >= deadline:
                    raise trouble

    def _cut(self, chunk: Chunk, error: SendError, before: int) -> list[Any]:
        """The replies that came before the connection failed."""
        cut = error.__cause__
        if not isinstance(cut, Cut):  # there was no connection at all
            return []
        answered = len(cut.replies) + cut.refused
        if answered < before + len(chunk.left):
            chunk.doubt = True
        return cut.replies

    def _take(self, chunk: Chunk, before: list[Command], after: list[Command], replies: list[Any]) -> list[int]:
        """Share out what was answered; gives the places of the messages among it."""
        if not before and not after:
            return chunk.take(replies)
        start, end = len(before), len(before) + len(chunk.left)
        places = chunk.take(replies[start:end])
        for command, reply in (*zip(before, replies, strict=False), *zip(after, replies[end:], strict=False)):
            self._learn(command, reply)
        return places

    # -- what is said beside the messages ------------------------------------------------------------------------------

    def _introduction(self, item: Item) -> list[Command]:
        """What the first send to a queue says too. After the message, which makes the stream that is set up."""
        stream, known, said = item.keys.stream, item.registered(self._namespace), list[Command]()
        if stream not in self._idmp and item.due is None:
            said += [("HELLO",), _set_up(stream)]
        if known not in self._announced:
            said += [("SADD", *known), ("SADD", names.NAMESPACES, self._namespace)]
        return said

    def _learn(self, command: Command, reply: Any) -> None:
        refused = isinstance(reply, Exception)
        match command:
            case ("HELLO",):
                self._flawed = not refused and idmp_is_flawed(reply)
            case ("XCFGSET", str(stream), *_):
                if not refused:
                    self._idmp[stream] = not self._flawed
                elif isinstance(reply, NoPermissionError) or "unknown command" in str(reply):
                    self._idmp[stream] = False
                else:  # there is no stream, or the server is in trouble
                    self._idmp.pop(stream, None)
            case ("SADD", str(key), str(name)) if key != names.NAMESPACES:
                if not refused or not passing(reply):
                    self._announced.add((key, name))

    # -- refusals that are no refusals of the message ------------------------------------------------------------------

    def _mend(self, chunk: Chunk, places: list[int], before: list[Command]) -> list[Command]:
        """Leave for another try what was refused for its wrapping; gives what must be said before."""
        again, load = [], False
        for i in places:
            reply = chunk.replies[i]
            if isinstance(reply, NoScriptError) and before is not _LOAD:
                again.append(i)
                load = True
            elif isinstance(reply, ResponseError) and not chunk.doubt:
                other = self._other_way(chunk.items[i], chunk.commands[i], reply)
                if other is not None:
                    chunk.commands[i] = other
                    again.append(i)
        chunk.left = [*again, *chunk.left]
        return _LOAD if load else []

    def _other_way(self, item: Item, command: Command, reply: ResponseError) -> Command | None:
        stream = item.keys.stream
        if item.scripted or _is_plain(command):
            return None
        if command[0] != "XADD" and isinstance(reply, NoPermissionError):  # who may only XADD
            self._idmp[stream] = False
            return item.plain()
        if str(reply).startswith(("syntax error", "Invalid stream ID")):
            # Another server stands there now, an older one.
            self._idmp.pop(stream, None)
            return item.remembered()
        return None


def _set_up(stream: str) -> Command:
    """The same numbers for ever: others would make Redis forget what it remembers."""
    return ("XCFGSET", stream, "IDMP-DURATION", REMEMBERED, "IDMP-MAXSIZE", KEPT)


def _is_plain(command: Command) -> bool:
    return command[0] == "XADD" and command[2] == "*"


def _apart(error: SendError, chunk: Chunk) -> Receipts:
    """What became of each message of a chunk that failed; who is without an answer gets an error of its own."""
    receipts: Receipts = []
    left = set(chunk.left)
    for i, (item, reply) in enumerate(zip(chunk.items, chunk.replies, strict=True)):
        if i not in left:
            receipts.append(reply if isinstance(reply, Exception) else item.receipt(reply))
            continue
        alone = Chunk([item], [chunk.commands[i]])
        alone.doubt = chunk.doubt
        own = _told(copy.copy(error), [], alone, [item])
        own.__cause__ = error.__cause__
        receipts.append(own)
    return receipts


def _told(error: SendError, receipts: Receipts, chunk: Chunk, outgoing: Sequence[Item]) -> SendError:
    """The error for the caller, with every message that was refused, is in doubt or was not sent."""
    answers = [*receipts, *chunk.replies]
    errors = {i: answer for i, answer in enumerate(answers) if isinstance(answer, Exception)}
    errors |= dict.fromkeys(range(len(answers), len(outgoing)), error)
    start = len(receipts)
    if not chunk.doubt:
        error.errors = errors | dict.fromkeys((start + i for i in chunk.left), error)
        return error
    ids = [chunk.items[i].message.id for i in chunk.left]
    for i, id in zip(chunk.left, ids, strict=True):
        errors[start + i] = MaybeSent(str(error), [id])
    first, command = chunk.items[chunk.left[0]].message, chunk.commands[chunk.left[0]]
    one = len(ids) == 1
    what = f"{first.task} {first.id}" if one else f"{len(ids)} messages of {first.task} (.ids)"
    if command[0] == "XADD" and isinstance(chunk.items[chunk.left[0]], Outgoing):
        look = f"look for it (app.result({first.id!r}).status())" if one else "look for them (app.result(id).status())"
        todo = f"{look} before you send again; a call with message_id= may be sent again without a look"
    else:
        todo = chunk.items[chunk.left[0]].doubt
    return MaybeSent(f"{str(error).rstrip('.')}. Redis may have taken {what}: {todo}", ids, errors)
