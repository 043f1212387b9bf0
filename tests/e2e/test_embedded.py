"""The life of the private server of `embedded://`, whose users are real processes that end in every way."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import redis

from streamtask.embedded.keeper import USERS_LOCK, Lock
from tests.e2e.private import USER, Place, put, server_pid, value
from tests.support import alive, eventually


def test_processes_that_start_at_once_share_one_server(place: Place) -> None:
    users = [place.user() for _ in range(5)]
    urls = {user.read() for user in users}
    assert len(urls) == 1
    url = urls.pop()
    assert url.startswith("unix:///tmp/streamtask-")
    with redis.Redis.from_url(url, decode_responses=True) as client:
        settings = client.config_get("*")
    assert {name: settings[name] for name in ("appendonly", "appendfsync", "maxmemory-policy", "port", "dir")} == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "port": "0",
        "dir": str(place.folder),
    }
    assert len(re.findall(r"keeper .* starting ", place.log())) == 1


def test_kill_9_of_one_user_keeps_it_and_of_all_users_ends_it_without_loss(place: Place) -> None:
    first, second = place.user(), place.user()
    url = first.read()
    assert second.read() == url
    server, keeper = server_pid(url), place.keeper()
    first.end(signal.SIGKILL)
    put(url, "kept")
    assert not Lock(place.folder / USERS_LOCK).own()
    second.end(signal.SIGKILL)
    eventually(lambda: not alive(server) and not alive(keeper))
    assert not Path(url.removeprefix("unix://")).exists()
    assert value(place.user().read()) == "kept"


def test_a_command_right_after_another_meets_the_same_server(place: Place) -> None:
    first = place.user()
    pid = server_pid(first.read())
    first.end()
    assert server_pid(place.user().read()) == pid


def test_kill_9_of_the_keeper_leaves_no_orphan_and_the_next_user_works(place: Place) -> None:
    user = place.user()
    url = user.read()
    put(url, "kept")
    server = server_pid(url)
    os.kill(place.keeper(), signal.SIGKILL)
    newcomer = place.user().read()
    assert not alive(server)
    assert server_pid(newcomer) != server
    assert user.ask_again() == newcomer
    assert value(newcomer) == "kept"


def test_the_keeper_starts_a_crashed_server_again(place: Place) -> None:
    user = place.user()
    url = user.read()
    put(url, "kept")
    server = server_pid(url)
    os.kill(server, signal.SIGKILL)
    eventually(lambda: not alive(server))
    assert server_pid(user.ask_again()) != server
    assert value(url) == "kept"


def test_a_newcomer_waits_for_a_server_that_is_stopping(place: Place) -> None:
    first = place.user()
    url = first.read()
    server = server_pid(url)
    put(url, "kept")
    os.kill(server, signal.SIGSTOP)
    first.end(signal.SIGKILL)
    eventually(lambda: "nobody uses the server" in place.log())
    newcomer = place.user()
    os.kill(server, signal.SIGCONT)
    assert value(newcomer.read()) == "kept"
    assert not alive(server)


def test_a_forked_child_counts_as_a_user(place: Place) -> None:
    forking = USER.replace(
        "for line in", "import os; os.fork() and os._exit(0); print(os.getpid(), flush=True)\n    for line in"
    )
    user = place.user(code=forking)
    user.read()
    child = int(user.read())
    eventually(lambda: not alive(user.process.pid))
    users = Lock(place.folder / USERS_LOCK)
    assert not users.own()
    os.kill(child, signal.SIGKILL)
    eventually(users.own)
    users.close()


def test_a_deleted_folder_is_a_fresh_start(place: Place) -> None:
    user = place.user()
    url = user.read()
    put(url, "gone")
    server = server_pid(url)
    shutil.rmtree(place.folder)
    assert value(user.ask_again()) is None
    eventually(lambda: not alive(server))
    assert value(user.ask_again()) is None
