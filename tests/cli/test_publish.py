"""`publish`: what it writes on a real server, and what it refuses."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import pytest
import redis

from tests.cli.kit import Shell, invoke, ok, ok_json

PUBLISH = ("publish", "shop:orders", "--type", "Ordered")


@pytest.fixture(autouse=True)
def shop(client: redis.Redis) -> None:
    """The only app that this server has seen."""
    client.sadd("streamtask:namespaces", "shop")


def test_an_event_as_apps_write_it(url: str, client: redis.Redis) -> None:
    text = ok(url, *PUBLISH, "--payload", '{"n": 5}', "--metadata", "trace_id=4=f", "--source", "ops")
    ((entry_id, event),) = client.xrange("shop:orders")
    assert text == f"published Ordered {entry_id} to shop:orders\n"
    assert (event["event_type"], event["source"], event["payload"]) == ("Ordered", "ops", '{"n": 5}')
    assert json.loads(event["metadata"]) == {"trace_id": "4=f"}
    assert len(event["event_id"]) == 32
    assert datetime.fromisoformat(event["created_at"]).utcoffset() is not None
    assert client.smembers("shop:topics") == {"shop:orders"}


def test_many_from_a_file_without_metadata(url: str, client: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text('{"n": 1}\n')
    told = ok_json(url, *PUBLISH, "--payload", f"@{tmp_path / 'order.json'}", "--count", "1500")
    entries = client.xrange("shop:orders")
    assert told["entry_ids"] == [id for id, _ in entries]
    assert len({event["event_id"] for _, event in entries}) == 1500
    assert {(event["payload"], event["source"], "metadata" in event) for _, event in entries} == {
        ('{"n": 1}', "shop", False)
    }
    assert ok(url, *PUBLISH, "--count", "11") == "published 11 events Ordered to shop:orders\n"
    assert "payload" not in client.xrange("shop:orders")[-1][1]


def test_a_key_publishes_once(url: str, client: redis.Redis) -> None:
    first = ok(url, *PUBLISH, "--key", "order-5")
    assert ok(url, *PUBLISH, "--key", "order-5") == first
    assert client.xlen("shop:orders") == 1


@pytest.mark.parametrize("server_name", ["redis-8.6"])
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--payload", "{"), "--payload is not JSON"),
        (("--payload", "@/nothing/there"), "No such file"),
        (("--metadata", "trace"), "write name=value"),
        (("--key", "a", "--count", "2"), "leave out --count"),
        (("--key", "a b"), "is no message id"),
        (("--type", ""), "1 to 256 characters"),
    ],
)
def test_what_is_refused(url: str, client: redis.Redis, args: tuple[str, ...], said: str) -> None:
    refused = invoke(url, *PUBLISH, *args)
    assert refused.exit_code == 2
    assert said in refused.output
    assert invoke(url, "publish", "two words", "--type", "x").exit_code == 2
    assert client.exists("shop:orders") == 0


@pytest.mark.parametrize("server_name", ["redis-8.6"])
def test_one_that_is_too_large(url: str, client: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text(json.dumps("x" * 300_000))
    refused = invoke(url, *PUBLISH, "--payload", f"@{tmp_path / 'order.json'}")
    assert (refused.exit_code, "262,144 are allowed" in refused.output) == (1, True)
    assert client.exists("shop:orders") == 0


@pytest.mark.parametrize("server_name", ["redis-8.6"])
def test_the_limits_of_an_app_are_kept(shell: Shell, client: redis.Redis) -> None:
    shell.write(
        "events.py",
        "from streamtask import StreamTask\napp = StreamTask('news')\n"
        "app.topic('shop:orders', max_length=2, hard_max_length=3)\n",
    )
    client.xgroup_create("shop:orders", "search", "0", mkstream=True)  # it reads nothing
    full = shell.run("-A", "events.py", *PUBLISH, "--count", "5", "--payload", "1")
    assert (full.returncode, "3 were published, then: the topic 'shop:orders' is full" in full.stderr) == (1, True)
    assert client.xlen("shop:orders") == 3
    assert client.xrange("shop:orders")[0][1]["source"] == "news"
    again = shell.run("-A", "events.py", *PUBLISH)
    assert (again.returncode, "is full" in again.stderr, os.linesep * 2 in again.stderr) == (1, True, False)
    ok(shell.url, *PUBLISH, "--namespace", "shop")  # knows no limits, and keeps none
    assert client.xlen("shop:orders") == 4
