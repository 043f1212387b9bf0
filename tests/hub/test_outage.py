"""The outage of 2026-07-30, and others: the hub says what is wrong, and recovers without a restart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import redis

from tests.conftest import missing
from tests.hub.kit import EVENT, Hub, refused
from tests.servers import Server, StartServer, available
from tests.support import eventually

ARTICLES = "alt:events:articles"


@pytest.fixture
def broken(own_server: StartServer) -> Callable[..., Server]:
    """Starts a Redis that the test may break."""
    if "redis-8.6" not in available():
        missing("redis-8.6 is not installed")
    return lambda **options: own_server("redis-8.6", **options)


def test_health_follows_redis_and_publishing_comes_back(
    broken: Callable[..., Server], hubs: Callable[..., Hub]
) -> None:
    server = broken(appendonly="yes")
    hub = hubs(server.url, STREAMTASK_SEND_TIMEOUT="300ms")
    assert hub.publish().status_code == 200
    server.stop()
    down = hub.http.get("/health")
    assert down.status_code == 503
    assert down.json() | {"uptime_seconds": 0} == {
        "healthy": False,
        "redis_status": "disconnected",
        "uptime_seconds": 0,
    }
    said = hub.rpc("HealthCheck", {})
    assert said.status_code == 200
    assert "healthy" not in said.json()
    assert said.json()["redisStatus"] == "disconnected"
    answers = {
        "Publish": ({"event": EVENT}, "failed to publish event"),
        "PublishBatch": ({"events": [EVENT, EVENT]}, "2 of 2 events failed to publish"),
        "CreateConsumerGroup": ({"group": "g", "startId": "0"}, "failed to create consumer group"),
        "GetStreamInfo": ({}, "failed to get stream info"),
        "GenerateTagsForArticle": ({"articleId": "a"}, "tag generation failed"),
    }
    for method, (asked, text) in answers.items():
        stream = {} if method == "GenerateTagsForArticle" else {"stream": ARTICLES}
        assert refused(hub.rpc(method, asked | stream)) == (503, "unavailable", text)
    assert hub.http.post(f"/v1/topics/{ARTICLES}", json={"type": "t", "source": "s"}).status_code == 503
    server.start()
    eventually(lambda: hub.http.get("/health").status_code == 200)
    assert hub.publish().status_code == 200
    assert hub.redis.xlen(ARTICLES) == 2
    assert "Traceback" not in hub.log.read_text()


def until_full(write: Callable[[], object]) -> None:
    """Write until Redis refuses for want of memory."""
    with contextlib.suppress(redis.exceptions.OutOfMemoryError):
        while True:
            write()


def test_a_full_redis_is_trimmed_and_takes_events_again(
    broken: Callable[..., Server], hubs: Callable[..., Hub]
) -> None:
    server = broken(maxmemory="12mb", maxmemory_policy="noeviction")
    link = redis.Redis.from_url(server.url)
    link.xgroup_create(ARTICLES, "stalled", "0", mkstream=True)
    link.xadd(ARTICLES, {"event_id": "first"})
    link.xreadgroup("stalled", "c", {ARTICLES: ">"})
    # Others wrote it full, with entries that the stalled group has not read: ACKED trims nothing of it.
    entry = {"event_id": "x", "event_type": "t", "source": "s", "payload": b"x" * 16_384}
    until_full(lambda: link.xadd(ARTICLES, entry))
    until_full(lambda: link.append("filler", b"x" * 1024))
    limits = {"STREAM_MAX_LEN": "50", "STREAM_HARD_MAX_LEN": "100"}
    hub = hubs(server.url, **limits, STREAM_TRIM_INTERVAL_SECONDS="3600")
    length = link.xlen(ARTICLES)
    assert length > 200
    assert refused(hub.publish("alt:events:index")) == (503, "unavailable", "failed to publish event")
    keeping = hubs(server.url, **limits, STREAM_TRIM_INTERVAL_SECONDS="1")
    eventually(lambda: hub.publish("alt:events:index").status_code == 200)
    eventually(lambda: link.xlen(ARTICLES) <= 100)
    assert hub.publish().status_code == 200
    eventually(lambda: "entries given up that some group had not done with" in keeping.log.read_text())
    link.close()
