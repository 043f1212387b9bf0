"""`streamtask hub`: events and tasks over HTTP."""

from __future__ import annotations

import os
from dataclasses import replace

import click

from streamtask.address import locate
from streamtask.cli import serve
from streamtask.cli.command import Command, globals_of
from streamtask.hub import server, settings
from streamtask.settings import load


@click.command("hub", cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), help="The port to listen on.  [default: CONNECT_PORT, or 9500]")
@click.pass_context
def command(ctx: click.Context, host: str, port: int | None) -> None:
    """Publish events and call tasks over HTTP."""
    options = globals_of(ctx)
    known = settings.read(os.environ)
    where = locate(options.url, load().url, os.environ)
    chosen = known if port is None else replace(known, port=port)
    ctx.exit(serve.run(options, lambda _: server.serve(where.url, chosen, host)))
