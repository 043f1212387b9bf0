"""How commands reach Redis: its address, a client, and the namespace to look into."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import click

from streamtask.address import locate
from streamtask.app import StreamTask
from streamtask.broker import keys
from streamtask.broker.link import Command
from streamtask.broker.sender import Sender
from streamtask.checks import check_name
from streamtask.cli.options import Globals
from streamtask.settings import load

#: Seconds that a command waits for an answer of Redis.
TIMEOUT = 5.0


def reach(options: Globals) -> Sender:
    """A client for this command; nothing is connected yet."""
    where = locate(options.url, load().url, os.environ)
    if options.url:
        where = replace(where, source="--url")
    client = Sender(where, "", TIMEOUT)
    click.get_current_context().call_on_close(client.close)
    return client


def namespace_of(options: Globals, client: Sender) -> str:
    """`--namespace`, STREAMTASK_NAMESPACE, or the only one on the server; UsageError when there are several."""
    chosen = options.namespace or os.environ.get("STREAMTASK_NAMESPACE")
    if chosen:
        return check_typed("namespace", chosen)
    found = client.drive(_namespaces())
    if len(found) == 1:
        return found[0]
    if not found:
        raise click.UsageError("this Redis has seen no app yet; say which namespace by --namespace")
    raise click.UsageError(f"this Redis has several apps; say which by --namespace: {', '.join(found)}")


def place(app: StreamTask, options: Globals, url: str | None) -> None:
    """Let the command line's server and namespace stand in for those of the code; before the app's first use."""
    if url:
        app.post.relocate(url)
        app.post.address = replace(app.post.address, source="--url" if url == options.url else "--embedded")
    if options.namespace:
        app.namespace = app.post.namespace = check_typed("namespace", options.namespace)


def namespaces(client: Sender) -> list[str]:
    """All namespaces on the server, sorted."""
    return client.drive(_namespaces())


def check_typed(kind: str, name: str) -> str:
    """The name of a namespace or worker that was typed; UsageError for one that cannot be."""
    try:
        return check_name(kind, name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _namespaces() -> Generator[list[Command], list[Any], list[str]]:
    (names,) = yield [("SMEMBERS", keys.NAMESPACES)]
    if isinstance(names, Exception):
        raise names
    return sorted(name.decode() for name in names)
