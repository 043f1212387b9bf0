"""What a hub is told: its environment, in mq-hub's names, and flags. What is no number is an error, and never 0."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from streamtask.errors import ConfigError
from streamtask.hub.names import KNOWN
from streamtask.hub.publisher import Limits
from streamtask.topic import TopicLimits

#: Name, what stands for it here, the least that it may be.
_NUMBERS = (
    ("CONNECT_PORT", "port", 0),
    ("REDIS_POOL_SIZE", "pool_size", 1),
    ("MAX_BATCH_SIZE", "max_batch", 1),
    ("STREAM_MAX_LEN", "max_length", 0),
    ("STREAM_HARD_MAX_LEN", "hard_max_length", 0),
    ("STREAM_TRIM_INTERVAL_SECONDS", "trim_interval", 1),
)


@dataclass(frozen=True, slots=True)
class Environment:
    """The numbers of the environment. `max_length`, `hard_max_length`: entries of a stream, 0 for no limit."""

    port: int = 9500
    pool_size: int = 10
    max_batch: int = 1000
    max_length: int = 10_000
    hard_max_length: int = 50_000
    trim_interval: int = 60


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM; the authority that has signed clients' certificates; names in them that are let in."""

    cert: Path
    key: Path
    client_ca: Path | None = None
    peers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them. Sizes in bytes; `known` are streams, as globs."""

    environment: Environment = field(default_factory=Environment)
    host: str = "127.0.0.1"
    server: Literal["uvicorn", "hypercorn"] = "uvicorn"
    tokens: Path | None = None
    tls: Tls | None = None
    insecure: bool = False
    known: tuple[str, ...] = KNOWN
    deny_unknown: bool = False
    max_body: int = 32 << 20
    max_event: int = 1 << 20
    max_waits: int = 1000

    @property
    def limits(self) -> Limits:
        """Of a request."""
        return Limits(self.environment.max_batch, self.max_event)

    @property
    def stream_limits(self) -> TopicLimits:
        """Of a stream: publishing must go on, so at the hard limit the oldest entries go."""
        return TopicLimits(self.environment.max_length, self.environment.hard_max_length, "drop")

    @property
    def guarded(self) -> bool:
        """Must callers say who they are?"""
        return self.tokens is not None or (self.tls is not None and self.tls.client_ca is not None)

    def check(self) -> None:
        """Raise ConfigError for a hub that the whole network could use without asking, and for what does not fit."""
        if not self.guarded and not self.insecure and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} is not this machine alone, and nobody has to say who they are: give --token-file "
                f"or --tls-client-ca, or --insecure where the network itself keeps others away"
            )
        if self.tls is not None and self.tls.client_ca is not None and self.server == "hypercorn":
            raise ConfigError("--tls-client-ca needs --server uvicorn: hypercorn does not say whose certificate it saw")


def read(environ: Mapping[str, str]) -> Environment:
    """The environment's part; ConfigError names a variable that cannot be used, its value and the fix."""
    given = {variable: environ[variable] for variable, _, _ in _NUMBERS if environ.get(variable)}
    found = Environment(**{name: _number(of, given[of], least) for of, name, least in _NUMBERS if of in given})
    if found.port > 65_535:
        raise ConfigError(f"CONNECT_PORT={found.port}: a port is at most 65535")
    if 0 < found.hard_max_length < found.max_length:
        raise ConfigError(
            f"STREAM_HARD_MAX_LEN={found.hard_max_length} is less than STREAM_MAX_LEN={found.max_length}; set it to "
            f"more, or to 0 for no hard limit"
        )
    return found


def is_loopback(host: str) -> bool:
    """Does a host's name lead to this machine only? ConfigError for one that leads nowhere."""
    try:
        found = {str(row[4][0]) for row in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise ConfigError(f"--host {host!r} is no address of this machine: {error}") from None
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)


def _number(variable: str, text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{variable}={text!r} is no number; write digits only, or unset it for the default")
    if int(text) < least:
        raise ConfigError(f"{variable}={text} is too small: at least {least}")
    return int(text)
