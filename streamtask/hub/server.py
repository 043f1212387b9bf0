"""One hub in this process: its parts, put together, and the server that they stand behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Sequence

from streamtask.app import StreamTask
from streamtask.broker.sender import Sender
from streamtask.broker.server import Server
from streamtask.errors import ConfigError
from streamtask.hub.access import Access
from streamtask.hub.calls import Calls
from streamtask.hub.door import Door
from streamtask.hub.keeper import Keeper
from streamtask.hub.metrics import Metrics
from streamtask.hub.mqhub import SERVICE, MQHub
from streamtask.hub.names import Names
from streamtask.hub.publisher import Publisher
from streamtask.hub.redis import Redis
from streamtask.hub.requestlog import RequestLog
from streamtask.hub.rpc import Procedures
from streamtask.hub.serving import Serving, serving
from streamtask.hub.settings import Settings
from streamtask.hub.tags import Tags
from streamtask.hub.tasks import Tasks
from streamtask.hub.tokens import Tokens
from streamtask.hub.waits import Waits
from streamtask.hub.web import Web
from streamtask.logs import LogReporter

logger = logging.getLogger("streamtask.hub")


class Hub:
    """A hub for the streams of the app's Redis. `tasks`: may callers send the app's tasks?

    Nothing is connected before `probe`; the app's connections are closed by who made it.
    """

    def __init__(self, app: StreamTask, settings: Settings, report: LogReporter, *, tasks: bool) -> None:
        environment = settings.environment
        app.post.sender = Sender(app.post.address, app.namespace, app.post.settings.send_timeout, environment.pool_size)
        self._settings = settings
        self._tokens = Tokens(settings.tokens) if settings.tokens is not None else None
        self._metrics, self._waits = Metrics(), Waits(settings.max_waits)
        self._redis = Redis(app, settings.stream_limits)
        names = Names(self._redis, settings.known, settings.deny_unknown)
        publisher = Publisher(self._redis, names, self._metrics, settings.limits)
        access = Access(self._tokens, settings.tls.peers if settings.tls is not None else ())
        sends = Tasks(app if tasks else None, self._redis, self._waits)
        mqhub = MQHub(self._redis, names, publisher, Tags(self._redis, publisher, self._waits))
        handlers = {**mqhub.handlers(), **Calls(sends).handlers()}
        procedures = Procedures(handlers, access, f"/{SERVICE}/HealthCheck", settings.max_body)
        door = Door(sends, publisher, access, settings.max_body, environment.max_batch)
        self._log = RequestLog(report)
        self._web = Web(mqhub, procedures, door, self._metrics, access, self._log)
        self._keeper = Keeper(self._redis, publisher, names, self._metrics, environment.trim_interval)
        self._serving: Serving | None = None

    async def probe(self) -> Server:
        """What Redis is; SendError when it does not answer."""
        return await self._redis.probe()

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Serve until `stop`, and until what is being served then has its answer, or its time is over."""
        self._serving = serving(self._web, self._settings, sockets)
        self._reload_on_hangup()
        keeper = asyncio.create_task(self._keeper.run())
        try:
            await self._serving.run()
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
            await self._waits.close()
            self._log.flush()

    def stop(self, *, now: bool = False) -> None:
        """Take no new requests and end; `now`: without waiting for those that are being served."""
        if self._serving is not None:
            self._serving.stop(now=now)

    def _reload_on_hangup(self) -> None:
        if self._tokens is not None and sys.platform != "win32":
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload, self._tokens)

    def _reload(self, tokens: Tokens) -> None:
        try:
            tokens.load()
        except ConfigError as error:
            logger.error("%s; the tokens that were known stay", error)  # noqa: TRY400 - a user's mistake
        else:
            logger.warning("token file read again: %d tokens", len(tokens))


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen at all addresses of a host; OSError where one cannot be had."""
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            made = socket.socket(family, kind, protocol)
            sockets.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((address[0], sockets[0].getsockname()[1] if len(sockets) > 1 else port))
            made.listen(2048)
            made.setblocking(False)
    except OSError:
        for one in sockets:
            one.close()
        raise
    return sockets
