"""The HTTP server below the hub: uvicorn, or hypercorn for gRPC. Signals are the command's, logs go to ours."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Generator, MutableMapping, Sequence
from typing import Any

import uvicorn

from streamtask.errors import ConfigError
from streamtask.hub.protocol import Protocol
from streamtask.hub.settings import Settings, Tls
from streamtask.hub.web import Application, Receive, Scope, Send

#: Seconds: for requests that are being served at a stop, and for an idle connection.
GRACE, IDLE = 30, 120
#: What is still read of the request behind an answer that came early: seconds, and bytes.
REST_TIME, REST_BYTES = 5.0, 1 << 20


class Serving(ABC):
    """A server that has not begun yet."""

    @abstractmethod
    async def run(self) -> None:
        """Serve until `stop`."""

    @abstractmethod
    def stop(self, *, now: bool) -> None:
        """Take no new requests; `now`: wait for none."""


def serving(web: Application, settings: Settings, sockets: Sequence[socket.socket]) -> Serving:
    """The server that the settings ask for."""
    if settings.server == "hypercorn":
        return _Hypercorn(web, settings, sockets)
    return _Uvicorn(web, settings, sockets)


class _Uvicorn(Serving):
    def __init__(self, web: Application, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what clients do wrong is in the request log
        tls: dict[str, Any] = {}
        if settings.tls is not None:
            tls = {
                "ssl_certfile": settings.tls.cert,
                "ssl_keyfile": settings.tls.key,
                "ssl_ca_certs": settings.tls.client_ca,
                "ssl_cert_reqs": _asks(settings.tls),
            }
        config = uvicorn.Config(
            web,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE,
            timeout_graceful_shutdown=GRACE,
            **tls,
        )
        self._server, self._sockets = _Server(config), list(sockets)

    async def run(self) -> None:
        await self._server.serve(sockets=self._sockets)

    def stop(self, *, now: bool) -> None:
        self._server.should_exit = True
        self._server.force_exit = now


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave them to the command."""
        yield


def _asks(tls: Tls) -> ssl.VerifyMode:
    """Where names are looked at, who has no certificate is told so in an answer; /health asks for none."""
    if tls.client_ca is None:
        return ssl.CERT_NONE
    return ssl.CERT_OPTIONAL if tls.peers else ssl.CERT_REQUIRED


class _Hypercorn(Serving):
    def __init__(self, web: Application, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        try:
            hypercorn = importlib.import_module("hypercorn")
            self._serve = importlib.import_module("hypercorn.asyncio").serve
        except ModuleNotFoundError:
            raise ConfigError(
                "--server hypercorn needs hypercorn: pip install 'streamtask[hub-grpc]', or leave the option out"
            ) from None
        config = hypercorn.Config()
        config.bind = [f"fd://{one.fileno()}" for one in sockets]
        config.include_server_header = False
        config.graceful_timeout, config.keep_alive_timeout = float(GRACE), float(IDLE)
        config.keep_alive_max_requests = 1_000_000_000  # gRPC clients have one connection for all their calls
        config.errorlog = None
        if settings.tls is not None:
            config.certfile, config.keyfile = str(settings.tls.cert), str(settings.tls.key)
        self._web, self._config, self._sockets = _Whole(web), config, sockets
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        self._task = asyncio.create_task(
            self._serve(self._web, self._config, shutdown_trigger=self._stopping.wait, mode="asgi")
        )
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def stop(self, *, now: bool) -> None:
        self._stopping.set()
        if now and self._task is not None:
            self._task.cancel()


class _Whole:
    """Reads a request to its end before the answer ends: hypercorn closes a connection of HTTP/1.1 after an early
    answer, and a client that was still sending would see nothing but that.
    """

    def __init__(self, web: Application) -> None:
        self._web = web

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http" or scope["http_version"] == "2":
            return await self._web(scope, receive, send)
        more = True

        async def reading() -> MutableMapping[str, Any]:
            nonlocal more
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def sending(message: MutableMapping[str, Any]) -> None:
            if more and message["type"] == "http.response.body" and not message.get("more_body"):
                await rest()
            await send(message)

        async def rest() -> None:
            left = REST_BYTES
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REST_TIME):
                    while more and left > 0:
                        left -= len((await reading()).get("body", b""))

        return await self._web(scope, reading, sending)
