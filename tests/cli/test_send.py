"""`send` and `schedule`: with an app and without."""

from __future__ import annotations

import json
import re

import pytest
import redis

from tests.cli.kit import Shell, invoke, ok, ok_json

#: What is sent is the same for every server.
one_server = pytest.mark.parametrize("server_name", ["redis-8.6"])


@one_server
def test_with_an_app_its_task_checks_the_arguments_and_knows_its_queue(shell: Shell, client: redis.Redis) -> None:
    sent = shell.run("-A", "tasks", "send", "fail", "--args", '{"x": 5}')
    assert re.fullmatch(r"sent tasks\.fail [0-9a-f]{32} to mail\n", sent.stdout), sent.stderr
    assert client.xlen("shop:mail") == 1
    wrong = shell.run("-A", "tasks", "send", "tasks.fail", "--args", '{"x": "many"}')
    assert wrong.returncode == 2
    assert "tasks.fail does not take these arguments: x: Input should be a valid integer" in wrong.stderr
    unknown = shell.run("send", "fial", STREAMTASK_APP="tasks")
    assert (unknown.returncode, "did you mean 'fail'?" in unknown.stderr) == (2, True)
    assert client.xlen("shop:mail") == 1


@one_server
def test_many_and_later(shell: Shell, client: redis.Redis) -> None:
    many = shell.run("-A", "tasks", "send", "add", "--args", '{"x": 1, "y": 2}', "--count", "2500")
    assert many.stdout == "sent 2,500 messages of tasks.add to default\n"
    assert client.xlen("shop:default") == 2500
    later = shell.run(
        "-A", "tasks", "send", "add", "--args", '{"x": 1, "y": 2}', "--countdown", "10m", "--format", "json"
    )
    (message,) = json.loads(later.stdout)["messages"]
    assert client.zscore("{shop:default}:due", message["id"])
    again = shell.run("-A", "tasks", "send", "once", "--args", '{"name": "a", "good": true}', "--count", "2")
    assert again.stdout.count("was there before: ") == 1


@one_server
def test_wait_prints_the_result_or_fails(shell: Shell) -> None:
    worker = shell.start("worker", "tasks")
    worker.wait_for("ready in")
    done = shell.run("-A", "tasks", "send", "add", "--args", '{"x": 1, "y": 2}', "--wait")
    assert (done.returncode, done.stdout) == (0, "3\n")
    raw = shell.run(
        "send", "tasks.add", "--args", '{"x": 2, "y": 2}', "--wait", "--queue", "default", "--format", "json"
    )
    assert json.loads(raw.stdout) == {"results": [4]}
    failed = shell.run("-A", "tasks", "send", "once", "--args", '{"name": "a", "good": false}', "--wait")
    assert failed.returncode == 1
    assert "RuntimeError: not good" in failed.stderr
    assert "Traceback" not in failed.stderr


@one_server
def test_without_an_app_the_queue_must_be_known(url: str, client: redis.Redis) -> None:
    client.sadd("streamtask:namespaces", "shop")
    client.sadd("shop:queues", "mail")
    assert " to mail\n" in ok(url, "send", "any.task")  # the only queue there is
    client.sadd("shop:queues", "bulk")
    which = invoke(url, "send", "any.task")
    assert (which.exit_code, "to which queue? Say --queue; shop has bulk, mail" in which.output) == (2, True)
    wrong = invoke(url, "send", "any.task", "--queue", "mial")
    assert (wrong.exit_code, "did you mean 'mail'?" in wrong.output) == (2, True)
    ((_, fields),) = client.xrange("shop:mail")
    assert (fields["task"], fields["args"]) == ("any.task", "{}")
    assert len(ok_json(url, "send", "any.task", "--queue", "bulk", "--count", "3")["messages"]) == 3


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--args", "{"), "--args is not JSON"),
        (("--args", "[1]"), "--args must be a JSON object"),
        (("--eta", "2027-01-01T00:00:00"), "has no time zone"),
        (("--eta", "soon"), "soon"),
        (("--countdown", "soon"), "'soon' is no duration"),
        (("--count", "0"), "--count"),
    ],
)
def test_bad_values_are_wrong_usage(args: tuple[str, ...], text: str) -> None:
    result = invoke("redis://127.0.0.1:1/0", "send", "t", *args)
    assert result.exit_code == 2
    assert text in result.output


@one_server
def test_schedules_are_listed_from_redis_and_previewed_and_run_from_the_app(shell: Shell, client: redis.Redis) -> None:
    empty = invoke(shell.url, "schedule", "list", "--namespace", "shop")
    assert "no beat has published a schedule of shop" in empty.output
    beat = shell.start("beat", "tasks")
    beat.wait_for("ready in")
    (listed,) = ok_json(shell.url, "schedule", "list")["schedules"]
    assert (listed["name"], listed["when"], listed["state"], listed["source"]) == (
        "tasks.hourly",
        "every 1 h",
        "on",
        "code",
    )
    assert re.search(r"tasks\.hourly +every 1 h .* \(in ", ok(shell.url, "schedule", "list"))
    preview = shell.run("-A", "tasks", "schedule", "preview", "hourly", "--next", "3", "--timezone", "Asia/Tokyo")
    assert len(re.findall(r"^\S+ \d\d:00:00 \+09:00   \S+ \d\d:00:00Z   in ", preview.stdout, re.MULTILINE)) == 3
    day = shell.run("-A", "tasks", "schedule", "preview", "tasks.hourly", "--next", "24h", "--format", "json")
    assert len(json.loads(day.stdout)["ticks"]) == 24
    ran = shell.run("-A", "tasks", "schedule", "run", "hourly")
    assert ran.stdout.startswith("sent tasks.hourly ")
    assert client.xlen("shop:default") == 1
    for wrong in (
        ("run", "daily"),
        ("preview", "hourly", "--next", "soon"),
        ("preview", "hourly", "--timezone", "Mars"),
    ):
        result = shell.run("-A", "tasks", "schedule", *wrong)
        assert result.returncode == 2
        assert "Traceback" not in result.stderr


@one_server
def test_a_preview_tells_what_a_clock_change_does(shell: Shell) -> None:
    shell.write(
        "night.py",
        "from streamtask import Cron, StreamTask\n"
        'app = StreamTask("shop")\n'
        '@app.schedule(Cron("30 2 * * *", timezone="Europe/Berlin"))\n'
        "@app.task\n"
        "def nightly() -> None: ...\n",
    )
    shown = shell.run("-A", "night", "schedule", "preview", "nightly", "--next", "366")
    assert "… DST note: Europe/Berlin" in shown.stdout, shown.stderr
