"""What a worker process and its parent tell each other over their socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from streamtask.heartbeat import Heartbeat, Worn, parse
from streamtask.supervisor.parent import HANDOVER, NOW, Hello, Parent
from tests.support import aeventually

BEAT = Heartbeat("worker", "web:7/ab", "shop", 7, beat=1.0)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Parent, socket.socket]]:
    """The parent as its child has it, and the socket that the parent holds."""
    theirs, ours = socket.socketpair()
    os.set_inheritable(ours.fileno(), True)
    monkeypatch.setenv(HANDOVER, str(ours.detach()))
    parent = Parent.at_hand(stall_limit=30.0)
    assert parent is not None
    yield parent, theirs
    parent.remove()
    parent._socket.close()
    theirs.close()


def test_the_hand_over_is_taken_so_that_what_a_task_starts_has_no_part_in_it(
    ends: tuple[Parent, socket.socket],
) -> None:
    assert HANDOVER not in os.environ
    assert not ends[0]._socket.get_inheritable()
    assert Parent.at_hand(stall_limit=30.0) is None


def test_a_hello_and_a_beat_arrive_as_they_were(ends: tuple[Parent, socket.socket]) -> None:
    parent, theirs = ends
    hello = Hello("web:7/ab", "redis://h", "shop", ("a", "b"), ("line 1", "line 2"), ())
    parent.hello(hello)
    parent.write(BEAT)
    worn = replace(BEAT, worn=Worn("max_rss", 7, 2**30, spent=True))
    parent.write(worn)
    with theirs.makefile("rb") as lines:
        assert Hello.of(json.loads(lines.readline())["hello"]) == hello
        assert parse(lines.readline()) == BEAT
        assert parse(lines.readline()) == worn


def test_a_parent_that_does_not_read_holds_up_nobody_and_gets_whole_lines_later(
    ends: tuple[Parent, socket.socket],
) -> None:
    parent, theirs = ends
    for _ in range(10_000):
        parent.write(BEAT)
    theirs.setblocking(False)
    got = b""
    for _ in range(10_000):
        try:
            got += theirs.recv(1 << 20)
        except BlockingIOError:
            break
        parent.write(BEAT)
    assert len(got) > 100_000
    whole = got[: got.rfind(b"\n") + 1].splitlines(keepends=True)
    assert all(parse(line) == BEAT for line in whole)


async def test_it_hears_the_word_to_stop_now_and_the_end(ends: tuple[Parent, socket.socket]) -> None:
    parent, theirs = ends
    heard: list[str] = []
    parent.listen(lambda: heard.append("gone"), lambda: heard.append("now"))
    theirs.send(NOW)
    await aeventually(lambda: heard == ["now"])
    theirs.close()
    await aeventually(lambda: heard == ["now", "gone"])
    await asyncio.sleep(0)
    parent.write(BEAT)  # nobody takes it, and that is no error
    assert heard == ["now", "gone"]
