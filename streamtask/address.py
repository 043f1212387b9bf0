"""Where Redis is, and who said so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from streamtask.errors import ConfigError

#: Where streamtask looks when nothing names a server.
DEFAULT_URL = "redis://localhost:6379/0"
SCHEMES = ("redis", "rediss", "unix", "embedded")


@dataclass(frozen=True, slots=True)
class Address:
    """A server's URL; `source` names who said so, "default" when nobody did."""

    url: str
    source: str


def locate(explicit: str | None, setting: str | None, environ: Mapping[str, str]) -> Address:
    """The server's address: the argument, the setting `url`, REDIS_URL, REDIS_HOST and REDIS_PORT, or localhost.

    Raises ConfigError that names the source of a URL that cannot be one.
    """
    if explicit:
        found = Address(explicit, "the argument")
    elif setting:
        by_environment = environ.get("STREAMTASK_URL") == setting
        found = Address(setting, "STREAMTASK_URL" if by_environment else "the setting `url`")
    elif environ.get("REDIS_URL"):
        found = Address(environ["REDIS_URL"], "REDIS_URL")
    elif environ.get("REDIS_HOST"):
        found = Address(_host_url(environ["REDIS_HOST"], environ.get("REDIS_PORT") or "6379"), "REDIS_HOST")
    else:
        return Address(DEFAULT_URL, "default")
    scheme, mark, _ = found.url.partition("://")
    if not mark or scheme not in SCHEMES:
        raise ConfigError(
            f"{found.source} is {safe_url(found.url)[:80]!r}, which is no Redis URL; "
            "write redis://host:6379/0, unix:///path or embedded://"
        )
    path = found.url.partition("://")[2].rpartition("@")[2].partition("?")[0].partition("/")[2]
    if scheme in ("redis", "rediss") and path and not path.isdigit():  # redis-py would silently take database 0
        raise ConfigError(
            f"{found.source} is no Redis URL: {path!r} is no database's number; write redis://host:6379/0"
        )
    return found


def safe_url(url: str) -> str:
    """The URL without its password, for texts."""
    # Rather too much is hidden than too little: a password may hold an @ or a / that nobody escaped.
    hidden = re.sub(r"^([a-z]*://[^:@/]*):.*@", r"\1:***@", url)
    return re.sub(r"(password=)[^&]*", r"\1***", hidden)


def _host_url(host: str, port: str) -> str:
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"REDIS_PORT is {port!r}; it must be a port number")
    return f"redis://{host}:{port}/0"
