"""A world for long random runs: all kinds of messages, beats, every fault; and the quiet end in which all must end."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import scripts
from .faults import Faulty
from .invariants import finished
from .rules import Rules, Settings
from .server import EPOCH, FINAL, Broken, Refused
from .world import Action

#: Faults of which any number may come. Those that are dear to a run (they rewrite history, say) come more rarely.
FAULTS = (
    "crash", "pause", "block", "mute", "term", "hire", "overdue", "lost", "delayed", "twice", "away", "frozen",
    "switch", "forget", "jump", "sweep",
)  # fmt: skip
#: Milliseconds between two ticks of the schedule.
PERIOD = 700
KINDS = ("", "", "", "", "garbage", "decode", "start", "later", "parse")
#: In which order the quiet end does what can be done.
ORDER = (
    "resume", "unblock", "return", "thaw", "late", "exec", "deliver", "post", "declare", "renew", "flush", "mark",
    "begin", "finish", "move", "drain", "hurry", "exit", "read", "take", "tick",
)  # fmt: skip


@dataclass
class Beat:
    """One beat process: what it knows of the schedule, and how wrong its own clock is (it must not matter)."""

    last: int | None = None
    skew: int = 0


class Chaos(Faulty):
    """Sends, beats and faults without a budget."""

    def __init__(self, settings: Settings, rules: Rules, native: bool = True, workers: int = 2) -> None:
        super().__init__(settings, rules, workers, native)
        self.outcomes = ("returned", "returned", "raised", "retry at once", "rejected", "dropped", "snoozed")
        self.beats = [Beat(), Beat(skew=3_600_000), Beat(skew=-3_600_000)]
        self.fired: list[tuple[int, int]] = []  # (history of the server, tick)
        self.budget = dict.fromkeys(FAULTS, 1 << 30)

    def __str__(self) -> str:
        return f"{self.settings}, native={self.server.native}"

    def spend(self, kind: str) -> None:
        """There is always one more."""

    # -- producers and beats ------------------------------------------------------------------------------------------

    def sends(self) -> Iterator[Action]:
        """What a producer or a beat may do."""
        if not self.server.up:
            return
        for kind in KINDS:
            yield ("send", kind, 0, "", 0)
        yield from (
            ("send", "", 400, "", 0),
            ("send", "", 0, "k", 0),
            ("send", "", 400, "k", 0),
            ("send", "", 0, "", 1000),
        )
        yield from (("beat", i) for i in range(len(self.beats)))
        yield from (("replay", id) for id in list(self.server.dead)[:1])

    def do_send(self, kind: str, delay: int, unique: str, ttl: int) -> None:
        """delay(), with a countdown, a unique key (that runs out soon), an expiry."""
        self.send(self.entry(kind=kind, unique=unique, ttl=ttl), delay, 5 * self.settings.lease)

    def do_beat(self, i: int) -> None:
        """A beat offers the next tick after the last one that it knows; I14."""
        beat = self.beats[i]
        new = (beat.last if beat.last is not None else EPOCH) // PERIOD * PERIOD + PERIOD
        entry = self.entry()
        try:
            status, last = scripts.tick(self.server, "s", beat.last, new, [entry])
        except Refused:
            return
        beat.last = last
        if status == 1:
            self._fired(new)

    def _fired(self, tick: int) -> None:
        earlier = [at for history, at in self.fired if history == self.server.history]
        if tick > self.server.time or (earlier and tick <= max(earlier)):
            raise Broken(f"I14: tick {tick} fires at {self.server.time} after {earlier[-3:]}")
        self.fired.append((self.server.history, tick))

    def do_replay(self, id: int) -> None:
        """An operator sends a dead letter again."""
        try:
            scripts.replay(self.server, id, self.next_copy, 5 * self.settings.lease)
        except Refused:
            return
        self.next_copy += 1

    # -- the end ------------------------------------------------------------------------------------------------------

    def quieten(self, steps: int = 4000) -> None:
        """I2: no more faults, somebody alive, and everything that was accepted ends."""
        self.server.oom = self.server.readonly = False
        self.server.wrong = frozenset()
        self.asked_anew()
        self.outcomes = ("returned",)
        for worker in list(self.workers.values()):
            if not worker.thread and worker.life != "gone":
                self.act(("crash", worker.name))
        for _ in range(steps):
            if self._over():
                break
            self.act(self._next())
        finished(self.server, self.proof)

    def _over(self) -> bool:
        ended = all(state in FINAL for state in self.server.ledger.values()) and not self.server.due
        alive = [w for w in self.workers.values() if w.life != "gone"]
        busy = any(w.held or w.pending or w.marking or w.links.keys() - {"reader"} for w in alive)
        return ended and not busy and not self.server.pel and not self.proof.runs and not self.network

    def _next(self) -> Action:
        if not self.server.up:
            return ("return",)
        if not any(w.life != "gone" and not w.stopping for w in self.workers.values()):
            return ("hire",)
        for worker in self.workers.values():
            if worker.life == "paused":
                return ("resume", worker.name)
            if worker.blocked and worker.life == "up":
                return ("unblock", worker.name)
        if any(r.count >= 10 * self.settings.cap for r in self.server.pel.values()):
            self.do_sweep()
        return min(self.actions(), key=lambda action: ORDER.index(action[0]), default=("tick",))


def drawn(seed: int, rules: Rules | None = None, native: bool | None = None) -> Chaos:
    """A world with the settings of this seed."""
    dice = random.Random(seed)
    settings = Settings(
        slots=dice.choice((1, 2)),
        prefetch=dice.choice((0, 1, 2)),
        cap=dice.choice((1, 3, 3)),
        retries=dice.choice((0, 1)),
        threads=dice.random() < 0.4,
        result=dice.random() < 0.4,
    )
    either = dice.random() < 0.5
    return Chaos(settings, rules or Rules(), either if native is None else native)


def walk(seed: int, make: Callable[[], Chaos], steps: int, shrink: bool = True) -> Chaos:
    """A random run of the world that `make` makes; raises AssertionError with the seed and a short way there."""
    dice, world, way = random.Random(seed), make(), list[Action]()
    try:
        for _ in range(steps):
            way.append(_chosen(world, dice))
            world.act(way[-1])
        world.quieten()
    except AssertionError as error:
        if not shrink:
            raise
        short, last = shrunk(make, way, error)
        lines = "\n".join(f"  {i + 1:3} {' '.join(map(str, action))}" for i, action in enumerate(short))
        raise AssertionError(f"seed {seed}, {world}: {last}\n{lines}") from error
    return world


def shrunk(make: Callable[[], Chaos], way: list[Action], error: AssertionError) -> tuple[list[Action], AssertionError]:
    """A shorter way to an error of the same invariant: parts are left out as long as it still comes."""
    size = max(1, len(way) // 2)
    while size:
        at = 0
        while at < len(way):
            shorter = way[:at] + way[at + size :]
            found = failure(make(), shorter)
            if found is not None and str(found).split(":")[0] == str(error).split(":")[0]:
                way, error = shorter, found
            else:
                at += size
        size //= 2
    return way, error


def failure(world: Chaos, way: list[Action]) -> AssertionError | None:
    """What goes wrong on this way; steps that are not possible are left out."""
    try:
        for action in way:
            if action in (*world.actions(), *world.faults(), *world.sends()):
                world.act(action)
        world.quieten()
    except AssertionError as error:
        return error
    return None


def _chosen(world: Chaos, dice: random.Random) -> Action:
    draw = dice.random()
    if draw < 0.12:
        kinds = [kind for kind in world.budget if kind not in ("forget", "mute", "jump") or dice.random() < 0.2]
        dice.shuffle(kinds)
        for kind in kinds:
            if found := list(getattr(world, "_" + kind)()):
                return dice.choice(found)
    if draw < 0.22 and (found := list(world.sends())):
        return dice.choice(found)
    back = [a for a in world.faults() if a[0] in ("resume", "unblock", "return", "thaw")]
    if back and dice.random() < 0.15:
        return dice.choice(back)
    if world.server.up and not any(w.life != "gone" and not w.stopping for w in world.workers.values()):
        return ("switch", "readonly") if world.server.readonly else ("hire",)
    return dice.choice(list(world.actions()) or [("tick",)])
