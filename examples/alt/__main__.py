"""The backend's commands: `python -m examples.alt publish|search|show|tags|summarize|reindex|catch-up|delete`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from examples.alt import search, store
from examples.alt.articles import editions, parts
from examples.alt.backend import Backend, opened, tags_now
from examples.alt.db import Database
from examples.alt.environment import SettingError
from examples.alt.feeds import BUNDLED, FeedError, read
from examples.alt.hub import HubError
from examples.alt.settings import BackendSettings, database_path
from examples.alt.wiring import announce


def _run(job: Callable[[Backend], Awaitable[str]]) -> None:
    """Do something with a backend, print what it says, and name what was not done."""

    async def work() -> tuple[str, Backend]:
        settings = BackendSettings.read(os.environ)
        announce("backend", settings.report())
        async with opened(settings) as backend:
            said = await job(backend)
        return said, backend

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    try:
        said, backend = asyncio.run(work())
    except (FeedError, HubError, LookupError, SettingError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(said)
    told = backend.told
    click.echo(f"{told.published} events to the hub, {told.directly} worked on directly")
    for line in (*told.failed, *told.lost):
        click.echo(f"not done: {line}", err=True)
    if told.failed or told.lost:
        click.echo("once the cause is gone: python -m examples.alt catch-up", err=True)
        sys.exit(1)


@click.group(help=__doc__)
def main() -> None:
    """Group the commands."""


@main.command()
@click.option("--feed", "feeds", multiple=True, type=click.Path(path_type=Path), help="A file, or a folder of them.")
@click.option(
    "--days", type=click.IntRange(1, 365), default=1, show_default=True, help="Daily editions of each article."
)
@click.option("--parts", "in_parts", is_flag=True, help="Each paragraph as an article of its own, too.")
def publish(feeds: tuple[Path, ...], days: int, in_parts: bool) -> None:
    """Read RSS, Atom and HTML files (without --feed: the bundled ones), store the articles, and tell of them."""

    async def job(backend: Backend) -> str:
        found = await asyncio.to_thread(read, feeds or (BUNDLED,))
        for problem in found.problems:
            click.echo(problem, err=True)
        articles = parts(found.articles) if in_parts else found.articles
        counts = await backend.save(editions(articles, days))
        return ", ".join(f"{count} {name}" for name, count in counts.items())

    _run(job)


@main.command("search")
@click.argument("words", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True)
def find(words: tuple[str, ...], limit: int) -> None:
    """The articles with all these words, best first."""
    database = _database()
    for hit in search.search(database, " ".join(words), limit):
        click.echo(f"{hit.article_id}  {hit.title}  ({hit.feed_id})\n    {hit.snippet}")
    database.close()


@main.command()
@click.argument("article_id")
def show(article_id: str) -> None:
    """An article with its summary and tags."""
    database = _database()
    with database.reading() as connection:
        article = store.get_article(connection, article_id)
        _, summary = store.get_summary(connection, article_id)
        _, tags = store.get_tags(connection, article_id)
    database.close()
    if article is None:
        raise click.ClickException(f"there is no article {article_id}")
    click.echo(f"{article.title}\n{article.url}\n\n{summary or '(no summary yet)'}\n")
    click.echo(", ".join(f"{tag.name} {tag.confidence:.2f}" for tag in tags) or "(no tags yet)")


@main.command()
@click.argument("article_id")
def tags(article_id: str) -> None:
    """Have an article tagged now, by the hub's GenerateTagsForArticle, and wait for the answer."""

    async def job(backend: Backend) -> str:
        with backend.database.reading() as connection:
            article = store.get_article(connection, article_id)
        if article is None:
            raise LookupError(f"there is no article {article_id}")
        if backend.hub is None:
            raise SettingError("MQHUB_ENABLED is false: there is no hub to ask")
        return await tags_now(backend.hub, article)

    _run(job)


@main.command()
@click.argument("article_id")
def summarize(article_id: str) -> None:
    """Ask for an article's summary."""

    async def job(backend: Backend) -> str:
        await backend.summarize(article_id)
        return "asked"

    _run(job)


@main.command()
@click.argument("article_id")
def delete(article_id: str) -> None:
    """Delete an article; the search index forgets it, too."""

    async def job(backend: Backend) -> str:
        return "deleted" if await backend.delete(article_id) else "there was no such article"

    _run(job)


@main.command()
def reindex() -> None:
    """Have every article written into the index, where it is not there as it is now."""

    async def job(backend: Backend) -> str:
        return f"{await backend.reindex()} articles"

    _run(job)


@main.command("catch-up")
def catch_up() -> None:
    """Tell again of the articles whose work is not done."""

    async def job(backend: Backend) -> str:
        return f"{await backend.catch_up()} articles were not finished"

    _run(job)


def _database() -> Database:
    try:
        database = Database(database_path(os.environ))
    except SettingError as error:
        raise click.ClickException(str(error)) from None
    database.create()
    return database


if __name__ == "__main__":
    main(prog_name="python -m examples.alt")
