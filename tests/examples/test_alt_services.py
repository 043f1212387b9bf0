"""The hub and the three services as processes, on a few articles; the backend's commands; the hub's client."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from examples.alt import store
from examples.alt.__main__ import main as backend_command
from examples.alt.backend import opened
from examples.alt.db import Database
from examples.alt.events import ARTICLES, ArticleCreated, ArticleUpdated, on_topic
from examples.alt.feeds import read
from examples.alt.fleet import ROOT, SERVICES, STREAMTASK, Alt
from examples.alt.hub import HubClient, HubError, _partial, to_json
from examples.alt.search import search
from examples.alt.settings import BackendSettings

BUNDLED = read().articles
WAIT = 60.0


@pytest.fixture(scope="module")
def alt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alt]:
    """Redis, the hub and the services. What is set here of the user's own must not reach them."""
    noise = {"REDIS_STREAMS_URL": "redis://127.0.0.1:1", "CONSUMER_GROUP": "mine", "MQHUB_ENABLED": "nonsense"}
    with Alt(tmp_path_factory.mktemp("alt"), {**os.environ, **noise}) as fleet:
        fleet.environment = {**fleet.environment, "ALT_BATCH_WAIT": "200ms"}
        fleet.start_hub()
        for service in SERVICES:
            fleet.serve(service)
        yield fleet
    fleet.check_ends()


@pytest.fixture(scope="module")
def database(alt: Alt) -> Iterator[Database]:
    opened_database = Database(alt.database)
    opened_database.create()
    yield opened_database
    opened_database.close()


def finished(database: Database) -> bool:
    with database.reading() as connection:
        return not store.unfinished(connection)


async def test_articles_end_summarised_tagged_and_found_once_each(alt: Alt, database: Database) -> None:
    articles = BUNDLED[:8]
    async with opened(BackendSettings.read(alt.backend())) as backend:
        assert await backend.save(articles) == {"added": 8, "changed": 0, "unchanged": 0}
        assert await backend.save(articles) == {"added": 0, "changed": 0, "unchanged": 8}
    await asyncio.to_thread(alt.wait, lambda: finished(database), WAIT, "articles are not finished")
    # One changes, one goes, all are indexed anew.
    async with opened(BackendSettings.read(alt.backend())) as backend:
        await backend.save([replace(articles[0], content="The moon is made of cheddar. That is all that we know.")])
        await backend.delete(articles[1].article_id)
        assert await backend.reindex() == 7
        assert (backend.told.directly, backend.told.lost) == (0, [])
    await asyncio.to_thread(alt.wait, lambda: finished(database), WAIT, "articles are not finished")
    await asyncio.to_thread(alt.quiet, WAIT)
    assert [hit.article_id for hit in search(database, "cheddar")] == [articles[0].article_id]
    assert not any(hit.article_id == articles[1].article_id for hit in search(database, "telescopes"))
    with database.reading() as connection:
        effects = store.effects(connection)
        version, summary = store.get_summary(connection, articles[0].article_id)
    assert all(ways == ["stream"] for ways in effects.values()), effects
    assert (version, "cheddar" in summary) == (2, True)
    assert alt.ask("dead", "list")["dead"] == []


async def test_an_event_that_comes_twice_is_handled_once(alt: Alt, database: Database) -> None:
    article = BUNDLED[20]
    with database.writing() as connection:
        store.save_article(connection, article, "reader")
    event = ArticleCreated(article_id=article.article_id)
    settings = BackendSettings.read(alt.backend())
    hub = HubClient(settings)
    async with hub:
        assert await hub.healthy()
        first, second = await hub.publish(event), await hub.publish(event)
    with redis.Redis.from_url(alt.redis, decode_responses=True) as client:
        entries = {id: client.xrange(ARTICLES, id, id) for id in {first, second}}
    assert all(found[0][1]["event_id"] == event.meta.id for found in entries.values())
    await asyncio.to_thread(alt.wait, lambda: finished(database), WAIT, "the article is not finished")
    await asyncio.to_thread(alt.quiet, WAIT)
    with database.reading() as connection:
        effects = {key: ways for key, ways in store.effects(connection).items() if key[1] == article.article_id}
    assert all(len(ways) == 1 for ways in effects.values())


