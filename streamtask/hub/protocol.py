"""uvicorn's protocol with what it lacks: times for headers and body, a limit for headers, names of client certificates.

A request that waits for an answer is never cut: only what the client has yet to send has a limit.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streamtask.hub.web import PEER

#: Seconds for the headers of a request, and for its body after them; bytes of headers.
HEADER_TIME, BODY_TIME, HEADER_BYTES = 10.0, 30.0, 1 << 20
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class Protocol(HttpToolsProtocol):
    """One connection."""

    _timer: asyncio.TimerHandle | None = None
    _peer: tuple[str, ...] | None = None
    _header_bytes = 0
    #: Is a request's head yet to come, or to be completed?
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Somebody connected."""
        super().connection_made(transport)
        self._peer = peer_names(transport)
        self._within(HEADER_TIME)

    def connection_lost(self, exc: Exception | None) -> None:
        """They went."""
        self._within(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._in_head:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._header_bytes > HEADER_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request began, maybe while an earlier one is being served."""
        super().on_message_begin()
        if self._timer is None:
            self._within(HEADER_TIME)
        if self._peer is not None:
            self.scope[PEER] = self._peer  # type: ignore[literal-required]  # a key of ours

    def on_headers_complete(self) -> None:
        """Its head is here."""
        self._in_head, self._header_bytes = False, 0
        self._within(BODY_TIME)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is here."""
        self._in_head = True
        self._within(None)
        super().on_message_complete()

    def _within(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        """What the client should have sent has not come."""
        self._timer = None
        cycle: Any = self.cycle
        if self.pipeline or (cycle is not None and not cycle.more_body and not cycle.response_complete):
            self._within(BODY_TIME)  # an earlier request is still being served, and reading may rest meanwhile
        elif not self.transport.is_closing():
            self.transport.close()


def peer_names(transport: asyncio.BaseTransport) -> tuple[str, ...] | None:
    """The names in the client's certificate, which the handshake has verified: common name and DNS names."""
    tls: Any = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert() if tls is not None else None
    if not certificate:
        return None
    common = [value for rdn in certificate.get("subject", ()) for key, value in rdn if key == "commonName"]
    return (*common, *(value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"))
