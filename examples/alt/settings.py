"""What the environment says: the variables of mq-hub's producers and consumers by their names, and a few of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from examples.alt.environment import SettingError, address, name, number, one_of, seconds, switch, value
from examples.alt.events import ARTICLES

#: Where a backend that tells nobody would be an outage, and not a developer's choice.
PRODUCTION_LIKE = ("production", "staging")
_ENVIRONMENTS = ("development", "test", *PRODUCTION_LIKE)

Direct = Literal["on", "fallback", "off"]
_DIRECT = one_of("on", "fallback", "off")
_REDIS = address("redis", "rediss", "unix", "embedded")


def database_path(env: Mapping[str, str]) -> Path:
    """The SQLite file of backend and services."""
    return value(env, "ALT_DATABASE", Path, "alt.sqlite3")


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """The producer's: over the hub, by direct calls, or both. The README's table explains each variable."""

    app_env: str
    mqhub_enabled: bool
    mqhub_connect_url: str
    mqhub_token_file: Path | None
    direct: Direct
    queue_size: int
    database: Path
    user_id: str

    @classmethod
    def read(cls, env: Mapping[str, str]) -> BackendSettings:
        """The settings of this environment. Raises SettingError, also for a backend that would do nothing."""
        enabled = value(env, "MQHUB_ENABLED", switch, "false")
        token_file = env.get("MQHUB_TOKEN_FILE", "")
        made = cls(
            app_env=value(env, "APP_ENV", one_of(*_ENVIRONMENTS), "development"),
            mqhub_enabled=enabled,
            mqhub_connect_url=value(env, "MQHUB_CONNECT_URL", address("http", "https"), "http://mq-hub:9500"),
            mqhub_token_file=Path(token_file) if token_file else None,
            direct=cast("Direct", value(env, "ALT_DIRECT", _DIRECT, "off" if enabled else "on")),
            queue_size=value(env, "ALT_QUEUE_SIZE", number(1), "1000"),
            database=database_path(env),
            user_id=value(env, "ALT_USER_ID", name, "reader"),
        )
        made.refuse_silence()
        return made

    def refuse_silence(self) -> None:
        """Raise SettingError where events would go nowhere: that was an incident once, and nobody saw it."""
        if not self.mqhub_enabled and self.app_env in PRODUCTION_LIKE:
            raise SettingError(
                f"MQHUB_ENABLED is false, and APP_ENV is {self.app_env}: no event would reach the hub, and nobody "
                f"would notice. Set MQHUB_ENABLED=true and MQHUB_CONNECT_URL"
            )
        if not self.mqhub_enabled and self.direct != "on":
            raise SettingError(
                f"MQHUB_ENABLED is false, and ALT_DIRECT is {self.direct}: no article would be worked on. "
                f"Set MQHUB_ENABLED=true, or ALT_DIRECT=on"
            )

    def report(self) -> list[str]:
        """What is wired to what, a line each."""
        hub = f"to the hub at {self.mqhub_connect_url}" if self.mqhub_enabled else "OFF (MQHUB_ENABLED=false)"
        calls = {"on": "ON", "fallback": "only for what the hub does not take", "off": "OFF"}[self.direct]
        return [
            f"publishes     {hub}",
            f"direct calls  {calls} (ALT_DIRECT={self.direct})",
            f"database      {self.database}",
        ]


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """A service's. What streamtask does by itself is read all the same, and named in `unused`."""

    service: str
    redis_url: str | None  # None: STREAMTASK_URL and the other places of streamtask
    group: str
    stream_key: str
    batch_size: int
    max_deliveries: int
    tags_group: str
    database: Path
    unused: tuple[str, ...]

    @classmethod
    def read(cls, env: Mapping[str, str], service: str) -> ConsumerSettings:
        """The settings of this service. Raises SettingError, also when it is switched off: then do not start it."""
        if not value(env, "CONSUMER_ENABLED", switch, "false"):
            raise SettingError(
                f"CONSUMER_ENABLED is false, so {service} would consume nothing, and its events would wait unseen. "
                f"Set CONSUMER_ENABLED=true, or do not start this worker"
            )
        redis_url = value(env, "REDIS_STREAMS_URL", lambda text: _REDIS(text) if text else None, "")
        return cls(
            service=service,
            redis_url=redis_url,
            group=value(env, "CONSUMER_GROUP", name, f"{service}-group"),
            stream_key=value(env, ("CONSUMER_STREAM_KEY", "STREAM_KEY"), str, ARTICLES),
            batch_size=value(env, "CONSUMER_BATCH_SIZE", number(1, 1000), "10"),
            max_deliveries=value(env, ("CONSUMER_MAX_DELIVERIES", "CONSUMER_MAX_DELIVERY_COUNT"), number(1, 1000), "5"),
            tags_group=value(env, "TAGS_CONSUMER_GROUP", name, f"{service}-tags-group"),
            database=database_path(env),
            unused=tuple(_unused(env)),
        )


def _unused(env: Mapping[str, str]) -> list[str]:
    """The variables that are set, are right, and change nothing here, with what stands in their place."""
    told = []
    for variable, parse, instead in (
        ("CONSUMER_BLOCK_TIMEOUT_MS", number(0), "the worker wakes by itself"),
        ("CONSUMER_DLQ_STREAM", str, "each group has dead letters of its own: {<topic>}:<group>:dead"),
        ("CONSUMER_DLQ_MAX_LEN", number(0), "dead letters are kept until they are replayed or purged"),
        ("CONSUMER_REAPER_INTERVAL", seconds, "each delivery is counted as it happens"),
        ("CONSUMER_RECLAIM_INTERVAL_SECONDS", number(1), "a dead worker's events move when its lease ends"),
    ):
        if env.get(variable):
            value(env, variable, parse, "")
            told.append(f"{variable} changes nothing here: {instead}")
    for variable, parse, option in (
        ("CONSUMER_NAME", name, "NAME"),
        ("TAGS_CONSUMER_NAME", name, "NAME"),
        ("CONSUMER_CLAIM_IDLE_TIME_MS", number(100), "LEASE"),
    ):
        if env.get(variable) and not env.get(f"STREAMTASK_WORKER_{option}"):
            value(env, variable, parse, "")
            told.append(f"{variable} is read by the command line: set STREAMTASK_WORKER_{option} (--{option.lower()})")
    return told
