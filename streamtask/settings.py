"""Settings: call > app code > environment `STREAMTASK_*` > `[tool.streamtask]` in pyproject.toml > defaults."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
)

from streamtask.duration import seconds
from streamtask.errors import ConfigError
from streamtask.policy import UNKNOWN_GRACE

Seconds = Annotated[float, BeforeValidator(seconds)]


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
