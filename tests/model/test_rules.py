"""Each rule of the worker is needed: without it the model shows what goes wrong, and by which invariant."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import pytest

from .chaos import Chaos, drawn, walk
from .rules import Rules, Settings
from .server import Broken
from .world import Action

#: Walks among which one must meet what a rule prevents.
WALKS = 1000

#: Rules that random walks soon miss, and the invariants that speak then.
MISSED = {
    "fresh": "I9",
    "begin": "I9|B10",
    "silent": "B10|I9",
    "gap": "I6|I8",
    "lane": "I10",
    "mark": "I10",
    "convict_by_count": "I10",
    "free_release": "I10",
    "unreserve": "I12",
    "renew": "I2",
    "sweep_own": "I11",
    "lock_unread": "I15",
}


@pytest.mark.parametrize("rule", MISSED)
def test_walks_miss_the_rule(rule: str) -> None:
    for seed in range(WALKS):
        try:
            walk(seed, partial(drawn, seed, without(rule)), 300, shrink=False)
        except AssertionError as error:
            found = str(error)
            break
    else:
        pytest.fail(f"{WALKS} walks without {rule} went well")
    assert found.split(":", maxsplit=1)[0] in MISSED[rule].split("|"), found


def without(rule: str) -> Rules:
    """All rules but one (which is a bad one, if the good way is without it)."""
    return Rules(**{rule: not getattr(Rules(), rule)})


class Case(NamedTuple):
    """A way that goes well with all rules, and to a broken invariant without the one that it is for."""

    broken: str
    settings: Settings
    way: str
    workers: int = 2
    native: bool = True


#: Rules for which it takes a rare chain of events. A step: see `Driver`.
CASES = {
    "adopt": Case(
        "I7",
        Settings(slots=2),
        "send; w0 reads; w0 begins; snapshot; tick; w0 renews; tick; w0 renews; tick; w0 renews; failover; "
        "w0 takes; w0 begins",
        workers=1,
    ),
    "zombie": Case(
        "I7",
        Settings(slots=2, cap=9, threads=True),
        "send; w0 reads; w0 begins; pause w0; tick; tick; tick; w1 takes; w1 begins; resume w0; w0 renews; "
        "crash w1; tick; w0 renews; tick; w0 renews; tick; w0 renews; w0 takes; w0 begins",
    ),
    "refused_is_silence": Case(
        "I6",
        Settings(),
        "send; w0 reads; w0 begins; switch readonly; tick; w0 renews; tick; w0 renews; tick; w0 renews; "
        "tick; w0 renews; switch readonly; w1 takes; w1 begins",
    ),
    "holiday": Case(
        "I6",
        Settings(slots=2, prefetch=0),
        "send; w0 reads; w0 begins; send; w1 reads; w1 begins; away; tick; tick; tick; return; w1 renews; "
        "w1 takes; w1 begins",
    ),
    "rest": Case(
        "I6|I8",
        Settings(),
        "send; w0 reads; w0 begins; away; tick; tick; return; hire; away; tick; return; w2 takes; w2 begins",
    ),
    "deadline": Case(
        "I6",
        Settings(slots=2),
        "send; w2 reads; w2 begins; tick; send; w0 reads; w0 begins; crash w2; tick; w0 renews; tick; "
        "w0 renews; w1 will take; freeze; tick; tick; tick; thaw; w1 takes; w1 renews; w1 begins",
        workers=3,
    ),
    "longest_gap": Case(
        "I6",
        Settings(),
        "send; w0 will read; w0 is served; block w0; tick; tick; tick; unblock w0; pause w0; resume w0; "
        "w1 takes; w1 begins; w0 hears; w0 begins",
    ),
    "slots": Case(
        "I12",
        Settings(cap=2),
        "send; w1 reads; w1 begins; send; w0 reads; w0 begins; crash w1; tick; w0 renews; tick; w0 renews; "
        "tick; w0 renews; w0 takes; tick; w0 renews; w0 gives up; w0 flushes; w0 reads; tick; w0 renews; "
        "w0 gives up",
    ),
    "release_guard": Case(
        "I8",
        Settings(),
        "send; send; w0 reads; w0 begins; overdue w0; w0 finishes; w0 will flush; w0 is served; "
        "lose w0 writer; w0 will read; w0 is served; w0 will flush; w0 is served; w0 hears; w0 begins; "
        "w0 finishes; w0 flushes; w0 reads; w0 begins",
        workers=1,
    ),
    "release_rests": Case(
        "I10",
        Settings(cap=1),
        "send; w0 reads; freeze; tick; tick; thaw; w0 will mark; w0 will renew; w0 is served; w0 hears; "
        "send; w0 reads; w0 renews; overdue w0; w0 marks; w0 begins; w0 will flush; lose w0 writer; tick; "
        "w0 renews; w0 flushes; tick; w0 renews; tick; w0 renews; tick; w0 renews; w1 takes; w1 marks; "
        "w1 flushes",
    ),
    "refill": Case(
        "I2",
        Settings(cap=1),
        "send 1000; send; w0 reads; freeze; tick; tick; tick; thaw; w0 marks; w0 renews",
        workers=1,
    ),
    "asked": Case(
        "I7",
        Settings(),
        "send; w0 will read; w0 is served; block w0; tick; tick; unblock w0; w0 hears; send; w0 reads; "
        "w0 begins; w0 will renew; w0 is served; half w0; post w0; w0 renews",
    ),
    "lane_ends": Case(
        "I2",
        Settings(cap=2),
        "send 1500; w1 reads; w1 begins; crash w1; tick; tick; tick; w0 takes; freeze; tick; tick; thaw; "
        "w0 marks; w0 renews; send",
    ),
    "retry_settle": Case(
        "I2",
        Settings(),
        "send; w0 reads; w0 begins; w0 finishes; w0 will flush; lose w0 writer; tick; w0 renews",
    ),
}


#: What a worker does, as the world calls it, and on which connection.
VERBS = {"reads": "read", "takes": "take", "renews": "renew", "flushes": "flush", "marks": "mark", "gives": "mark"}
LINKS = {"read": "reader", "take": "reader", "renew": "lease", "flush": "writer", "mark": "control"}


class Driver:
    """Steps in words. `w0 reads`: asks, is served and hears; so with `takes`, `renews`, `flushes` and `marks`, which is
    `gives up` where its suspect has found no peace. `will take` only asks, `is served` and `hears` is what follows.
    `w0 begins`, `w0 finishes`: all its attempts. The others are actions of the world, with `send` for a plain message
    (and its ttl in ms).
    """

    def __init__(self, world: Chaos, strict: bool) -> None:
        self.world, self.strict = world, strict

    def go(self, way: str) -> None:
        """All steps, then the quiet end."""
        for step in way.split(";"):
            self._step(step.split())
        self.world.quieten()

    def _step(self, words: list[str]) -> None:
        name, *rest = words
        if name == "send":
            self.world.act(("send", "", 0, "", int(rest[0]) if rest else 0))
        elif name not in self.world.workers:
            self._act(*words)
        elif rest[0] in ("will", "is", "hears"):
            self._part(name, rest)
        elif rest[0] in ("begins", "finishes"):
            state, verb = ("starting", ("begin",)) if rest[0] == "begins" else ("running", ("finish",))
            for n in [d.n for d in self.world.workers[name].all.values() if d.state == state]:
                self._act(*verb, name, n, *(() if rest[0] == "begins" else ("returned",)))
        else:
            verb = VERBS[rest[0]]
            link = LINKS[verb]
            if link not in self.world.workers[name].links:
                self._act(verb, name)
            if link in self.world.workers[name].links:
                self._served(name, link)
                self._heard(name, link)

    def _part(self, name: str, rest: list[str]) -> None:
        links = self.world.workers[name].links
        if rest[0] == "will":
            self._act(rest[1], name)
            return
        for link in list(links):
            self._served(name, link) if rest[0] == "is" else self._heard(name, link)

    def _served(self, name: str, link: str) -> None:
        while not self.world.workers[name].links[link].replied and self._act("exec", name, link):
            pass

    def _heard(self, name: str, link: str) -> None:
        if self.world.workers[name].links[link].replied:
            self._act("deliver", name, link)
        while self.world.workers[name].posts:
            self._act("post", name)

    def _act(self, *action: object) -> bool:
        known: tuple[Action, ...] = (*self.world.actions(), *self.world.faults(), *self.world.sends())
        if action in known:
            self.world.act(action)
        else:
            assert not self.strict, f"{action} is not possible here, but {known}"
        return action in known


def drive(case: Case, rules: Rules, strict: bool) -> None:
    """A case from its start to the quiet end; where a rule prevents a step, it is left out."""
    Driver(Chaos(case.settings, rules, case.native, case.workers), strict).go(case.way)


@pytest.mark.parametrize("rule", CASES)
def test_the_way_goes_well_with_all_rules(rule: str) -> None:
    drive(CASES[rule], Rules(), strict=False)


@pytest.mark.parametrize("rule", CASES)
def test_the_way_goes_wrong_without_the_rule(rule: str) -> None:
    with pytest.raises(Broken, match=CASES[rule].broken):
        drive(CASES[rule], without(rule), strict=True)
