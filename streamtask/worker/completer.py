"""Writes verdicts: everything that ended since the last write goes out in one, fenced, with one status an item.

There is no timer: while one write is on its way the next batch gathers, so an idle worker settles at once and a busy
one by the hundred. The token is read when a verdict is sent, not when it was made, so a redelivery to ourselves in
between is no loss.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from streamtask.broker.broker import Broker
from streamtask.broker.link import CONNECTION_ERRORS, Arg, Command, passing
from streamtask.outcome import DONE
from streamtask.policy import Again, Bury, Drop, Failure, Ignore, Release, Verdict, gone
from streamtask.worker.clock import RedisClock
from streamtask.worker.delivery import Delivery, QueueState, State
from streamtask.worker.verdicts import Batch, bury_items, is_plain, lesser, release_items, settle_items, weight

logger = logging.getLogger("streamtask.worker")

#: Items of one script call, and bytes of one call that holds bodies.
ITEMS, BYTES = 200, 4 * 1024 * 1024
#: Bytes of one verdict beyond which it is not even tried: at 512 MB Redis ends the connection, and all others with it.
UNSENDABLE = 64 * 1024 * 1024
#: Longest wait in seconds before a write that failed is tried again.
BACKOFF = 5.0

Sent = list[tuple[Delivery, Verdict, int]]


class Completer:
    """Collects verdicts on the loop and writes them. `settled(delivery, verdict, ok)` tells the end of each."""

    def __init__(self, broker: Broker, clock: RedisClock, settled: Callable[[Delivery, Verdict, bool], None]) -> None:
        self._broker, self._clock, self._settled = broker, clock, settled
        self._pending: list[tuple[Delivery, Verdict]] = []
        self._wake = asyncio.Event()
        self._clean = asyncio.Event()
        self._clean.set()
        self.nudge_at: Callable[[float], None] = lambda _delay: None
        self.gave_up: Callable[[Delivery, str], None] = lambda _delivery, _error: None
        self.strayed: Callable[[QueueState], None] = lambda _queue: None
        #: Verdicts that could be written in no form. Their messages come again when their leases are over.
        self.unwritten: set[bytes] = set()

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        """Take a verdict; it is written soon, and kept until Redis has answered."""
        if isinstance(verdict, Drop):
            self._forget(delivery)
            self._settled(delivery, verdict, True)
            return
        if isinstance(verdict, Release):
            delivery.given_back = True
        if not self._pending:
            self._clean.clear()
            self._wake.set()
        self._pending.append((delivery, verdict))

    async def run(self) -> None:
        """Write until cancelled."""
        failures = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(0)  # let what ends in this turn of the loop come along
            pending, self._pending = self._pending, []
            try:
                failures = 0 if await self._flush(pending) else failures + 1
            except CONNECTION_ERRORS:
                failures += 1
                for delivery, _ in pending:
                    delivery.uncertain = True
                self._pending = pending + self._pending
            if self._pending:
                self._wake.set()
                if failures:
                    await asyncio.sleep(min(BACKOFF, 0.05 * 2**failures) * (0.5 + random.random() / 2))
            else:
                self._clean.set()

    async def drained(self) -> None:
        """Wait until everything that was settled is written."""
        await self._clean.wait()

    async def _flush(self, pending: list[tuple[Delivery, Verdict]]) -> bool:
        """Send all; False when something must be tried again later."""
        calls: list[Command] = []
        sent: list[Sent] = []
        batches: dict[int, tuple[QueueState, Batch]] = {}
        for delivery, wanted in pending:
            queue = delivery.queue
            known = batches.get(id(queue))
            if known is None:
                known = batches[id(queue)] = (queue, Batch())
            batch = known[1]
            if is_plain(delivery, wanted):
                batch.done.append(delivery)
                continue
            verdict = _sendable(delivery, wanted)
            if isinstance(verdict, Release):
                if queue.held.get(delivery.id) is delivery:
                    delivery.released_ms = delivery.released_ms or self._clock.now()
                    batch.release.append((delivery, verdict))
                else:  # it is here again, as a new delivery with the same token: that one must not be given away
                    self._settled(delivery, verdict, True)
            elif isinstance(verdict, Ignore):
                batch.ignore.append((delivery, verdict))
            elif isinstance(verdict, Bury) and delivery.by_copy:
                batch.bury.append((delivery, verdict))
            else:
                batch.settle.append((delivery, verdict))
        for queue, batch in batches.values():
            self._prepare(queue, batch, calls, sent)
        all_applied = True
        for items, reply in zip(sent, await self._broker.settle(calls), strict=True):
            all_applied &= self._answered(items, reply)
        return all_applied

    def _prepare(self, queue: QueueState, batch: Batch, calls: list[Command], sent: list[Sent]) -> None:
        for start in range(0, len(batch.done), ITEMS):
            part = batch.done[start : start + ITEMS]
            tokens = [arg for delivery in part for arg in (delivery.id, delivery.count)]
            calls.append(self._broker.done_call(queue.keys, tokens))
            sent.append([(delivery, DONE, delivery.count) for delivery in part])
        for items in _parts(batch.settle):
            settle = items
            try:
                extra, args = self._items(queue, settle)
            except Exception:  # noqa: BLE001 - one text of a user's that JSON cannot carry must not hold up the others
                settle = [(delivery, self._writable(queue, delivery, verdict)) for delivery, verdict in items]
                extra, args = self._items(queue, settle)
            calls.append(self._broker.settle_call(queue.keys, extra, args))
            sent.append([(delivery, verdict, delivery.count) for delivery, verdict in settle])
        for item in batch.bury:  # hardly ever there is one, so each has its own call
            extra, args = bury_items(queue.keys, [item], self._broker.consumer, self._clock.now())
            calls.append(self._broker.bury_call(queue.keys, extra, args))
            sent.append([(*item, item[0].count)])
        for start in range(0, len(batch.ignore), ITEMS):
            strays = batch.ignore[start : start + ITEMS]
            flat = [arg for delivery, stray in strays for arg in (delivery.id, delivery.count, stray.type)]
            calls.append(self._broker.ignore_call(queue.keys, flat))
            sent.append([(delivery, stray, delivery.count) for delivery, stray in strays])
        tries: dict[int, list[tuple[Delivery, Release]]] = {}
        for delivery, verdict in batch.release:
            tries.setdefault(delivery.released_ms if delivery.uncertain else 0, []).append((delivery, verdict))
        for before, back in tries.items():
            for start in range(0, len(back), ITEMS):
                release = back[start : start + ITEMS]
                calls.append(self._broker.release_call(queue.keys, release_items(release), before))
                sent.append([(delivery, verdict, delivery.count) for delivery, verdict in release])

    def _items(self, queue: QueueState, settle: list[tuple[Delivery, Verdict]]) -> tuple[list[str], list[Arg]]:
        return settle_items(queue.keys, settle, self._broker.consumer, self._clock.now())

    def _writable(self, queue: QueueState, delivery: Delivery, verdict: Verdict) -> Verdict:
        """The verdict, or a dead letter in place of one that cannot be put into bytes."""
        try:
            self._items(queue, [(delivery, verdict)])
        except Exception as error:
            logger.exception("the verdict on %s in %s cannot be written", delivery.message_id, queue.name)
            return Bury("result", Failure("Unwritable", ascii(error)[:1000]))
        return verdict

    def _answered(self, items: Sent, reply: Any) -> bool:
        """Read one call's reply; False when an item must be tried again."""
        if isinstance(reply, Exception):
            if "NOGROUP" in str(reply):  # the stream is gone, and with it what could be settled
                statuses: list[Any] = [0] * len(items)
            elif len(items) > 1 and not passing(str(reply)):
                return self._apart(items)
            else:
                statuses = [str(reply).encode()] * len(items)
        elif isinstance(reply, list):
            statuses = reply
        else:  # RELEASE counts; what it left was not ours
            statuses = [1] * len(items)
        applied = True
        for (delivery, verdict, count), status in zip(items, statuses, strict=True):
            if status == 1:
                self._forget(delivery)
                self._settled(delivery, verdict, True)
                if type(verdict) is Again and verdict.delay < 1:
                    self.nudge_at(verdict.delay)
            elif isinstance(verdict, Ignore) and isinstance(status, int) and status:
                applied &= self._strayed(delivery, verdict, status)
            elif isinstance(status, int):  # 0, or -1 of BURY: its entry is gone
                applied &= self._not_ours(delivery, verdict, count)
            else:
                applied &= self._refused(delivery, verdict, status.decode(errors="replace"))
        return applied

    def _strayed(self, delivery: Delivery, verdict: Ignore, status: int) -> bool:
        """An event without a handler here: -1 is acknowledged, else a worker said `status` ms ago that it has one."""
        if status < 0:
            self._forget(delivery)
            self._settled(delivery, verdict, True)
            return True
        if status > verdict.grace * 1000:
            self._again(delivery, gone(verdict.type, status / 1000))
        else:
            self.strayed(delivery.queue)
            self.settle(delivery, Release(started=False))
        return True

    def _not_ours(self, delivery: Delivery, verdict: Verdict, count: int) -> bool:
        if delivery.count != count and delivery.queue.held.get(delivery.id) is delivery:
            # It came back to us while the verdict was under way: the new token settles it.
            self._again(delivery, verdict)
            return False
        self._forget(delivery)
        # Uncertain: the first write's answer was lost on the way back, and that write had applied.
        self._settled(delivery, verdict, delivery.uncertain)
        return True

    def _apart(self, items: Sent) -> bool:
        """A whole call was refused: each item goes in a call of its own now, so that none suffers from another."""
        for delivery, verdict, _ in items:
            delivery.alone = True
            self._again(delivery, verdict)
        return False

    def _refused(self, delivery: Delivery, verdict: Verdict, error: str) -> bool:
        """Redis refused one item. What can pass is tried again; what cannot is written in a form that can."""
        if passing(error):
            self._again(delivery, verdict)
            return False
        logger.error("redis refused the verdict on %s in %s: %s", delivery.message_id, delivery.queue.name, error)
        if is_plain(delivery, verdict):  # by DONE; SETTLE may do
            delivery.alone = True
            self._again(delivery, verdict)
            return False
        less = lesser(delivery, verdict, error)
        if less is not None:
            self._again(delivery, less)
            return False
        self.unwritten.add(delivery.id)
        self._forget(delivery)  # its lease runs out, and it comes back to whoever can write
        self.gave_up(delivery, error)
        return True

    def _again(self, delivery: Delivery, verdict: Verdict) -> None:
        self._pending.append((delivery, verdict))
        self._clean.clear()

    def _forget(self, delivery: Delivery) -> None:
        if delivery.queue.held.get(delivery.id) is delivery:
            del delivery.queue.held[delivery.id]
        delivery.state = State.SETTLING


def _sendable(delivery: Delivery, verdict: Verdict) -> Verdict:
    """The verdict, or what is written in place of one that is too large to be sent."""
    while weight(delivery, verdict) > UNSENDABLE:
        less = lesser(delivery, verdict, "it is too large to be sent")
        assert less is not None, "a dead letter by copy is small"
        verdict = less
    return verdict


def _parts(items: list[tuple[Delivery, Verdict]]) -> list[list[tuple[Delivery, Verdict]]]:
    """Batches that stay below the limits of count and bytes."""
    parts: list[list[tuple[Delivery, Verdict]]] = [[item] for item in items if item[0].alone]
    size = BYTES
    for item in items:
        if item[0].alone:
            continue
        more = weight(*item)
        if size + more > BYTES or len(parts[-1]) >= ITEMS:
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += more
    return parts
