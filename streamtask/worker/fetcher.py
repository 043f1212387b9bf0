"""Reads messages: as many as there is room for, and what dead workers left behind."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from streamtask.broker.broker import Broker
from streamtask.broker.keys import GROUP, QueueKeys
from streamtask.broker.link import CONNECTION_ERRORS, ResponseError, group_is_gone, passing
from streamtask.broker.reader import Found, PartlyRead, Reader
from streamtask.policy import Lost
from streamtask.task import Kind
from streamtask.worker.clock import RedisClock
from streamtask.worker.contact import Contact
from streamtask.worker.delivery import Delivery, QueueState
from streamtask.worker.executor import Executor
from streamtask.worker.leases import Leases
from streamtask.worker.queues import announce
from streamtask.worker.report import ERROR, INFO, WARNING, Reporter
from streamtask.worker.room import Turns

#: Most messages that one read asks for (50 to 200 is where the speed is).
COUNT = 200
#: Longest wait in seconds between two tries to reach Redis.
BACKOFF = 5.0
#: Seconds until the next look where one gave nothing although it should: half of a second that is promised.
SOON = 0.5
#: Seconds between two looks at what was given back, where that wakes no reader: should the mover not have told of it.
#: Of a topic it tells nothing, and a second is promised.
GIVEN_BACK, GIVEN_BACK_TOPIC = 5.0, 1.0
#: Seconds until a fetcher that may not start anything looks again whether it may.
SILENT = 0.1

Wants = list[tuple[QueueKeys, int]]


class Fetcher:
    """Reads the streams of one consumer group: a worker's queues, or a group's topics and own queues."""

    def __init__(
        self,
        broker: Broker,
        queues: Sequence[QueueState],
        executor: Executor,
        turns: Turns,
        *,
        contact: Contact,
        clock: RedisClock,
        report: Reporter,
        leases: Leases,
        revive: Callable[[], Awaitable[None]],
        gap: Callable[[], float],
        burst: bool,
    ) -> None:
        self._broker, self._queues, self._executor, self._leases = broker, queues, executor, leases
        self._reader: Reader = broker.reader(queues[0].keys.group if queues else GROUP)
        self._turn_taking = turns.join({kind for queue in queues for kind in queue.kinds}, self._end_if_waits)
        self._roomy = executor.roomy.bell()
        self._is_topic = any(queue.keys.kind == "topic" for queue in queues)
        self._by_stream = {queue.keys.stream: queue for queue in queues}
        self._contact, self._clock, self._report = contact, clock, report
        self._revive, self._gap, self._burst = revive, gap, burst
        self._stopping = asyncio.Event()
        self._nothing_in: set[str] = set()  # streams that had nothing since one had something
        self._flowing: set[str] = set()  # streams that had something at the last read
        self._reading: asyncio.Future[Any] | None = None  # done when the read that waits has ended
        self._asking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking.set_result(None)
        self._turns = 0
        self._failures = 0
        self._groupless = False
        self._last_good = time.monotonic()
        self._look_at = dict.fromkeys(self._by_stream, 0.0)
        self._given_back_at = 0.0
        self.admitted = 0

    async def run(self) -> None:
        """Read until stopped, through whatever happens to Redis."""
        while not self._stopping.is_set():
            try:
                if await self._turn():
                    return
            except CONNECTION_ERRORS as error:
                await self._failed(error)
            except ResponseError as error:
                await self._refused(error)

    def parked(self) -> None:
        """Something was given back. A read with CLAIM was woken for it; another one must end, so that we look."""
        if not self._reader.native:
            self._given_back_at = 0.0
            if self.waits:
                self._ask_for_end()

    async def stop(self) -> None:
        """Ask for nothing more; a read that waits in Redis is ended there, so that no reply is lost."""
        self._stopping.set()
        self._roomy.set()
        while self._reading is not None and self.waits:
            await self._end(self._reading)

    @property
    def waits(self) -> bool:
        """Is a read waiting in Redis now?"""
        return self._reading is not None and not self._reading.done()

    async def _turn(self) -> bool:
        """One look; True when a burst worker has nothing left to do."""
        sent_at = time.monotonic()
        try:
            return await self._look()
        except PartlyRead as partly:  # what the other queues gave is ours now, and must not wait for its lease to end
            self._admit(partly.found, sent_at)
            raise partly.error from None

    async def _look(self) -> bool:
        self._roomy.clear()
        if self._groupless:
            await self._broker.declare([(queue.name, queue.keys, queue.begin) for queue in self._queues])
            await self._leases.renew_all()  # shows our presence again, if that is gone, too
            await announce(self._broker, self._queues)
            for queue in self._queues:  # and the lease: whoever comes next must find the one we use
                queue.lease = await self._broker.agree(queue.keys, queue.lease)
            self._contact.agreed()
            self._groupless = False
        if self._leases.silent():
            # What is read now could not be renewed. If it is Redis that is away, this fails, and the usual way follows.
            await self._broker.call("PING")
            await asyncio.sleep(SILENT)
            return False
        able = self._able()
        if able and await self._take(self._wants(able, wait=False)):
            return False  # there may be more of it
        if self._stopping.is_set():
            return False
        # What was renewed meanwhile may have taken the room.
        able = [queue for queue in able if self._demand(queue.kinds) > 0]
        if not able:
            self._turn_taking.waits()
            await self._roomy.wait()
            return False
        wait = self._may_wait(able)
        wants = self._wants(able, wait)
        sent_at = time.monotonic()
        if wait:
            found = await self._wait(wants, self._until_look(able))
        else:
            found = await self._reader.fetch(wants, None, given_back=not self._shy())
        self._succeeded()
        self._flowing = {stream for stream, _ in found}
        self._admit_in_turn(found, sent_at, wants, able)
        if self._burst and not found:
            if self._executor.idle:
                return True
            await self._roomy.wait()
        return False

    def _admit_in_turn(self, found: Found, sent_at: float, wants: Wants, able: Sequence[QueueState]) -> None:
        if not self._turn_taking.shared:
            self._admit(found, sent_at)
            return
        self._nothing_in = self._nothing_in | {keys.stream for keys, _ in wants} if not found else set()
        with self._turn_taking.reading(bool(found), len(self._nothing_in) >= len(able)):
            self._admit(found, sent_at)

    def _may_wait(self, able: Sequence[QueueState]) -> bool:
        """May this read wait in Redis? With one stream it may, since it gives as many as are asked for. Who shares the
        room with other readers asks for one then, so it waits only where the last read found nothing.
        """
        if self._burst:
            return False
        if self._turn_taking.shared:
            return not self._flowing and not self._turn_taking.hungry
        return not self._flowing or len(able) == 1

    def _shy(self) -> float:
        """Seconds for which what is given back is left to others: events whose handlers only they have."""
        until = max((queue.shy_until for queue in self._queues), default=0.0)
        return max(0.0, until - time.monotonic()) if until else 0.0

    async def _wait(self, wants: Wants, longest: float) -> Found:
        """A read that waits in Redis for a first message.

        It names only queues that have room, so it is ended as soon as another one has room too: else an idle queue
        would keep a busy one waiting for slots that are free.
        """
        left_out = [queue for queue in self._queues if all(keys is not queue.keys for keys, _ in wants)]
        if (
            not left_out
        ):  # as nearly always: what comes is started a turn of the loop earlier without a Task for the read
            ended = self._reading = asyncio.get_running_loop().create_future()
            try:
                return await self._read_waiting(wants, longest)
            finally:
                ended.set_result(None)
        reading = asyncio.ensure_future(self._read_waiting(wants, longest))
        self._reading = reading
        while not reading.done():
            roomy = asyncio.ensure_future(self._roomy.wait())
            await asyncio.wait({reading, roomy}, return_when=asyncio.FIRST_COMPLETED)
            roomy.cancel()
            self._roomy.clear()
            if self._stopping.is_set() or any(self._demand(queue.kinds) > 0 for queue in left_out):
                while not reading.done():
                    await self._end(reading)
        return await reading

    def _read_waiting(self, wants: Wants, longest: float) -> Coroutine[Any, Any, Found]:
        shy = self._shy()
        counts = _one_count(wants, most=1 if self._turn_taking.shared else COUNT)
        if self._is_topic and not self._reader.native:  # nothing wakes it for what is given back there
            longest = min(longest, GIVEN_BACK_TOPIC)
        return self._reader.fetch(counts, min(longest, shy) if shy else longest, given_back=not shy)

    def _end_if_waits(self) -> None:
        """Another reader has taken the room that this one's read was to fill."""
        if self.waits:
            self._ask_for_end()

    async def _end(self, reading: asyncio.Future[Any]) -> None:
        """Ask Redis to end a read, and give it a moment: the read may not have reached Redis yet.

        The asking goes over another connection. When that one is silent, what was read must not wait for it: nobody
        renews it until it is admitted.
        """
        self._ask_for_end()
        either: set[asyncio.Future[Any]] = {reading, self._asking}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({reading}, timeout=0.05)

    def _ask_for_end(self) -> None:
        if self._asking.done():
            self._asking = asyncio.ensure_future(self._ask())

    async def _ask(self) -> None:
        with suppress(*CONNECTION_ERRORS):
            await self._reader.unblock()

    def _able(self) -> list[QueueState]:
        """The queues for whose tasks there is room; with less room than queues each gets its turn to be first."""
        able = [queue for queue in self._queues if self._demand(queue.kinds) > 0]
        self._turns += 1
        first = self._turns % len(able) if able else 0
        return able[first:] + able[:first]

    def _demand(self, kinds: Sequence[Kind]) -> int:
        turn = self._turn_taking
        return turn.demand(kinds) if turn.shared else self._executor.demand(kinds)

    def _wants(self, able: Sequence[QueueState], wait: bool) -> Wants:
        """Each queue's share of the room. COUNT is per stream, so the streams of one read share it.

        Where some had messages at the last read, the others are asked for one each, which tells that there are more:
        else a busy queue among many idle ones would get a few messages a read.

        A read that waits names them all, also with less room than queues: a message that comes in too many is given
        back if it cannot start soon, while a queue that is not named would wait for the end of the read.
        """
        room = {kind: self._demand((kind,)) for queue in able for kind in queue.kinds}
        streams = {queue.keys.stream for queue in able}
        flowing = streams & self._flowing or streams
        wants: Wants = []
        for queue in able:
            left = min(room[kind] for kind in queue.kinds)
            if left < 1 and not wait:
                continue
            shared = self._demand(queue.kinds) - (len(streams) - len(flowing))
            share = shared // len(flowing) if queue.keys.stream in flowing else 1
            count = max(queue.stride, min(left, COUNT, share))
            for kind in queue.kinds:
                room[kind] -= count
            wants.append((queue.keys, count))
        return wants

    # -- what others left --------------------------------------------------------------------------------------------

    async def _take(self, wants: Wants) -> bool:
        """Look for leases that have run out, as soon as one can have; in a holiday not at all. Where it wakes no
        reader, look for what was given back, too. True when there was something.
        """
        now = time.monotonic()
        claims = now >= self._contact.claims_from
        due = [want for want in wants if now >= self._look_at[want[0].stream]] if claims else []
        if not due:
            if self._reader.native or now < self._given_back_at or self._shy():
                return False
            due, claims = wants, False
        leases = [self._by_stream[keys.stream].lease for keys, _ in due]
        taken = await self._reader.take(due, leases, self._contact.deadline() if claims else None)
        self._clock.saw(taken.now)
        self._contact.heard(now)
        self._given_back_at = 0.0 if taken.found else now + (GIVEN_BACK_TOPIC if self._is_topic else GIVEN_BACK)
        for (keys, _), wait in zip(due, taken.waits if claims else (), strict=False):
            self._look_at[keys.stream] = self._next_look(wait, bool(taken.found))
        with self._turn_taking.reading(bool(taken.found), all_streams=False):
            self._admit(taken.found, now)
        self._flowing.update(stream for stream, _ in taken.found)
        return bool(taken.found)

    def _next_look(self, wait: float | None, found: bool) -> float:
        """When to look again, given what the last look said. The jitter keeps workers from looking all at once."""
        if wait is None:  # refused, because the claim came late; the answer tells a new deadline
            return 0.0
        if wait <= 0 and not found:
            wait = SOON
        return time.monotonic() + wait + random.random() * 0.05

    def _until_look(self, able: Sequence[QueueState]) -> float:
        """Seconds until the next look."""
        at = min(self._look_at[queue.keys.stream] for queue in able)
        return max(0.02, max(at, self._contact.claims_from) - time.monotonic())

    def _admit(self, found: Found, sent_at: float) -> None:
        if not found:
            return
        self.admitted += sum(len(entries) for _, entries in found)
        now = time.monotonic()
        margin = min(2.0, self._contact.lease / 8)
        # When the loop stood still while the read was under way the reply may be old: then only the sending time is
        # sure.
        confirmed_at = sent_at if self._gap() > margin else now - margin
        for stream, entries in found:
            queue = self._by_stream[stream]
            if self._is_topic and entries:
                queue.saw(entries[-1].id.decode())  # claimed ones come first, and are older
            for entry in entries:
                held = queue.held.get(entry.id)
                if held is not None and not held.given_back:
                    # Our own, idle for a lease: adopt the new token, start nothing twice. An attempt that was
                    # given up as lost may run on in its thread; that one keeps its old token, so that others may have
                    # the message.
                    if not isinstance(held.stopped_as, Lost):
                        held.count, held.confirmed_at = entry.deliveries, confirmed_at
                    continue
                delivery = queue.held[entry.id] = Delivery(queue, entry, now, confirmed_at)
                self._executor.admit(delivery)

    # -- when Redis is away ------------------------------------------------------------------------------------------

    def _succeeded(self) -> None:
        now = time.monotonic()
        if self._failures and self._contact.told_lost:
            self._contact.told_lost = False
            away = now - self._last_good
            self._report.event("redis.back", INFO, f"redis is back after {away:.1f} s", away_s=round(away, 3))
        self._failures, self._last_good = 0, now

    async def _failed(self, error: BaseException) -> None:
        if self._failures == 0:
            self._tell_lost(WARNING, f"redis does not answer, trying again: {error}")
        self._contact.rest()
        await self._rest()
        await self._revive()
        # Since the last read, not since the first failure: a worker without free slots does not read, and does not see
        # an outage that is over when it reads again.
        if time.monotonic() - self._last_good > self._contact.lease / 3:
            self._contact.holiday()  # starts anew with each failure
            await self._leases.renew_all()

    async def _refused(self, error: ResponseError) -> None:
        if group_is_gone(error):
            self._groupless = True  # the new group starts at 0: what was done is deleted anyway
            return
        if "UNBLOCKED" in str(error):
            return
        level = WARNING if passing(error) else ERROR
        if self._failures == 0:
            self._tell_lost(level, f"redis refuses to read, trying again: {error}")
        await self._rest()

    def _tell_lost(self, level: int, text: str) -> None:
        if not self._contact.told_lost:
            self._contact.told_lost = True
            self._report.event("redis.lost", level, text)

    async def _rest(self) -> None:
        pause = min(BACKOFF, 0.05 * 2 ** min(self._failures, 8)) * (0.5 + random.random() / 2)
        self._failures += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause)


def _one_count(wants: Wants, most: int) -> Wants:
    """A read that waits has one COUNT for all streams: the smallest, so that no kind of slot is overbooked."""
    count = min(most, *(count for _, count in wants))
    return [(keys, count) for keys, _ in wants]
