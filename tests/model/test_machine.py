"""Hypothesis plays the model: it chooses each step and each fault, and shortens what goes wrong."""

from __future__ import annotations

from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from .chaos import FAULTS, Chaos
from .rules import Rules, Settings

SETTINGS = st.builds(
    Settings,
    slots=st.integers(1, 2),
    prefetch=st.integers(0, 2),
    cap=st.sampled_from([1, 3]),
    retries=st.integers(0, 1),
    threads=st.booleans(),
    result=st.booleans(),
)


class Machine(RuleBasedStateMachine):
    """`act` checks the invariants after each step; the end is quiet, and everything must be final then."""

    world: Chaos

    @initialize(settings=SETTINGS, native=st.booleans(), workers=st.integers(1, 3))
    def begin(self, settings: Settings, native: bool, workers: int) -> None:
        self.world = Chaos(settings, Rules(), native, workers)

    def _one(self, data: st.DataObject, actions: Any) -> None:
        if found := list(dict.fromkeys(actions)):
            self.world.act(data.draw(st.sampled_from(found)))

    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        """A producer, a beat, an operator."""
        self._one(data, self.world.sends())

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """What happens without any fault."""
        self._one(data, self.world.actions())

    @rule()
    @precondition(lambda self: self.world.may_tick())
    def tick(self) -> None:
        """Time passes: rare among so many steps, so it has a rule of its own."""
        self.world.act(("tick",))

    @rule(data=st.data(), kind=st.sampled_from(FAULTS))
    def fault(self, data: st.DataObject, kind: str) -> None:
        """Something goes wrong, or right again."""
        self._one(data, getattr(self.world, "_" + kind)())

    @rule(data=st.data())
    @precondition(lambda self: any(w.life == "paused" or w.blocked for w in self.world.workers.values()))
    def go_on(self, data: st.DataObject) -> None:
        """What stands still goes on."""
        self._one(data, [a for a in self.world.faults() if a[0] in ("resume", "unblock")])

    def teardown(self) -> None:
        """No more faults."""
        if hasattr(self, "world"):
            self.world.quieten()


TestMachine = Machine.TestCase
# The same at each run, which must tell of a change, not of luck; the long walks are for luck.
TestMachine.settings = hypothesis_settings(max_examples=300, stateful_step_count=80, derandomize=True)
