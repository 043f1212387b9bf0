"""gRPC, which needs HTTP/2 and so hypercorn; the rest is there as under uvicorn."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from connectrpc.client import ConnectClient
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.protocol import ProtocolType
from pyqwest import Client, HTTPTransport, HTTPVersion

from tests.hub.kit import EVENT, Hub
from tests.hub.wire import method
from tests.servers import Server


async def test_grpc(hub_server: Server, hubs: Callable[..., Hub]) -> None:
    hub = hubs(hub_server.url, "--server", "hypercorn")
    hub.redis.delete("alt:events:articles")
    publish = method("Publish")
    http = Client(HTTPTransport(http_version=HTTPVersion.HTTP2))
    async with ConnectClient(hub.address, protocol=ProtocolType.GRPC, http_client=http) as client:
        event = publish.input.from_json(json.dumps({"stream": "alt:events:articles", "event": EVENT}))
        assert (await client.execute_unary(request=event, method=publish)).success
        with pytest.raises(ConnectError, match="event is required") as caught:
            await client.execute_unary(request=publish.input(stream="x"), method=publish)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert hub.redis.xlen("alt:events:articles") == 1
    answer = hub.publish()
    assert answer.status_code == 200
    assert "server" not in answer.headers
    assert hub.http.get("/health").status_code == 200
    assert hub.stop() == 0
