"""`dead list|show|replay|purge` on a real server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from streamtask.deadletters import Changes, Choice, NotReplayable, is_called, parse, put, revived
from streamtask.message import short_id
from tests.cli.kit import Shell, invoke, ok, ok_json

Bury = Callable[..., str]


@pytest.fixture
def bury(client: redis.Redis) -> Bury:
    """Makes dead letters of the namespace `shop`, as workers write them."""
    client.sadd("streamtask:namespaces", "shop")
    number, began = 0, int(time.time() * 1000)

    def bury(
        queue: str = "mail", task: str = "tasks.add", args: Any = None, error: str = "ValueError: no", **more: Any
    ) -> str:
        nonlocal number
        number += 1
        id = more.pop("id", f"{number:032x}"[::-1])
        meta, reason = more.pop("meta", {"attempt": 3, "errors": [], "sent_at": 5}), more.pop("reason", "retries")
        fields = {
            "task": task,
            "id": id,
            "args": json.dumps({"x": 1, "y": 2} if args is None else args),
            "meta": json.dumps(meta),
        }
        dead = {
            "group": "workers",
            "stream_id": "1-1",
            "id": id,
            "reason": reason,
            "error": error,
            "traceback": "Trace",
        }
        dead |= {"deliveries": 1, "attempt": 4, "at": 1_700_000_000_000}
        client.sadd("shop:queues", queue)
        entry = {**fields, **more, **{f"dead_{key}": value for key, value in dead.items()}}
        # No two died at once; far enough apart that an id which the server chose in between is never the larger one.
        client.xadd(f"{{shop:{queue}}}:dead", entry, id=f"{began + number * 60_000}-0")
        return id

    return bury


def messages(client: redis.Redis, queue: str = "mail") -> list[dict[str, str]]:
    """The fields of the entries of a queue, the oldest first."""
    return [fields for _, fields in client.xrange(f"shop:{queue}")]


def test_list_shows_the_newest_first_and_counts_by_error(url: str, bury: Bury) -> None:
    first = bury(error="TimeoutError: LLM took 60 s")
    second = bury(queue="default", error="WorkerDied: it died", reason="poison")
    third = bury(error="TimeoutError: again")
    seen = ok_json(url, "dead", "list")
    assert [letter["id"] for letter in seen["dead"]] == [third, second, first]
    assert seen["errors"] == {"TimeoutError": 2, "poison": 1}
    assert seen["dead"][0]["args"] == {"x": 1, "y": 2}
    text = ok(url, "dead", "list")
    assert "3 dead letters, 2 groups by error:  2 TimeoutError  1 poison" in text
    assert f"{first[:4]}…{first[-2:]}" in text
    assert ok(url, "dead", "list", "--task", "nothing") == "no dead letters\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--queue", "default"), {"b"}),
        (("--task", "tasks.fail"), {"c"}),
        (("--task", "fail"), {"c"}),
        (("--error", "TimeoutError"), {"a"}),
        (("--error", "poison"), {"b"}),
        (("--since", "1h"), {"a", "b", "c"}),
        (("--since", "2100-01-01T00:00:00Z"), set()),
        (("--limit", "1"), {"c"}),
        (("--queue", "mail", "--error", "ValueError"), {"c"}),
    ],
)
def test_each_option_chooses(url: str, bury: Bury, options: tuple[str, ...], expected: set[str]) -> None:
    bury(id="a" * 32, error="TimeoutError: slow")
    bury(id="b" * 32, queue="default", error="WorkerDied: x", reason="poison")
    bury(id="c" * 32, task="tasks.fail")
    assert {letter["id"][0] for letter in ok_json(url, "dead", "list", *options)["dead"]} == expected


def test_show_says_all_that_is_known(url: str, bury: Bury) -> None:
    attempt = {"at": 1_700_000_000_000, "worker": "web-3", "type": "ValueError", "message": "no"}
    id = bury(meta={"headers": {"trace": "7"}, "errors": [attempt], "parent": "f" * 32})
    text = ok(url, "dead", "show", id[:6])
    for part in (f"tasks.add {id}", '{"x": 1, "y": 2}', "{'trace': '7'}", "web-3  ValueError: no", "f" * 32, "Trace"):
        assert part in text
    assert f"streamtask dead replay {id} --namespace shop --queue mail" in text
    assert ok_json(url, "dead", "show", id)["dead"][0]["meta"]["errors"] == [attempt]
    missing = invoke(url, "dead", "show", "nope")
    assert (missing.exit_code, "no dead letter 'nope'" in missing.output) == (1, True)


def test_an_unknown_queue_and_a_choice_of_none(url: str, bury: Bury) -> None:
    bury()
    wrong = invoke(url, "dead", "list", "--queue", "mial")
    assert (wrong.exit_code, "it has mail" in wrong.output) == (2, True)
    for verb in ("replay", "purge"):
        none = invoke(url, "dead", verb)
        assert none.exit_code == 2
        assert "which ones?" in none.output


def test_a_replayed_message_begins_anew(url: str, bury: Bury, client: redis.Redis) -> None:
    id = bury(
        meta={"attempt": 3, "errors": [{}], "sent_at": 5, "first_seen": 6, "ttl": 60, "headers": {"a": "b"}, "own": 1}
    )
    client.set(f"{{shop:mail}}:result:{id}", '{"state":"dead"}')
    assert ok(url, "dead", "replay", id) == "replayed 1, refused 0\n"
    (message,) = messages(client)
    assert (message["task"], message["id"], json.loads(message["args"])) == ("tasks.add", id, {"x": 1, "y": 2})
    assert json.loads(message["meta"]) == {"ttl": 60, "headers": {"a": "b"}, "own": 1}
    assert client.xlen("{shop:mail}:dead") == 0
    assert ok_json(url, "show", id)["message"]["status"] == "waiting"


def test_many_are_replayed_the_oldest_first_and_only_those_that_are_meant(
    url: str, bury: Bury, client: redis.Redis
) -> None:
    ids = [bury() for _ in range(250)]
    bury(error="OtherError: x")
    bury(queue="default")
    report = ok_json(url, "dead", "replay", "--queue", "mail", "--error", "ValueError", "--yes")
    assert report == {"replayed": ids, "refused": {}}
    assert [message["id"] for message in messages(client)] == ids
    assert client.xlen("{shop:mail}:dead") == 1
    assert ok_json(url, "dead", "replay", "--all", "--limit", "1", "--yes")["replayed"] != []
    assert client.xlen("{shop:mail}:dead") + client.xlen("{shop:default}:dead") == 1


def test_without_a_terminal_and_without_yes_nothing_happens(url: str, bury: Bury, client: redis.Redis) -> None:
    bury()
    for verb in ("replay", "purge"):
        refused = invoke(url, "dead", verb, "--all")
        assert refused.exit_code == 2
        assert "1 dead letter" in refused.output
        assert "--yes" in refused.output
    assert client.xlen("{shop:mail}:dead") == 1


def test_a_dry_run_changes_nothing(url: str, bury: Bury, client: redis.Redis) -> None:
    bury()
    client.xadd("{shop:mail}:dead", {"junk": "1", "dead_id": "junk", "dead_reason": "decode"})
    text = ok(url, "dead", "replay", "--all", "--dry-run")
    assert text.startswith("would replay 1 of 2 dead letters   (1 valid, 1 invalid)")
    assert client.xlen("{shop:mail}:dead") == 2


def test_what_cannot_be_read_is_refused_with_the_reason(url: str, bury: Bury, client: redis.Redis) -> None:
    bury(args="[]")
    client.xadd("{shop:mail}:dead", {"dead_id": "no-fields", "dead_reason": "decode"})
    client.xadd("{shop:mail}:dead", {"task": "t", "args": "{", "dead_id": "bad-json"})
    client.xadd("{shop:mail}:dead", {"task": "t", "args": "{}", "meta": "7", "dead_id": "bad-meta"})
    good = bury()
    result = invoke(url, "dead", "replay", "--all", "--yes", "--format", "json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["replayed"] == [good]
    assert report["refused"]["no-fields"] == "it cannot be read: the entry has no field `task`"
    assert report["refused"]["bad-json"] == "it cannot be read: `args` is not a JSON object"
    assert len(report["refused"]) == 4
    assert client.xlen("{shop:mail}:dead") == 4
    assert ok(url, "dead", "show", "bad-json").count("`args` is not a JSON object") == 1


def test_a_unique_key_is_taken_again_and_one_that_is_held_refuses(url: str, bury: Bury, client: redis.Redis) -> None:
    id = bury(meta={"unique": "abc"})
    key = "{shop:mail}:unique:tasks.add:abc"
    client.set(key, "somebody-else")
    result = invoke(url, "dead", "replay", id)
    assert (result.exit_code, "another message holds its unique key" in result.output) == (1, True)
    assert client.xlen("{shop:mail}:dead") == 1
    ok(url, "dead", "replay", id, "--force")
    assert client.get(key) == id
    assert 6 * 86400 < client.ttl(key) <= 7 * 86400


def test_arguments_are_changed_by_path(url: str, bury: Bury, client: redis.Redis) -> None:
    id = bury(args={"user": {"tags": ["a", "b"]}, "n": 1})
    ok(url, "dead", "replay", id, "--set", "user.tags.1=z", "--set", "n=5", "--set", 'new="5"')
    assert json.loads(messages(client)[0]["args"]) == {"user": {"tags": ["a", "z"]}, "n": 5, "new": "5"}
    id = bury(args={"n": 1})
    result = invoke(url, "dead", "replay", id, "--set", "user.name=x")
    assert (result.exit_code, "its arguments have no 'user.name'" in result.output) == (1, True)
    assert invoke(url, "dead", "replay", id, "--set", "n").exit_code == 2


def test_the_rate_is_kept(url: str, bury: Bury) -> None:
    for _ in range(5):
        bury()
    began = time.monotonic()
    ok(url, "dead", "replay", "--all", "--yes", "--rate", "20/s")
    assert time.monotonic() - began >= 0.2
    assert invoke(url, "dead", "replay", "--all", "--rate", "fast").exit_code == 2


def test_validate_asks_the_tasks_of_the_app(shell: Shell, bury: Bury, client: redis.Redis) -> None:
    good, bad, gone = bury(), bury(args={"x": "many"}), bury(task="tasks.gone")
    dry = shell.run("-A", "tasks", "dead", "replay", "--all", "--validate", "--dry-run")
    assert dry.stdout == "would replay 1 of 3 dead letters   (1 valid, 2 invalid against shop)\n"
    done = shell.run("dead", "replay", "--all", "--validate", "--yes", "--format", "json", STREAMTASK_APP="tasks")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["replayed"] == [good]
    assert "x: Input should be a valid integer" in report["refused"][bad]
    assert report["refused"][gone] == "the app shop has no task 'tasks.gone'"
    assert client.xlen("{shop:mail}:dead") == 2


def test_purge_deletes_what_was_chosen(url: str, bury: Bury, client: redis.Redis) -> None:
    kept, first, _ = bury(error="KeptError: x"), bury(), bury()
    assert ok(url, "dead", "purge", first, "--yes") == "purged 1\n"
    assert ok(url, "dead", "purge", "--error", "ValueError", "--yes") == "purged 1\n"
    assert [letter["id"] for letter in ok_json(url, "dead", "list")["dead"]] == [kept]
    assert client.exists("shop:mail") == 0


def test_a_worker_buries_and_a_replay_lets_it_run_again(shell: Shell, client: redis.Redis) -> None:
    shell.run("-A", "tasks", "send", "once", "--args", '{"name": "ann", "good": false}')
    shell.work_off()
    (letter,) = ok_json(shell.url, "dead", "list")["dead"]
    assert (letter["reason"], letter["error"], letter["attempt"]) == ("retries", "RuntimeError: not good", 1)
    assert "tasks.py" in letter["traceback"]
    ok(shell.url, "dead", "replay", letter["id"], "--set", "good=true")
    duplicate = shell.run("-A", "tasks", "send", "once", "--args", '{"name": "ann", "good": true}')
    assert duplicate.stdout.startswith("was there before: ")  # the replay took the unique key again
    shell.work_off()
    shown = ok_json(shell.url, "show", letter["id"])["message"]
    assert (shown["status"], shown["result"]) == ("done", "ann")
    assert client.keys("*:unique:*once:*") == []


def test_an_entry_may_bring_fields_of_the_same_names() -> None:
    mine = (b"task", b"t", b"dead_id", b"mine", b"dead_reason", b"mine")
    ours = {b"id": b"ours", b"reason": b"poison", b"group": b"workers", b"error": b"E: x", b"at": b"1000"}
    letter = parse("q", "1-0", [*mine, *(part for name, value in ours.items() for part in (b"dead_" + name, value))])
    assert (letter.id, letter.reason, letter.error_type) == ("ours", "poison", "E")
    assert letter.fields == mine


@pytest.mark.parametrize(
    "flat", [[], [b"\xff", b"\xff"], [b"dead_at", b"9" * 40], [b"dead_deliveries", b"x"], [b"task", b"\xff"]]
)
def test_whatever_stands_in_a_dead_stream_can_be_listed(flat: list[bytes]) -> None:
    letter = parse("q", "1-0", flat)
    assert letter.problem
    with pytest.raises(NotReplayable):
        revived(letter, Changes())


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ("6f2c9a", True),
        ("6f2c…9a", True),
        ("6f2c...9a", True),
        ("6f2c", True),
        ("6f2", False),
        ("2c…9a", False),
        ("…9a", False),
    ],
)
def test_short_ids(given: str, fits: bool) -> None:
    assert is_called("6f2c9a", given) is fits
    assert Choice(ids=(given,)).takes(parse("q", "1-0", [b"task", b"t", b"id", b"6f2c9a"])) is fits


def test_the_id_of_an_entry_stays_whole_and_no_other() -> None:
    assert [short_id(id) for id in ("6f2c" * 8, "1795308987490-0", "1795308987490-x", "short")] == [
        "6f2c…2c",
        "1795308987490-0",
        "1795…-x",
        "short",
    ]


@pytest.mark.parametrize("path", ["a.b", "l.5", "l.x", "n.x", ""])
def test_a_path_that_is_not_there_is_refused(path: str) -> None:
    with pytest.raises(NotReplayable):
        put({"l": [1], "n": 1}, path + ".deep", 1)
