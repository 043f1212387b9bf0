"""The background publisher: never waits for the network, loses nothing without a word, and flushes at its stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from examples.alt import publisher
from examples.alt.events import ARTICLES, INDEX, ArticleCreated, IndexArticle
from examples.alt.hub import HubError, Taken
from examples.alt.publisher import Publisher, QueueFilled
from streamtask import Event

AWAY = HubError("unavailable", "away")


class Hub:
    """Takes what it is given, as soon as it is open; what is in `refused` never."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.away = False
        self.refused: set[str] = set()
        self.partly = False
        self.batches: list[tuple[str, list[str]]] = []

    @property
    def taken(self) -> list[str]:
        return [one for _, batch in self.batches for one in batch]

    async def publish_batch(self, topic: str, events: Sequence[Event]) -> Taken:
        await self.open.wait()
        if self.away:
            raise AWAY
        ids = [event.article_id for event in events]  # type: ignore[attr-defined]
        if self.refused & set(ids):
            raise HubError("invalid_argument", "no such thing")
        if self.partly:
            self.partly = False
            self.batches.append((topic, ids[::2]))
            return Taken(dict.fromkeys(range(0, len(ids), 2), "1-0"), dict.fromkeys(range(1, len(ids), 2), AWAY))
        self.batches.append((topic, ids))
        return Taken(dict.fromkeys(range(len(ids)), "1-0"), {})


def created(*ids: int) -> list[ArticleCreated]:
    return [ArticleCreated(article_id=str(id)) for id in ids]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "PAUSE", 0.001)


async def test_putting_does_not_wait_and_leaving_flushes() -> None:
    hub = Hub()
    async with Publisher(hub) as background:
        for event in created(*range(250)):
            background.put(event)
        assert (background.waiting, hub.batches) == (250, [])
        asyncio.get_running_loop().call_soon(hub.open.set)
    assert hub.taken == [str(number) for number in range(250)]
    assert max(len(batch) for _, batch in hub.batches) <= publisher.BATCH
    assert (background.counts.accepted, background.counts.published) == (250, 250)


async def test_a_full_queue_says_so_and_who_can_wait_waits() -> None:
    hub = Hub()
    async with Publisher(hub, size=2) as background:
        one, two, three, four = created(1, 2, 3, 4)
        background.put(one)
        background.put(two)
        with pytest.raises(QueueFilled, match="2 events wait for the hub already"):
            background.put(three)
        hub.open.set()
        await background.wait_put(four)
    assert hub.taken == ["1", "2", "4"]


async def test_a_hub_that_is_away_gets_all_when_it_is_back_each_topic_in_order() -> None:
    hub = Hub()
    hub.away = True
    hub.open.set()
    async with Publisher(hub) as background:
        for number in range(5):
            background.put(ArticleCreated(article_id=str(number)))
            background.put(IndexArticle(article_id=str(number)))
        async with asyncio.timeout(10):
            while background.counts.retries < 3:
                await asyncio.sleep(0)
        hub.away = False
        await background.drained()
    for topic in (ARTICLES, INDEX):
        assert [one for where, batch in hub.batches for one in batch if where == topic] == list("01234")


async def test_of_a_batch_that_was_taken_in_part_only_the_rest_is_sent_again() -> None:
    hub = Hub()
    hub.partly = True
    hub.open.set()
    async with Publisher(hub) as background:
        for event in created(0, 1, 2, 3, 4):
            background.put(event)
    assert hub.batches == [(ARTICLES, ["0", "2", "4"]), (ARTICLES, ["1", "3"])]
    assert background.counts.published == 5


async def test_what_the_hub_will_never_take_is_told_and_holds_up_nobody() -> None:
    hub, told = Hub(), list[tuple[Event, HubError]]()
    hub.refused = {"1"}
    hub.open.set()
    async with Publisher(hub, undelivered=lambda *what: told.append(what)) as background:
        for event in created(0, 1, 2):
            background.put(event)
    assert hub.taken == ["0", "2"]
    assert [(event.article_id, error.code) for event, error in told] == [("1", "invalid_argument")]  # type: ignore[attr-defined]
    assert (background.counts.published, background.counts.refused) == (2, 1)


async def test_patience_ends_and_then_somebody_else_is_told() -> None:
    hub, told = Hub(), list[Event]()
    hub.away = True
    hub.open.set()
    async with Publisher(hub, patience=0.01, undelivered=lambda event, _: told.append(event)) as background:
        for event in created(0, 1):
            background.put(event)
        async with asyncio.timeout(10):
            await background.drained()
        assert len(told) == 2
    assert (background.counts.given_up, background.counts.published) == (2, 0)


async def test_a_defect_is_raised_and_nobody_waits_for_ever() -> None:
    class Broken(Hub):
        async def publish_batch(self, topic: str, events: Sequence[Event]) -> Taken:
            raise ZeroDivisionError

    told = list[Event]()

    async def publish() -> None:
        async with Publisher(Broken(), undelivered=lambda event, _: told.append(event)) as background:
            background.put(*created(1))
            async with asyncio.timeout(10):
                await background.drained()

    with pytest.raises(ZeroDivisionError):
        await publish()
    assert len(told) == 1


async def test_a_stop_does_not_wait_for_ever_and_names_what_is_left() -> None:
    hub, told = Hub(), list[Event]()
    async with Publisher(hub, flush=0.05, undelivered=lambda event, _: told.append(event)) as background:
        for event in created(0, 1, 2):
            background.put(event)
    assert len(told) == 3
    assert background.counts.given_up == 3
    with pytest.raises(RuntimeError, match="does not run"):
        background.put(*created(4))
