"""Which errors pass by themselves: what is tried again, and what must take another form."""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from streamtask.broker.link import passing


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("reset by peer"),
        RedisTimeoutError("no answer within 5 s"),
        OSError("no route to host"),
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "CLUSTERDOWN Hash slot not served",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MOVED 3999 127.0.0.1:6381",
        "ASK 3999 127.0.0.1:6381",
        "NOREPLICAS Not enough good replicas to write.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "NOSCRIPT No matching script. Please use EVAL.",
        "BUSY Redis is busy running a script.",
        "UNBLOCKED the stream key no longer exists",
        "OOM command not allowed when used memory > 'maxmemory'.",
    ],
    ids=lambda error: str(error).partition(" ")[0],
)
def test_a_server_that_will_be_able_again_is_waited_for(error: BaseException | str) -> None:
    assert passing(error)


@pytest.mark.parametrize(
    "error",
    [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "NOGROUP No such key 'ns:q' or consumer group 'workers'",
        "NOPERM User default has no permissions to run the 'set' command",
        "ERR invalid expire time in 'set' command",
        "ERR user_script:12: attempt to index a nil value",
        ValueError("not an answer of LOADING"),
    ],
    ids=lambda error: str(error).partition(" ")[0],
)
def test_what_no_time_will_mend_is_not(error: BaseException | str) -> None:
    assert not passing(error)
