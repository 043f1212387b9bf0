"""The hub's process: connections, application and server."""

from __future__ import annotations

import uvicorn

from streamtask.hub.mqhub import MQHub
from streamtask.hub.rpc import Application
from streamtask.hub.settings import Settings
from streamtask.hub.streams import Streams


async def serve(url: str, settings: Settings, host: str) -> int:
    """Serve until a signal; returns the exit code."""
    streams = Streams(url, settings.pool_size)
    await streams.ping()
    app = Application(MQHub(streams, settings.max_batch).handlers(), 32 << 20)
    config = uvicorn.Config(
        app, host=host, port=settings.port, log_config=None, server_header=False, access_log=False, lifespan="off"
    )
    await uvicorn.Server(config).serve()
    await streams.close()
    return 0
