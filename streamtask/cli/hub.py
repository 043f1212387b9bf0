"""`streamtask hub`: publish events and call tasks over HTTP."""

from __future__ import annotations

import importlib
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamtask._version import __version__
from streamtask.address import safe_url
from streamtask.app import StreamTask
from streamtask.broker.server import Server
from streamtask.cli import banner, serve
from streamtask.cli.apps import load_app, pyproject_app
from streamtask.cli.command import BEGAN, Command, Group, globals_of
from streamtask.cli.failures import FAILED, USAGE, Failure
from streamtask.cli.options import SIZE, Globals
from streamtask.cli.reach import check_typed, place
from streamtask.cli.worker import names
from streamtask.errors import StreamTaskError
from streamtask.logs import LogReporter

if TYPE_CHECKING:
    from streamtask.hub.settings import Settings

_HELP = """Publish events and call tasks over HTTP: Connect, gRPC-Web, and plain JSON at /v1/.

It serves what mq-hub served, under the same names and on the same port, and reads mq-hub's environment: REDIS_URL,
CONNECT_PORT, LOG_LEVEL, REDIS_POOL_SIZE, MAX_BATCH_SIZE, STREAM_MAX_LEN, STREAM_HARD_MAX_LEN and
STREAM_TRIM_INTERVAL_SECONDS. Tasks can be sent where -A names an app, or --namespace the app that has workers.

It listens on this machine alone unless callers must say who they are (--token-file, --tls-client-ca), or --insecure.
"""
_EXAMPLES = """
streamtask hub                                              events, for programs on this machine
streamtask hub --namespace shop                             and the tasks of the app "shop"
streamtask hub token backend --stream 'alt:events:*' >> hub.tokens
streamtask hub --host 0.0.0.0 --token-file hub.tokens       for the network; kill -HUP reads the tokens again
"""
_MISSING = "the hub needs more packages: pip install 'streamtask[hub]'"


def _file(*names: str, **more: Any) -> Callable[[Any], Any]:
    return click.option(*names, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", **more)


@click.group("hub", cls=Group, help=_HELP, examples=_EXAMPLES, invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), help="The port; 0: any.  [default: CONNECT_PORT, or 9500]")
@click.option("--insecure", is_flag=True, help="Let anyone in, on any address: the network keeps others away.")
@click.option("--server", type=click.Choice(["uvicorn", "hypercorn"]), default="uvicorn", show_default=True,
              help="hypercorn has HTTP/2, and so gRPC.")  # fmt: skip
@_file("--token-file", help="Who may do what; see `streamtask hub token`. SIGHUP reads it again.")
@_file("--tls-cert", help="Serve TLS with this certificate (PEM).")
@_file("--tls-key", help="Its key.")
@_file("--tls-client-ca", help="Ask for client certificates that this authority has signed.")
@click.option("--allow-peer", multiple=True, metavar="NAMES", help="Let in certificates with these names only.")
@click.option("--known-streams", multiple=True, metavar="GLOBS", help="Streams to expect.  [default: mq-hub's]")
@click.option("--deny-unknown-streams", is_flag=True, help="Refuse all others; else they are told in the log.")
@click.option("--max-body", type=SIZE, default="32MiB", show_default=True, help="The largest request.")
@click.option("--max-event", type=SIZE, default="1MiB", show_default=True, help="The largest event.")
@click.option("--max-waits", type=click.IntRange(1), default=1000, show_default=True,
              help="Requests that wait for an answer at once.")  # fmt: skip
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Wire a hub from the command line."""
    if ctx.invoked_subcommand is not None:
        return
    options = globals_of(ctx)
    settings = _settings(given)
    app, tasks = _app(options)
    if options.log_level is None:
        options.log_level = _level(os.environ.get("LOG_LEVEL"))
    ctx.exit(serve.run(options, lambda report: _serve(app, tasks, settings, report)))


@command.command("token", cls=Command)
@click.argument("name")
@click.option("--stream", "streams", multiple=True, metavar="GLOB", help="Streams that it gives access to.")
@click.option("--task", "tasks", multiple=True, metavar="GLOB", help="Tasks that it gives access to.")
def token_command(name: str, streams: tuple[str, ...], tasks: tuple[str, ...]) -> None:
    """Make a token for NAME: the token goes to standard error, its line of the token file to standard output."""
    tokens = _load("tokens")
    made = tokens.make()
    line = tokens.line_of(name, made, streams, tasks)
    click.echo(f"The token, which is shown this once (send it as `Authorization: Bearer TOKEN`):\n{made}", err=True)
    if not streams and not tasks:
        click.echo("It gives access to nothing: add --stream GLOB or --task GLOB.", err=True)
    click.echo(line)


def _load(module: str) -> Any:
    """A module of the hub, whose packages may not be installed."""
    try:
        return importlib.import_module(f"streamtask.hub.{module}")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("streamtask"):
            raise
        raise Failure(f"{_MISSING} ({error.name} is not there)", FAILED) from None


def _settings(given: dict[str, Any]) -> Settings:
    module = _load("settings")
    environment = module.read(os.environ)
    if given["port"] is not None:
        environment = replace(environment, port=given["port"])
    settings: Settings = module.Settings(
        environment=environment,
        host=given["host"],
        server=given["server"],
        tokens=given["token_file"],
        tls=_tls(module, given),
        insecure=given["insecure"],
        known=names(given["known_streams"]) or module.KNOWN,
        deny_unknown=given["deny_unknown_streams"],
        max_body=given["max_body"],
        max_event=given["max_event"],
        max_waits=given["max_waits"],
    )
    settings.check()
    return settings


def _tls(module: Any, given: dict[str, Any]) -> Any:
    cert, key, authority, peers = (given[name] for name in ("tls_cert", "tls_key", "tls_client_ca", "allow_peer"))
    if cert is None or key is None:
        for name in ("tls_cert", "tls_key", "tls_client_ca", "allow_peer"):
            if given[name]:
                raise click.UsageError(f"--{name.replace('_', '-')} needs both --tls-cert and --tls-key")
        return None
    if peers and authority is None:
        raise click.UsageError("--allow-peer needs --tls-client-ca: a name counts when somebody has signed it")
    return module.Tls(cert, key, authority, names(peers))


def _app(options: Globals) -> tuple[StreamTask, bool]:
    """The app, and whether its tasks may be sent: not where nobody said which they are."""
    path = options.app or pyproject_app()
    if path is not None:
        app = load_app(path).app
        place(app, options, options.url)
        return app, True
    namespace = options.namespace or os.environ.get("STREAMTASK_NAMESPACE")
    app = StreamTask(check_typed("namespace", namespace) if namespace else "hub")
    place(app, options, options.url)
    return app, namespace is not None


def _level(text: str | None) -> str | None:
    """mq-hub's LOG_LEVEL."""
    if not text:
        return None
    level = {"warn": "warning"}.get(text.lower(), text.lower())
    if level not in ("debug", "info", "warning", "error"):
        raise Failure(f"LOG_LEVEL={text!r} is no level; write debug, info, warn or error", USAGE)
    return level


