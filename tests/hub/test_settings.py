"""What the environment may say, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtask.errors import ConfigError
from streamtask.hub.settings import Environment, Settings, Tls, is_loopback, read


def test_the_defaults_are_those_of_mq_hub() -> None:
    assert read({}) == Environment(9500, 10, 1000, 10_000, 50_000, 60)
    assert read({"CONNECT_PORT": "", "STREAM_MAX_LEN": "0", "STREAM_HARD_MAX_LEN": "0"}).max_length == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MAX_BATCH_SIZE", "1k", "MAX_BATCH_SIZE='1k' is no number"),
        ("MAX_BATCH_SIZE", "0", "too small: at least 1"),
        ("STREAM_MAX_LEN", "-1", "STREAM_MAX_LEN='-1' is no number"),
        ("STREAM_MAX_LEN", "٣", "is no number"),
        ("STREAM_MAX_LEN", "60000", "STREAM_HARD_MAX_LEN=50000 is less than STREAM_MAX_LEN=60000"),
        ("STREAM_TRIM_INTERVAL_SECONDS", "0", "STREAM_TRIM_INTERVAL_SECONDS=0 is too small"),
        ("REDIS_POOL_SIZE", "ten", "REDIS_POOL_SIZE='ten' is no number"),
        ("CONNECT_PORT", "65536", "a port is at most 65535"),
    ],
)
def test_numbers_that_are_none(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read({name: value})


def test_the_network_needs_somebody_at_the_door() -> None:
    for host in ("0.0.0.0", "::"):
        with pytest.raises(ConfigError, match="--insecure"):
            Settings(host=host).check()
        Settings(host=host, insecure=True).check()
        Settings(host=host, tokens=Path("x")).check()
        Settings(host=host, tls=Tls(Path("c"), Path("k"), Path("ca"))).check()
        with pytest.raises(ConfigError):
            Settings(host=host, tls=Tls(Path("c"), Path("k"))).check()
    for host in ("127.0.0.1", "127.1.2.3", "localhost", "::1"):
        assert is_loopback(host)
        Settings(host=host).check()
    with pytest.raises(ConfigError, match="no address of this machine"):
        is_loopback("no such host")
    with pytest.raises(ConfigError, match="hypercorn"):
        Settings(server="hypercorn", tls=Tls(Path("c"), Path("k"), Path("ca"))).check()
