"""The model's random runs on real servers: each script answers and leaves behind what the model says."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from tests.servers import ALL, StartServer

from .chaos import Chaos, drawn, walk
from .twin import Follower

STEPS = 200


@pytest.fixture(params=ALL)
def follower(request: pytest.FixtureRequest, own_server: StartServer) -> Iterator[Follower]:
    """A server of its own, for its memory is made full and it is made a replica."""
    follower = Follower(own_server(request.param).url)
    yield follower
    follower.close()


def replay(follower: Follower, first: int, count: int) -> None:
    """So many runs, each with the seed after the last one's."""
    print(f"\nSTREAMTASK_TEST_SEED={first}", flush=True)

    def make(seed: int) -> Chaos:
        world = drawn(seed, native=follower.native)
        follower.begin(world.server)
        return world

    for seed in range(first, first + count):
        walk(seed, lambda seed=seed: make(seed), STEPS)
    print(f"{count} runs, {follower.steps} commands and scripts agree with the model")
    assert follower.steps > count


def test_a_real_server_does_what_the_model_says(follower: Follower) -> None:
    """The same at each run, which must tell of a change, not of luck."""
    replay(follower, 0, 40)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_real_server_does_what_the_model_says_for_long(follower: Follower) -> None:
    replay(follower, int(os.environ.get("STREAMTASK_TEST_SEED") or random.SystemRandom().randrange(10**9)), 600)