async def test_tags_are_made_while_we_wait_and_also_of_no_text(alt: Alt) -> None:
    article = next(article for article in BUNDLED if article.language == "de")
    async with HubClient(BackendSettings.read(alt.backend())) as hub:
        answer, empty = await asyncio.gather(
            hub.generate_tags("a", article.title, article.content, timeout=WAIT),
            hub.generate_tags("b", "", "", timeout=WAIT),
        )
    assert answer.success
    assert answer.article_id == "a"
    assert "fahrradkette" in " ".join(tag.name for tag in answer.tags)
    assert answer.inference_ms > 0
    assert (empty.success, empty.tags) == (True, [])
    with redis.Redis.from_url(alt.redis) as client:
        assert not client.keys("alt:replies:*")


async def test_the_client_says_what_the_hub_refused_and_when_there_is_none(alt: Alt) -> None:
    settings = BackendSettings.read(alt.backend())
    async with HubClient(settings) as hub:
        with pytest.raises(HubError, match="event_id") as refused:
            await hub._call("Publish", {"stream": ARTICLES, "event": {"eventType": "X", "source": "y"}})
        assert (refused.value.code, refused.value.passing) == ("invalid_argument", False)
        with pytest.raises(ValueError, match="the hub takes 1000"):
            await hub.publish_batch(ARTICLES, [ArticleCreated(article_id="a")] * 1001)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = replace(settings, mqhub_connect_url=f"http://127.0.0.1:{unused.getsockname()[1]}")
        async with HubClient(nowhere) as hub:
            with pytest.raises(HubError, match="cannot be reached") as away:
                await hub.publish(ArticleCreated(article_id="a"))
            assert away.value.passing
            assert not await hub.healthy()


def test_what_was_taken_of_a_batch_stands_in_the_details_of_its_error() -> None:
    partly = {"messageIds": ["1-0", ""], "successCount": 1, "failureCount": 1, "errors": [{"index": 1}]}
    detail = {"type": "services.mqhub.v1.PublishBatchResponse", "value": "", "debug": partly}
    assert _partial({"code": "unavailable", "details": [{"type": "other"}, detail]}) == partly
    assert _partial({"code": "unavailable"}) is None


def test_a_token_goes_along_and_stands_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" s3cret\n")
    settings = BackendSettings.read({"MQHUB_ENABLED": "true", "MQHUB_TOKEN_FILE": str(tmp_path / "token")})
    hub = HubClient(settings)
    assert hub._http.headers["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in repr(settings) + "\n".join(settings.report())
    with pytest.raises(HubError, match="MQHUB_TOKEN_FILE"):
        HubClient(replace(settings, mqhub_token_file=tmp_path / "none"))


def test_events_can_be_kept_on_another_topic() -> None:
    moved = on_topic(ArticleUpdated, "alt:events:news")
    assert on_topic(ArticleUpdated, ARTICLES) is ArticleUpdated
    assert moved.__event__ is not None
    assert (moved.__event__.topic, moved.__event__.type) == ("alt:events:news", "ArticleUpdated")
    assert issubclass(moved, ArticleUpdated)
    assert to_json(moved(article_id="a"))["eventType"] == "ArticleUpdated"


def test_the_backend_s_commands_do_without_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MQHUB_ENABLED", "ALT_DIRECT", "APP_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALT_DATABASE", str(tmp_path / "alt.sqlite3"))
    runner = CliRunner()

    def run(*arguments: str, code: int = 0) -> str:
        done = runner.invoke(backend_command, arguments)
        assert done.exit_code == code, done.output
        return done.output

    assert "32 added" in run("publish")
    assert "32 unchanged" in run("publish")
    line = run("search", "sodium", "batt", "--limit", "1")
    assert "Salt instead of lithium" in line
    article_id = line.split()[0]
    assert "sodium battery" in run("show", article_id)
    assert "0 articles were not finished" in run("catch-up")
    assert "there is no hub to ask" in run("tags", article_id, code=1)
    assert "deleted" in run("delete", article_id)
    assert "31 articles" in run("reindex")
    assert "there is no article" in run("summarize", article_id, code=1)
    assert "there is no file or folder" in run("publish", "--feed", str(tmp_path / "none"), code=1)
    monkeypatch.setenv("APP_ENV", "production")
    assert "nobody would notice" in run("publish", code=1)


def test_a_service_that_is_switched_off_says_so_and_ends() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("CONSUMER_")}
    command = [*STREAMTASK, "worker", "examples/alt/pre_processor.py"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert "CONSUMER_ENABLED is false, so pre-processor would consume nothing" in done.stderr
