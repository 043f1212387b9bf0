"""`worker` and `beat` as processes: banner, log, stop, and why they may refuse to start."""

from __future__ import annotations

import json
import re
import signal

import pytest
import redis

from streamtask import StreamTask
from streamtask.cli.options import SIZE
from tests.cli.kit import Shell, invoke, ok_json
from tests.servers import StartServer
from tests.support import eventually

#: For tests that do not depend on the server: one is enough.
one_server = pytest.mark.parametrize("server_name", ["valkey-8.1"])


def send(shell: Shell, task: str, **args: object) -> str:
    """Send a task by name; its id."""
    queue = "mail" if task == "fail" else "default"
    with StreamTask("shop", shell.url, queues=["default", "mail"]) as app:
        return app.send(f"tasks.{task}", args, queue=queue).id


def test_the_banner_says_where_it_is_and_what_it_serves(shell: Shell) -> None:
    said = shell.work_off()
    lines = said.splitlines()
    assert re.match(
        r"streamtask \S+  worker shop@\S+:\d+/[0-9a-f]{4}    \(Ctrl-C to stop, twice to stop now\)", lines[0]
    )
    assert re.match(
        rf"  redis     (valkey )?8\.\S+ standalone {re.escape(shell.url)}  (native claim|claim by script)", lines[1]
    )
    assert lines[2:4] == ["  namespace shop", "  queues    default  mail"]
    assert lines[4] == "  slots     100 coroutines, 10 threads    lease 2 s, prefetch 100 ms, grace 30 s"
    assert re.match(
        r"  schedules 1 \(next: tasks\.hourly at .* UTC\)    this worker ticks: no \(run `streamtask beat`\)", lines[5]
    )
    assert re.match(r"  tasks     5   tasks\.add     async   default  retries 3$", lines[6])
    assert "tasks.fail    thread  mail     retries 1" in said
    assert "tasks.hourly  async   default  every 1 h" in said
    assert "tasks.once    async   default  retries 0  unique name" in said
    assert "! redis keeps nothing on disk" in said
    assert re.search(r"ready in \d+ ms, 0 messages are waiting", said)


@one_server
def test_json_is_one_object_a_line(shell: Shell) -> None:
    worker = shell.start("worker", "tasks", "--log-format", "json", "--lease", "2s")
    worker.wait_for("worker.ready")
    id = send(shell, "add", x=1, y=2)
    worker.wait_for("task.done")
    failing = send(shell, "fail", x=7)
    worker.wait_for("task.dead")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 0
    (started,), (done,), (dead,) = (worker.events(f"{name}") for name in ("worker.started", "task.done", "task.dead"))
    assert (started["namespace"], started["queues"], started["lease_s"]) == ("shop", ["default", "mail"], 2.0)
    assert (done["task"], done["id"], done["attempt"], done["worker"]) == ("tasks.add", id, 1, started["worker"])
    assert (dead["id"], dead["reason"], dead["error.type"]) == (failing, "retries", "ValueError")
    assert "args" not in done
    assert dead["args"] == '{"x": 7}' or dead["args"] == '{"x":7}'  # log_args
    user = next(json.loads(line) for line in worker.lines if "adding" in line)
    assert (user["logger"], user["msg"], user["id"], user["attempt"]) == ("streamtask.task", "adding 1", id, 1)


def test_the_first_signal_lets_tasks_end_and_says_what_it_waits_for(shell: Shell, client: redis.Redis) -> None:
    worker = shell.start("worker", "tasks")
    worker.wait_for("ready in")
    id = send(shell, "nap", seconds=1.0)
    eventually(lambda: ok_json(shell.url, "show", id)["message"]["status"] == "running")
    worker.signal(signal.SIGTERM)
    worker.wait_for("SIGTERM: stopping; once more to stop now")
    line = worker.wait_for("waiting for 1 running task, at most 30 s")
    assert f"nap {id[:4]}…{id[-2:]}" in line
    assert worker.end() == 0
    assert ok_json(shell.url, "show", id)["message"]["status"] == "done"
    assert client.keys("shop:worker:*") == []


def test_the_second_signal_stops_now_and_gives_back(shell: Shell) -> None:
    worker = shell.start("worker", "tasks")
    worker.wait_for("ready in")
    id = send(shell, "nap", seconds=60)
    eventually(lambda: ok_json(shell.url, "show", id)["message"]["status"] == "running")
    worker.signal(signal.SIGINT)
    worker.wait_for("waiting for 1 running task")
    worker.signal(signal.SIGINT)
    assert worker.end() == 130
    assert ok_json(shell.url, "show", id)["message"]["status"] == "waiting"
    assert "Traceback" not in worker.text


@one_server
def test_tasks_that_do_not_end_within_grace_are_given_back_and_the_exit_code_says_so(shell: Shell) -> None:
    worker = shell.start("worker", "tasks", "--grace", "200ms")
    worker.wait_for("ready in")
    id = send(shell, "nap", seconds=60)
    eventually(lambda: ok_json(shell.url, "show", id)["message"]["status"] == "running")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 5
    assert ok_json(shell.url, "show", id)["message"]["status"] == "waiting"


@one_server
def test_queues_are_chosen(shell: Shell, client: redis.Redis) -> None:
    send(shell, "add", x=1, y=2)
    send(shell, "fail", x=1)
    only = shell.run("worker", "tasks", "--burst", "-Q", "default", "--lease", "2s")
    assert only.returncode == 0
    assert "  queues    default\n" in only.stderr
    assert '! queue "mail" has 1 message and no worker (streamtask worker APP -Q mail)' in only.stderr
    assert (client.xlen("shop:default"), client.xlen("shop:mail")) == (0, 1)
    others = shell.run("worker", "tasks", "--burst", STREAMTASK_WORKER_EXCLUDE_QUEUES="default mail")
    assert (others.returncode, "-X leaves no queue" in others.stderr) == (2, True)
    for flag in ("-Q", "-X"):
        unknown = shell.run("worker", "tasks", flag, "default,mial")
        assert (unknown.returncode, "did you mean 'mail'?" in unknown.stderr) == (2, True)


