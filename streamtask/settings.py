"""Settings and the address of Redis: call > app code > environment `STREAMTASK_*` > `[tool.streamtask]` in pyproject > defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
)

from streamtask.duration import Seconds
from streamtask.errors import ConfigError
from streamtask.policy import UNKNOWN_GRACE

#: Where streamtask looks when nothing names a server.
DEFAULT_URL = "redis://localhost:6379/0"


class Settings(BaseSettings):
    """What holds for a whole app. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix="STREAMTASK_", pyproject_toml_table_header=("tool", "streamtask"), extra="ignore"
    )

    url: str | None = Field(default=None, description="address of Redis: redis://, rediss://, unix:// or embedded://")
    send_timeout: Seconds = Field(default=2.0, description="how long delay() waits for Redis")
    max_message_bytes: Annotated[int, Field(ge=1024)] = Field(default=256 * 1024, description="largest encoded message")
    unknown_grace: Seconds = Field(
        default=UNKNOWN_GRACE, description="how long a message that no worker knows is offered again"
    )
    timezone: str | None = Field(default=None, description="zone of Cron schedules that name none")
    allow_eviction: bool = Field(default=False, description="start although Redis may evict keys")

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError(f"{value!r} is no time zone; use a name such as Asia/Tokyo or UTC") from None
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Code, then the environment, then pyproject.toml; no .env files."""
        return init_settings, env_settings, PyprojectTomlConfigSettingsSource(settings_cls)


def load() -> Settings:
    """The settings of this process; raises ConfigError that names the setting, its value and where it stands."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors()]
        raise ConfigError("bad setting (STREAMTASK_* or [tool.streamtask]): " + "; ".join(lines)) from None


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is, and who said so."""

    url: str
    source: str


def address(explicit: str | None, settings: Settings) -> Address:
    """The server's address: the argument, STREAMTASK_URL or pyproject, REDIS_URL, REDIS_HOST and REDIS_PORT, or localhost."""
    if explicit:
        found = Address(explicit, "the argument")
    elif settings.url:
        source = "STREAMTASK_URL" if os.environ.get("STREAMTASK_URL") else "[tool.streamtask] url"
        found = Address(settings.url, source)
    elif os.environ.get("REDIS_URL"):
        found = Address(os.environ["REDIS_URL"], "REDIS_URL")
    elif os.environ.get("REDIS_HOST"):
        found = Address(
            _host_url(os.environ["REDIS_HOST"], os.environ.get("REDIS_PORT", "6379")), "REDIS_HOST and REDIS_PORT"
        )
    else:
        return Address(DEFAULT_URL, "default")
    scheme = found.url.partition("://")[0]
    if scheme not in ("redis", "rediss", "unix", "embedded"):
        shown = found.url.rpartition("@")[2][:80]
        raise ConfigError(
            f"{found.source} is {shown!r}, which is no Redis URL; write redis://host:6379/0 or embedded://"
        )
    return found


def _host_url(host: str, port: str) -> str:
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"REDIS_PORT is {port!r}; it must be a port number")
    return f"redis://{host}:{port}/0"
