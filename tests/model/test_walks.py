"""Long random runs of the model through every fault: no rule breaks, and in the end everything is done or buried."""

from __future__ import annotations

import os
import random
from functools import partial

import pytest

from .chaos import drawn, walk

#: Steps of a walk before its quiet end.
STEPS = 300


def walks(first: int, count: int) -> None:
    """So many, each with the seed after the last one's."""
    print(f"\nSTREAMTASK_TEST_SEED={first}", flush=True)
    repeats = 0
    for seed in range(first, first + count):
        repeats += walk(seed, partial(drawn, seed), STEPS).proof.repeats
    print(f"{count} walks of {STEPS} steps; {repeats} repeated starts, each with a fault to explain it")
    assert repeats > 0  # else the faults would not be faults


def test_walks_break_no_rule() -> None:
    """The same at each run, which must tell of a change, not of luck."""
    walks(0, 400)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_walks_break_no_rule() -> None:
    walks(int(os.environ.get("STREAMTASK_TEST_SEED") or random.SystemRandom().randrange(10**9)), 20_000)
