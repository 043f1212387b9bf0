"""What the hub is told by its environment, in mq-hub's names; a value that is no number is an error, never a zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamtask.errors import ConfigError

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
class Settings:
    """The numbers of the environment. `max_length`, `hard_max_length`: entries of a stream, 0 for no limit."""

    port: int = 9500
    pool_size: int = 10
    max_batch: int = 1000
    max_length: int = 10_000
    hard_max_length: int = 50_000
    trim_interval: int = 60


def read(environ: Mapping[str, str]) -> Settings:
    """The settings; ConfigError names a variable that cannot be used, its value and the fix."""
    found = {name: _number(variable, environ[variable], least) for variable, name, least in _NUMBERS
             if environ.get(variable)}  # fmt: skip
    settings = Settings(**found)
    if settings.port > 65_535:
        raise ConfigError(f"CONNECT_PORT={settings.port}: a port is at most 65535")
    if 0 < settings.hard_max_length < settings.max_length:
        raise ConfigError(
            f"STREAM_HARD_MAX_LEN={settings.hard_max_length} is less than STREAM_MAX_LEN={settings.max_length}; set it "
            f"to more, or to 0 for no hard limit"
        )
    return settings


def _number(variable: str, text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{variable}={text!r} is no number; write digits only, or unset it for the default")
    if int(text) < least:
        raise ConfigError(f"{variable}={text} is too small: at least {least}")
    return int(text)
