"""Every interleaving of a small world: breadth first, each state once."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from .faults import Faulty
from .invariants import finished
from .key import key
from .server import FINAL, Broken
from .world import Action


@dataclass
class Explored:
    """What a search saw."""

    states: int = 0
    transitions: int = 0
    ends: int = 0
    depth: int = 0
    seconds: float = 0.0
    complete: bool = True

    def __str__(self) -> str:
        whole = "all" if self.complete else "the first"
        size = f"{whole} {self.states} states, {self.transitions} transitions, {self.ends} ends, depth {self.depth}"
        return f"{size}, {self.seconds:.1f} s"


class Trace(AssertionError):
    """A rule is broken, and the shortest way there."""


def explore(start: Faulty, limit: int = 1_000_000, counts: int = 6) -> Explored:
    """All states that can be reached; raises Trace at the first broken rule.

    A message that was delivered more than `counts` times is not followed further, for counts rise without end.
    """
    began = time.monotonic()
    seen = {key(start): 0}
    steps: list[tuple[int, Action | None]] = [(-1, None)]
    queue = deque([(start, 0, 0)])
    found = Explored()
    while queue:
        world, at, depth = queue.popleft()
        found.states, found.depth = found.states + 1, depth
        todo = [*world.actions(), *world.faults()]
        if all(state in FINAL for state in world.server.ledger.values()) and quiet(world):
            found.ends += 1
            continue
        if any(row.count > counts for row in world.server.pel.values()):
            continue
        for action in todo:
            following = world.copied(action)
            try:
                following.act(action)
            except (Broken, AssertionError) as error:
                raise Trace(f"{error}\n{written(steps, at, action)}") from error
            found.transitions += 1
            name = key(following)
            if name not in seen:
                if len(steps) >= limit:
                    found.complete = False
                    continue
                seen[name] = len(steps)
                queue.append((following, len(steps), depth + 1))
                steps.append((at, action))
    found.seconds = time.monotonic() - began
    return found


def quiet(world: Faulty) -> bool:
    """Is nothing under way or in anybody's hands any more?"""
    if world.network or world.proof.runs:
        return False
    alive = [w for w in world.workers.values() if w.life != "gone"]
    if any(w.held or w.pending or w.posts or any(f.kind != "read" for f in w.links.values()) for w in alive):
        return False
    finished(world.server, world.proof)
    return True


def written(steps: list[tuple[int, Action | None]], at: int, last: Action) -> str:
    """The way to a state, one action a line."""
    way: list[Action] = [last]
    while at > 0:
        at, action = steps[at]
        assert action is not None
        way.append(action)
    return "\n".join(f"  {i + 1:2} {' '.join(map(str, action))}" for i, action in enumerate(reversed(way)))