@one_server
@pytest.mark.parametrize("kind", ["worker", "beat"])
def test_what_keeps_it_from_starting(shell: Shell, kind: str) -> None:
    shell.write("empty.py", "from streamtask import StreamTask\napp = StreamTask('shop')")
    shell.write("broken.py", "import nothere")
    no_redis = shell.run(kind, "tasks", "--url", "redis://127.0.0.1:1")
    assert no_redis.returncode == 3
    assert "Redis at redis://127.0.0.1:1 (from --url) did not answer" in no_redis.stderr
    assert "streamtask dev" in no_redis.stderr
    empty = shell.run(kind, "empty")
    assert (empty.returncode, "has no tasks and no event handlers. Imported: empty" in empty.stderr) == (4, True)
    broken = shell.run(kind, "broken.py")
    assert (broken.returncode, 'broken.py", line 1' in broken.stderr) == (4, True)
    nothing = shell.run(kind)
    assert (nothing.returncode, "which app?" in nothing.stderr) == (2, True)
    for run in (no_redis, empty, nothing):
        assert "Traceback" not in run.stderr
    assert "streamtask/cli" not in broken.stderr


@one_server
def test_a_redis_that_evicts_is_refused_unless_it_is_allowed(shell: Shell, own_server: StartServer) -> None:
    server = own_server(maxmemory="100mb", maxmemory_policy="allkeys-lru")
    more = {"STREAMTASK_URL": "", "REDIS_URL": server.url}
    for kind in ("worker", "beat"):
        refused = shell.run(kind, "tasks", *(["--burst"] if kind == "worker" else []), **more)
        assert refused.returncode == 1
        assert "redis evicts keys (allkeys-lru): tasks can vanish. Set maxmemory-policy noeviction" in refused.stderr
        assert "The address came from REDIS_URL" in refused.stderr
    allowed = shell.run("worker", "tasks", "--burst", STREAMTASK_ALLOW_EVICTION="1", **more)
    assert allowed.returncode == 0
    assert "! redis evicts keys (allkeys-lru)" in allowed.stderr
    assert f"{server.url} (using REDIS_URL)" in allowed.stderr


@one_server
def test_a_beat_ticks_and_ends_at_the_first_signal(shell: Shell, client: redis.Redis) -> None:
    shell.write(
        "quick.py",
        "from streamtask import Every, StreamTask\n"
        'app = StreamTask("shop")\n'
        "@app.schedule(Every(seconds=0.2))\n"
        "@app.task\n"
        "def quick() -> None: ...\n",
    )
    beat = shell.start("beat", "quick")
    beat.wait_for("tick  quick.quick")
    assert "  schedules 1   quick.quick  every 0.2 s  next " in beat.text
    assert ok_json(shell.url, "inspect")["beats"]
    beat.signal(signal.SIGTERM)
    assert beat.end() == 0
    assert client.xlen("shop:default") >= 1
    assert client.keys("shop:worker:*") == []


def test_a_worker_with_beat_ticks_what_it_runs(shell: Shell) -> None:
    shell.write(
        "quick.py",
        "from streamtask import Every, StreamTask\n"
        'app = StreamTask("shop")\n'
        "@app.schedule(Every(seconds=0.2))\n"
        "@app.task\n"
        "def quick() -> None: ...\n",
    )
    worker = shell.start("worker", "quick.py", "--beat")
    worker.wait_for("done  quick")
    assert "this worker ticks: yes" in worker.text
    worker.signal(signal.SIGINT)
    assert worker.end() == 0


@one_server
def test_the_command_line_moves_an_app_to_another_namespace(shell: Shell, client: redis.Redis) -> None:
    sent = shell.run("-A", "tasks", "--namespace", "staging", "send", "add", "--args", '{"x": 1, "y": 2}')
    assert sent.returncode == 0, sent.stderr
    assert client.xlen("staging:default") == 1
    worked = shell.run("worker", "tasks", "--namespace", "staging", "--burst", "--lease", "2s")
    assert "  namespace staging\n" in worked.stderr
    assert client.xlen("staging:default") == 0
    assert client.smembers("streamtask:namespaces") == {"staging"}


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--embedded", "--url", "redis://h"), "leave out --url"),
        (("--name", "a b"), "'a b' is no worker name"),
        (("--lease", "0"), "too short: at least 0.1 s"),
        (("--grace", "soon"), "'soon' is no duration"),
        (("-c", "0"), "0 is not in the range"),
        (("--max-tasks", "0"), "0 is not in the range"),
        (("--max-rss", "512000"), "'512000' is no size; write a number and its unit: 512MiB, 1.5GiB, 500MB"),
        (("--max-rss", "0MiB"), "'0MiB' is no size"),
        (("--stall-limit", "5s"), "--stall-limit needs a parent that watches: add --processes 1, or more"),
        (("--log-level", "loud"), "'loud' is not one of"),
    ],
)
def test_bad_options_are_wrong_usage(args: tuple[str, ...], text: str) -> None:
    result = invoke("", "worker", "tasks", *args)
    assert result.exit_code == 2
    assert text in result.output


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", 2**29), ("1.5 gib", 3 * 2**29), ("500MB", 500_000_000), ("64KiB", 2**16), ("7B", 7)]
)
def test_a_size_has_a_unit(text: str, size: int) -> None:
    assert SIZE.convert(text, None, None) == size