async def _serve(app: StreamTask, tasks: bool, settings: Settings, report: LogReporter) -> int:
    module = _load("server")
    hub = module.Hub(app, settings, report, tasks=tasks)

    def drain(signal_name: str) -> None:
        report.event("hub.stopping", logging.INFO, f"{signal_name}: stopping", signal=signal_name)
        hub.stop()

    serve.Signals(drain, lambda: hub.stop(now=True)).install()
    try:
        server = await hub.probe()
        warnings = serve.check_eviction(app, server) + _warnings(settings)
        sockets = module.listen(settings.host, settings.environment.port)
        _say_start(app, tasks, settings, server, sockets, report)
        serve.warn(report, warnings)
        await hub.serve(sockets)
    except OSError as error:
        if isinstance(error, StreamTaskError):  # Redis, of which the text says what to do
            raise
        where = f"{settings.host}:{settings.environment.port}"
        raise Failure(f"cannot listen on {where}: {error.strerror or error}") from None
    finally:
        await app.aclose()
    report.event("hub.stopped", logging.INFO, "stopped")
    return 0


def _warnings(settings: Settings) -> list[str]:
    found = []
    if settings.environment.hard_max_length == 0:
        found.append("STREAM_HARD_MAX_LEN=0: a group that stands still can fill the memory of Redis")
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        found.append("OTEL_EXPORTER_OTLP_ENDPOINT is set, but the hub exports no traces; their ids are in its log")
    if settings.insecure and not settings.guarded:
        found.append("--insecure: whoever reaches this port may publish, and send tasks")
    return found


def _say_start(
    app: StreamTask,
    tasks: bool,
    settings: Settings,
    server: Server,
    sockets: list[socket.socket],
    report: LogReporter,
) -> None:
    """Say loudly what is wired: what is silently off is found too late."""
    scheme = "https" if settings.tls is not None else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{scheme}://{host}:{sockets[0].getsockname()[1]}"
    url, numbers = app.post.sender.url(), settings.environment
    guard = " and ".join([
        *(["tokens"] if settings.tokens is not None else []),
        *(["client certificates"] if settings.tls is not None and settings.tls.client_ca is not None else []),
    ]) or "none"  # fmt: skip
    if not report.as_json and report.level <= logging.INFO:
        streams = f"kept {numbers.max_length or 'all'}, at most {numbers.hard_max_length or 'any number'}"
        report.plain(
            [
                f"streamtask {__version__}  hub    (Ctrl-C to stop, twice to stop now)",
                *banner.redis_lines(app, server, url),
                f"  address   {address}   Connect, gRPC-Web{', gRPC' if settings.server == 'hypercorn' else ''}, JSON",
                f"  streams   {streams}, trimmed every {numbers.trim_interval} s",
                f"  tasks     {f'those of {app.namespace}' if tasks else 'none: give -A APP or --namespace'}",
                f"  callers   {guard if guard != 'none' else 'anyone who reaches the port'}",
            ]
        )
    report.event(
        "hub.started",
        logging.INFO,
        f"ready in {(time.monotonic() - BEGAN) * 1000:.0f} ms",
        address=address,
        redis={"engine": server.engine, "version": server.version, "url": safe_url(url)},
        namespace=app.namespace,
        tasks=tasks,
        auth=guard,
    )
