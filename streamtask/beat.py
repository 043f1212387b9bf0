"""Beat: offers each schedule's ticks to Redis, which lets every tick fire once. Run as many beats as you like.

A tick is a compare-and-set from the last tick to the next, so beats need no leader and no lock. A
beat works from what Redis says the last tick was; after a lost connection it asks again, for a failover may have
undone a tick.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from streamtask.app import StreamTask
from streamtask.broker import keys as names
from streamtask.broker.broker import Broker
from streamtask.broker.keys import QueueKeys, queue_keys
from streamtask.broker.link import CONNECTION_ERRORS, Arg, ResponseError, passing
from streamtask.context import from_ms
from streamtask.message import Message, new_id
from streamtask.schedule import Plan, Schedule, plan
from streamtask.worker import revive
from streamtask.worker.clock import RedisClock
from streamtask.worker.membership import consumer_name, presence
from streamtask.worker.mover import Mover
from streamtask.worker.report import ERROR, INFO, WARNING, Reporter

#: The last tick of a schedule that left the code: later than any time, so that no beat of an older deploy can fire it.
REMOVED = 9_000_000_000_000_000
#: Seconds between two looks at the clock, the queues and the presence; a tick never waits for them.
LOOK = 5.0
#: Seconds until a schedule that failed is tried again.
AGAIN = 1.0
#: Seconds for which the lock of overlap="skip" lives at most.
OVERLAP_TTL = 7 * 86_400.0
#: The field of the hash of schedules that says which deploy's list it is.
DEPLOY = "@deploy"


@dataclass(slots=True)
class Line:
    """One schedule in this beat: `last` is the last tick in ms as Redis told it, None when it must be asked.

    `again_at` is the monotonic time before which it is left alone, because it failed.
    """

    schedule: Schedule
    keys: QueueKeys
    last: int | None = None
    again_at: float = 0.0


class Beat:
    """The ticking of one process. `mover=True` also moves due messages of all queues, so that idle deployments wake
    up.
    """

    def __init__(self, app: StreamTask, report: Reporter | None = None, *, mover: bool = True) -> None:
        self.app, self.report = app, report or Reporter()
        self.consumer = consumer_name(f"beat-{socket.gethostname()}")
        self.clock = RedisClock()
        self._lines = [Line(s, app.post.keys(s.queue)) for s in app.schedules.values() if s.enabled]
        self._moves = mover
        self._stopping = asyncio.Event()
        self._looked_at = 0.0
        self.started_at = 0

    def stop(self) -> None:
        """Stop after the tick under way."""
        self._stopping.set()

    async def connect(self) -> None:
        """Reach Redis; raises redis-py's errors when it is not there."""
        url = await asyncio.get_running_loop().run_in_executor(None, self.app.post.sender.url)
        self.broker = Broker(url, self.app.namespace, self.consumer)
        self.server = await self.broker.connect()
        await self._see_clock()
        self.started_at = self.clock.now()
        await self._publish()

    @property
    def answered_at(self) -> float:
        """When Redis last answered all that a look asks, as time.monotonic() says it; looks come every LOOK seconds."""
        return self._looked_at

    async def run(self) -> None:
        """Connect and tick until stopped."""
        await self.connect()
        await self.serve()

    async def serve(self) -> None:
        """Tick until stopped, through whatever happens to Redis."""
        self._mover = Mover(self.broker, [], self.clock)
        moving = asyncio.create_task(self._mover.run())
        self.report.event("beat.started", INFO, "ready", schedules=len(self._lines), worker=self.consumer)
        away = False
        try:
            while not self._stopping.is_set():
                try:
                    rest = await self._turn()
                    if away:
                        self.report.event("redis.back", INFO, "redis is back")
                    away = False
                except (*CONNECTION_ERRORS, ResponseError) as error:
                    if not away:
                        self.report.event("redis.lost", WARNING, f"no tick can be offered, trying again: {error}")
                    away, rest = True, 0.2 + random.random()
                    for line in self._lines:
                        line.last = None
                    await revive(self.app)
                await self._rest(rest)
        finally:
            moving.cancel()
            await asyncio.gather(moving, return_exceptions=True)
            await self._leave()

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), max(0.0, seconds))

    async def _turn(self) -> float:
        """Offer what is due; returns the seconds until the next tick or look."""
        if time.monotonic() - self._looked_at >= LOOK:
            await self._look()
        rest = LOOK
        for line in self._lines:
            rest = min(rest, await self._attend(line))
        return rest

    async def _attend(self, line: Line) -> float:
        """One schedule's turn; returns the seconds until its next one. What is wrong with it alone stops no other."""
        wait = line.again_at - time.monotonic()
        if wait > 0:
            return wait
        try:
            if line.last is None:
                await self._first_look(line)
            offered = plan(line.schedule, line.last or 0, self.clock.now())
            if offered is not None:
                await self._offer(line, offered)
        except CONNECTION_ERRORS:
            raise
        except Exception as error:  # its stream is none, a key function of the user's broke
            if passing(error):
                raise
            if not line.again_at:
                text = f"its ticks cannot be sent, trying again: {error!r}"
                self.report.event("beat.failed", ERROR, text, schedule=line.schedule.name)
            line.last, line.again_at = None, time.monotonic() + AGAIN
            return AGAIN
        line.again_at = 0.0
        return self._until_next(line)

    def _until_next(self, line: Line) -> float:
        if line.last is None:
            return 0.0
        following = line.schedule.when.next_after(line.last) if line.last < REMOVED else None
        return LOOK if following is None else max(0.0, (following - self.clock.now()) / 1000)

    async def _first_look(self, line: Line) -> None:
        """What Redis knows of the schedule; one that it never saw starts now, so nothing past fires."""
        ticked = await self.broker.tick(line.keys, line.schedule.name, "", 0, None, ())
        self.clock.saw(ticked.now)
        line.last = ticked.last

    async def _offer(self, line: Line, offered: Plan) -> None:
        schedule = line.schedule
        lock, items = self._messages(schedule, line.keys, offered.fire)
        ticked = await self.broker.tick(line.keys, schedule.name, str(line.last), offered.last, lock, items)
        self.clock.saw(ticked.now)
        line.last = ticked.last
        if ticked.status != 1:
            return  # another beat was faster, or this host's clock runs ahead: go on from what Redis says
        for place, tick in enumerate(offered.fire):
            late = max(0, ticked.now - tick) / 1000
            sent = int(place < ticked.sent)  # where one at a time is allowed, the first one shuts out those behind it
            fields = {
                "schedule": schedule.name,
                "task": schedule.task,
                "tick": from_ms(tick).isoformat(),
                "late_s": late,
            }
            self.report.event("beat.tick", INFO, "tick", sent=sent, **fields)
        if not offered.fire:
            until = from_ms(offered.last).isoformat()
            text = f"ticks up to {until} were missed and are skipped (missed={schedule.missed!r})"
            self.report.event("beat.missed", WARNING, text, schedule=schedule.name)
        await self.broker.call("HSET", names.schedules(self.app.namespace), schedule.name, self._describe(line))

    def _messages(
        self, schedule: Schedule, keys: QueueKeys, ticks: Sequence[int]
    ) -> tuple[tuple[str, int] | None, list[Arg]]:
        """The tick's messages as tick.lua takes them, and the lock that keeps them from piling up."""
        task = self.app.tasks[schedule.task]
        values = task.signature.bind((), schedule.args)
        args = task.signature.dump(task.name, values)
        meta: dict[str, Any] = {}
        lock: tuple[str, int] | None = None
        unique = task.unique_lock(values)
        if unique is None and schedule.overlap == "skip":
            key_hash = hashlib.blake2b(f"overlap {schedule.name}".encode(), digest_size=16).hexdigest()
            unique = (key_hash, int(OVERLAP_TTL * 1000), key_hash)
        if unique is not None:
            lock = (keys.unique(task.name, unique[0]), unique[1])
            if unique[2]:
                meta["unique"] = unique[2]
        if task.task_options.expires is not None:
            meta["ttl"] = task.task_options.expires
        items: list[Arg] = []
        for tick in ticks:
            message = Message(new_id(), task.name, args, {**meta, "scheduled_for": from_ms(tick).isoformat()})
            fields = message.fields()
            items += (message.id, len(fields), *fields)
        return lock, items

    # -- the list of schedules ---------------------------------------------------------------------------------------

    async def _publish(self) -> None:
        """Say which schedules this deploy has. What an older deploy had and this one has not stops for every beat."""
        key = names.schedules(self.app.namespace)
        raw = await self.broker.call("HGETALL", key)
        known = dict(zip((name.decode() for name in raw[::2]), raw[1::2], strict=True))
        await self.broker.declare([(s.queue, self.app.post.keys(s.queue), "0") for s in self.app.schedules.values()])
        mine = set(self.app.schedules)
        for name, text in known.items():
            if name != DEPLOY and name not in mine:
                queue = from_json(text).get("queue", "default")
                await self.broker.call("HSET", queue_keys(self.app.namespace, queue).ticks, name, REMOVED)
                await self.broker.call("HDEL", key, name)
        for line in self._lines:
            ticks = line.keys.ticks
            if await self.broker.call("HGET", ticks, line.schedule.name) == str(REMOVED).encode():
                await self.broker.call("HSET", ticks, line.schedule.name, self.clock.now())  # it is back in the code
        for schedule in self.app.schedules.values():
            line = Line(schedule, self.app.post.keys(schedule.queue), self.clock.now())
            await self.broker.call("HSET", key, schedule.name, self._describe(line))
        await self.broker.call("HSET", key, DEPLOY, to_json({"at": self.started_at, "names": sorted(mine)}))

    def _describe(self, line: Line) -> bytes:
        schedule = line.schedule
        following = schedule.when.next_after(line.last or self.clock.now()) if schedule.enabled else None
        facts = {
            "when": str(schedule.when),
            "task": schedule.task,
            "queue": schedule.queue,
            "missed": schedule.missed,
            "overlap": schedule.overlap,
            "enabled": schedule.enabled,
            "source": "code",
            "deployed_at": self.started_at,
            "next": following,
        }
        return to_json(facts)

    # -- now and then ------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """The clock, the presence, and which queues there are to move."""
        await self._see_clock()
        mine = presence(self.consumer, "beat", self.started_at, queues=[], schedules=len(self._lines))
        await self.broker.call("SET", names.worker(self.app.namespace, self.consumer), mine, "PX", int(LOOK * 3000))
        if self._moves:
            queues = await self.broker.call("SMEMBERS", names.queues(self.app.namespace))
            self._mover.queues = [queue_keys(self.app.namespace, queue.decode()) for queue in sorted(queues)]
        self._looked_at = time.monotonic()

    async def _see_clock(self) -> None:
        seconds, micros = await self.broker.call("TIME")
        self.clock.saw(int(seconds) * 1000 + int(micros) // 1000)

    async def _leave(self) -> None:
        try:
            await self.broker.call("DEL", names.worker(self.app.namespace, self.consumer))
        except (*CONNECTION_ERRORS, ResponseError) as error:
            self.report.event("redis.lost", ERROR, f"could not say goodbye: {error}")
        await self.broker.close()
