"""Every interleaving of small worlds: two workers, two messages, and the faults that a test names."""

from __future__ import annotations

import pytest

from .explore import explore
from .faults import Faulty
from .rules import Rules, Settings

WAYS = pytest.mark.parametrize("native", [True, False], ids=["native CLAIM", "fallback"])


def search(settings: Settings, native: bool, **faults: int) -> None:
    """All that can happen to two messages in two workers; raises with the shortest way to what must not."""
    world = Faulty(settings, Rules(), 2, native, eager=True)
    world.budget = faults
    for _ in range(2):
        world.send(world.entry())
    found = explore(world)
    print(f"\n{settings}, native={native}, {faults}: {found}")
    assert found.complete
    assert found.ends > 0


@pytest.mark.parametrize("cap", [1, 3])
def test_a_crash_and_a_lost_answer(cap: int) -> None:
    search(Settings(cap=cap), True, crash=1, lost=1)


@WAYS
def test_a_stop(native: bool) -> None:
    search(Settings(), native, term=1)


@pytest.mark.long
def test_a_pause() -> None:
    search(Settings(threads=True), False, pause=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
@WAYS
def test_a_stop_and_a_lost_answer(native: bool) -> None:
    search(Settings(), native, term=1, lost=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
@WAYS
def test_a_crash_a_lost_answer_and_a_pause(native: bool) -> None:
    search(Settings(threads=not native), native, crash=1, lost=1, pause=1)
