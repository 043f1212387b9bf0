"""One call of a task on its way to Redis: the message, where it goes, and the commands that can take it there."""

from __future__ import annotations

from typing import Any, NamedTuple

from streamtask.broker import keys as names
from streamtask.broker.keys import QueueKeys
from streamtask.broker.link import Arg, Command, call_of
from streamtask.broker.scripts import DEFER, ENQ
from streamtask.context import Context
from streamtask.message import Message, new_id
from streamtask.options import CallOptions

#: Milliseconds for which a `message_id` chosen by the caller is remembered: 7 days.
MESSAGE_ID_TTL = 7 * 86_400_000
#: Seconds for which Redis remembers an id of ours, so that a send whose answer was lost may be repeated. Never another
#: number: XCFGSET with other values than the stream has makes Redis forget what it knows.
REMEMBERED = 100


class Receipt(NamedTuple):
    """What Redis said: the entry id where there is one, or the id of the message that was there before."""

    entry_id: str | None = None
    holder: str | None = None


class Outgoing(NamedTuple):
    """On its way; `due` is ms from now, or since the epoch if `absolute`; `locks` are keys and their ttl in ms.

    `chosen`: the caller chose the message id, so that it may have been sent before.
    """

    message: Message
    queue: str
    keys: QueueKeys
    due: int | None = None
    absolute: bool = False
    locks: tuple[tuple[str, int], ...] = ()
    chosen: bool = False

    @property
    def scripted(self) -> bool:
        """Does it take a script, which answers the same when it is asked again?"""
        return self.due is not None or bool(self.locks)

    @property
    def doubt(self) -> str:
        """What to do when nobody knows whether it was sent."""
        return "send again with the same message_id, and it is there once"

    def registered(self, namespace: str) -> tuple[str, str]:
        """The set that knows of its queue, and what stands there."""
        return names.queues(namespace), self.queue

    def plain(self) -> Command:
        """For who may only XADD."""
        return self.command()

    def command(self) -> Command:
        """The script that is needed, or a plain XADD where nothing more is asked for."""
        fields = self.message.fields()
        if self.due is not None:
            when = (self.due, 1 if self.absolute else 0)
            lock_args = (len(self.locks), *(ttl for _, ttl in self.locks))
            keys = (self.keys.due, self.keys.body, *(key for key, _ in self.locks))
            return call_of(DEFER, keys, (self.message.id, *when, *lock_args, *fields))
        if self.locks:
            return self._enq(self.locks)
        return ("XADD", self.keys.stream, "*", *fields)

    def idempotent(self, pid: str) -> Command:
        """XADD that Redis takes once from this producer id: a second one answers with the first one's entry id."""
        return ("XADD", self.keys.stream, "IDMP", pid, self.message.id, "*", *self.message.fields())

    def remembered(self, *, load: bool = False) -> Command:
        """ENQ that keeps the message id for a while, so that any server takes the message once.

        With `load` its text goes along, for a server that does not know it yet.
        """
        call = self._enq((_remember(self.keys, self.message.id),))
        return ("EVAL", ENQ.text, *call[2:]) if load else call

    def _enq(self, locks: tuple[tuple[str, int], ...]) -> Command:
        keys = (self.keys.stream, *(key for key, _ in locks))
        args: list[Arg] = [self.message.id, len(locks), *(ttl for _, ttl in locks), *self.message.fields()]
        return call_of(ENQ, keys, args)

    def receipt(self, reply: Any) -> Receipt:
        """Read the command's reply."""
        if type(reply) is bytes:
            return Receipt(reply.decode())
        status, text = reply
        if status == 1:
            return Receipt(entry_id=None if self.due is not None else text.decode())
        if status == 2:  # this very message: sent before by the caller, or by us when the answer was lost
            return Receipt(holder=self.message.id if self.chosen else None)
        return Receipt(holder=text.decode())


def build(
    keys: QueueKeys,
    task: str,
    queue: str,
    args: bytes,
    meta: dict[str, Any],
    call: CallOptions,
    lock: tuple[str, int, str] | None,
    context: Context | None,
    fresh_id: str | None = None,
) -> Outgoing:
    """A message and how it must be sent. `lock` is a unique key: its hash, its ttl in ms, the meta's `unique`.

    `fresh_id` is its id if the caller of the task chose none.
    """
    message_id = call.message_id or fresh_id or new_id()
    if context is None and lock is None and call.plain:
        return Outgoing(Message(message_id, task, args, meta), queue, keys)
    unique = ((keys.unique(task, lock[0]), lock[1]),) if lock is not None else ()
    if context is not None:
        meta = {**meta, "parent": context.id, "root": context.root}
    due, absolute = None, False
    if call.eta is not None:
        due, absolute = int(call.eta.timestamp() * 1000), True
    elif call.countdown:
        due = int(call.countdown * 1000)
    if due is not None:
        meta = {**meta, "deferred": True}  # tells the worker that `where` knows this message
    locks: tuple[tuple[str, int], ...] = ()
    if call.message_id:
        locks = ((keys.sent(message_id), MESSAGE_ID_TTL), *unique)
    elif unique or due is not None:
        # When the script is asked again the message may have ended already, and its unique key or its body be gone.
        locks = (_remember(keys, message_id), *unique)
    chosen = call.message_id is not None
    return Outgoing(Message(message_id, task, args, meta), queue, keys, due, absolute, locks, chosen)


def _remember(keys: QueueKeys, message_id: str) -> tuple[str, int]:
    return keys.sent(message_id), REMEMBERED * 1000
