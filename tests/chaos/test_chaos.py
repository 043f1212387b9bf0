"""Everything at once: nothing that Redis took is lost, and what ran twice did so because of a fault in the log.

Another seed: STREAMTASK_TEST_SEED=1. Another number of messages in the long form: STREAMTASK_TEST_CHAOS=100000.
"""

from __future__ import annotations

import os

import pytest

from tests.chaos.conftest import MakeChaos
from tests.chaos.judge import Judgement
from tests.chaos.run import Chaos, Plan
from tests.servers import ALL

COUNT = int(os.environ.get("STREAMTASK_TEST_CHAOS", "10000"))
SHORT = Plan(600, kill=3, freeze=1)  # about 15 s; the timeouts are for what hangs, not for a slow machine
FLUSHES = Plan(500, kill=0, freeze=0, redis_term=0, redis_kill=0, flush_scripts=0, full=0, flush_all=2, rate=0.0)
LONG = Plan(
    COUNT, kill=max(10, COUNT // 1000), freeze=2, redis_freeze=1, flush_scripts=5, full=2, timeout=300 + COUNT / 20
)


def check(run: Chaos) -> Judgement:
    """Let it run, and judge it."""
    found = run.run()
    print(run.summary(found))
    assert found.wrong == []
    run.check_clean()
    assert found.done + found.dead + found.flushed >= run.plan.count
    return found


@pytest.mark.parametrize("server_name", ["redis-8.6"])
@pytest.mark.timeout(SHORT.timeout + 60)
def test_chaos(make_chaos: MakeChaos, server_name: str) -> None:
    check(make_chaos(server_name, SHORT))


@pytest.mark.long
@pytest.mark.parametrize("server_name", ALL)
@pytest.mark.timeout(LONG.timeout + 60)
def test_chaos_long(make_chaos: MakeChaos, server_name: str) -> None:
    check(make_chaos(server_name, LONG))


@pytest.mark.parametrize("server_name", ["redis-8.6", pytest.param("valkey-8.1", marks=pytest.mark.long)])
@pytest.mark.timeout(FLUSHES.timeout + 60)
def test_flushall_loses_what_redis_held_and_nothing_else(make_chaos: MakeChaos, server_name: str) -> None:
    """What was finished stays finished, what is sent afterwards is done, and the workers go on by themselves."""
    run = make_chaos(server_name, FLUSHES)
    found = check(run)
    assert set(found.causes) <= {"stalled"}  # the machine's fault
    assert found.flushed > 0 < found.done
    assert len(run.fleet.processes) == len(run.workers) + run.unreached  # a start may meet it, too
