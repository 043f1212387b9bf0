"""The tests' own servers: what other tests rely on when they kill, freeze and restart them."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.servers import Server, StartServer
from tests.support import aeventually, alive, eventually


def test_each_server_is_what_its_name_says(server: Server, url: str) -> None:
    assert f"{server.name.partition('-')[2]}." in server.version
    assert server.ask("DBSIZE") == "0"
    assert url == server.url
    server.ask("SET left behind")


def test_the_database_is_empty_for_the_next_test(redis86: Server, valkey81: Server) -> None:
    assert (redis86.ask("DBSIZE"), valkey81.ask("DBSIZE")) == ("0", "0")


@pytest.mark.parametrize("tcp", [False, True])
def test_data_survives_kill_9_with_an_append_only_file(own_server: StartServer, server_name: str, tcp: bool) -> None:
    server = own_server(server_name, tcp=tcp, appendonly="yes", appendfsync="always")
    server.ask("SET key value")
    before = server.pid
    server.kill9()
    assert not server.ping()
    server.start()
    assert server.pid != before
    assert server.ask("GET key") == "value"
    server.restart()
    assert server.ask("GET key") == "value"


def test_a_frozen_server_does_not_answer_until_it_goes_on(own_server: StartServer) -> None:
    server = own_server()
    server.sigstop()
    with pytest.raises(TimeoutError):
        server.ask("PING", timeout=0.1)
    server.sigcont()
    assert eventually(server.ping)
    server.sigstop()
    server.stop()
    assert not server.running


def test_a_start_that_fails_shows_the_log(own_server: StartServer) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)exit code 1.*no-such-option"):
        own_server(no_such_option="1")


def test_a_killed_parent_leaves_no_server(redis86: Server) -> None:
    code = """if True:
        from tests.servers import Server
        server = Server("redis-8.6").start()
        print(server.pid, server.folder, flush=True)
        input()
    """
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, folder = parent.stdout.readline().split()
    assert alive(int(pid))
    parent.kill()
    parent.communicate()
    eventually(lambda: not alive(int(pid)))
    shutil.rmtree(folder)


async def test_eventually_tells_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match=r"(?s)not true within 0.01 s.*never.*last answer: 0"):
        eventually(lambda: 0 * len("never"), timeout=0.01, every=0.001)
    answers = iter([0, 1])

    async def answer() -> int:
        return next(answers)

    assert await aeventually(answer) == 1
