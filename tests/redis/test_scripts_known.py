"""Scripts are called by hash; a server forgets them at restart, failover and SCRIPT FLUSH, and nobody may notice."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from streamtask import StreamTask
from streamtask.broker.keys import GROUP
from streamtask.broker.link import Link, NoScriptError, call_of
from streamtask.broker.scripts import ALL, MARK, RENEW, Script
from tests.redis.kit import Stage
from tests.servers import StartServer

LUA = Path(__file__).resolve().parents[2] / "streamtask" / "broker" / "lua"
#: What stands before a script's own text.
BEFORE = {"publish": "retention", "trim": "retention"}


def own_text(name: str) -> str:
    return (LUA / f"{name}.lua").read_text()


def test_every_file_is_a_script_or_stands_before_one_and_the_other_way_round() -> None:
    assert {script.name for script in ALL} | set(BEFORE.values()) == {file.stem for file in LUA.glob("*.lua")}
    assert not {script.name for script in ALL} & set(BEFORE.values())
    for script in ALL:
        before = own_text(BEFORE[script.name]) if script.name in BEFORE else ""
        assert script.text == before + own_text(script.name)
        assert script.sha == hashlib.sha1(script.text.encode()).hexdigest()


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_every_script_has_its_header_and_no_shebang(script: Script) -> None:
    """`#!lua` scripts are refused at full memory before they start."""
    text = own_text(script.name)
    head = text[: re.search(r"^[^-]", text, re.MULTILINE).start()]  # type: ignore[union-attr]
    assert head.startswith(f"-- {script.name.upper()}: ")
    for word in ("Called", "KEYS", "ARGV", "Returns"):
        assert word in head, word
    assert not script.text.startswith("#!")
    assert len(script.text) < 6000


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_the_server_knows_each_by_the_hash_that_we_use(stage: Stage, script: Script) -> None:
    assert stage("SCRIPT", "LOAD", script.text) == script.sha.encode()


async def test_a_link_gives_the_text_when_the_hash_is_unknown(stage: Stage) -> None:
    (id,) = stage.hold("m")
    link = Link(stage.url)
    for _ in range(2):
        stage("SCRIPT", "FLUSH")
        assert (await link.run(RENEW, [stage.keys.stream], (GROUP, "w1", id, 1)))[1:] == [1]
        with pytest.raises(NoScriptError):
            await link.call(*call_of(MARK, ["a", "b"], (GROUP, "w1")))
    await link.close()


def test_a_blocking_link_does_so_too(stage: Stage) -> None:
    (id,) = stage.hold("m")
    stage("SCRIPT", "FLUSH")
    assert stage.renew(id, 1) == [1]


@pytest.mark.parametrize("count", [1, 3, 2500])
def test_a_sender_sends_again_what_the_server_did_not_know(stage: Stage, count: int) -> None:
    """Only those calls: what went by XADD in the same batch is not doubled."""
    app = StreamTask("ns", stage.url)

    @app.task(name="plain", queue="q")
    def plain(n: int) -> None: ...

    later = plain.options(countdown=60)
    stage("SCRIPT", "FLUSH")
    results = later.delay_many(later.s(n) for n in range(count))
    plain.delay(1)
    assert len({result.id for result in results}) == len(stage.due()) == count
    assert len(stage.ids()) == 1
    app.close()


async def test_an_async_sender_does_so_too(stage: Stage) -> None:
    app = StreamTask("ns", stage.url)

    @app.task(name="plain", queue="q")
    def plain(n: int) -> None: ...

    stage("SCRIPT", "FLUSH")
    await plain.options(message_id="once").adelay(1)
    again = await plain.options(message_id="once").adelay(1)
    assert again.duplicate
    assert len(stage.ids()) == 1
    await app.aclose()


def test_a_restart_is_no_reason_to_fail(own_server: StartServer, server_name: str) -> None:
    server = own_server(server_name)
    app = StreamTask("ns", server.url)

    @app.task(name="plain", queue="q")
    def plain(n: int) -> None: ...

    plain.options(countdown=60).delay(1)
    server.restart()
    plain.options(countdown=60).delay(2)
    app.close()
