"""Who may do what: tokens, client certificates, and the streams and tasks that are a caller's."""

from __future__ import annotations

from collections.abc import Collection
from contextvars import ContextVar

from streamtask.hub.exchange import Exchange
from streamtask.hub.refusal import Refusal
from streamtask.hub.tokens import Caller, Tokens

#: Who asks, where nobody has to say who they are.
ANYONE = Caller("")
#: Who asks in the running task.
CALLER: ContextVar[Caller] = ContextVar("caller", default=ANYONE)


class Access:
    """The rules of one hub. `peers`: names in client certificates that are let in; empty: certificates are not asked
    for here.
    """

    def __init__(self, tokens: Tokens | None, peers: Collection[str]) -> None:
        self._tokens, self._peers = tokens, frozenset(peers)

    def admit(self, exchange: Exchange, authorization: str) -> None:
        """Find out who asks, from the header and the certificate; raises Refusal."""
        caller = ANYONE
        if self._peers:
            caller = Caller(self._peer(exchange.peer))
        if self._tokens is not None:
            scheme, _, token = authorization.partition(" ")
            found = self._tokens.find(token.strip()) if scheme.lower() == "bearer" else None
            if found is None:
                raise Refusal("unauthenticated", "a valid bearer token is required")
            caller = found
        exchange.caller = caller.name
        CALLER.set(caller)

    def _peer(self, names: tuple[str, ...] | None) -> str:
        if names is None:
            raise Refusal("unauthenticated", "a client certificate is required")
        for name in names:
            if name in self._peers:
                return name
        raise Refusal("permission_denied", "the client certificate's name is not allowed")


def need_stream(stream: str) -> None:
    """Refuse a stream that is not the caller's."""
    if not CALLER.get().may_stream(stream):
        raise Refusal("permission_denied", f"the token does not give access to the stream {stream!r}")


def need_task(task: str) -> None:
    """Refuse a task that is not the caller's."""
    if not CALLER.get().may_task(task):
        raise Refusal("permission_denied", f"the token does not give access to the task {task!r}")
