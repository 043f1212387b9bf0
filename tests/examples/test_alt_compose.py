"""compose/mq.yaml, as far as it can be told without an engine; `make lint` checks its form."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from examples.alt.environment import SettingError
from examples.alt.settings import BackendSettings, ConsumerSettings
from streamtask.hub import settings as hub_settings
from tests.servers import StartServer

ROOT = Path(__file__).parents[2]
SERVICES = {
    "pre-processor": "examples/alt/pre_processor.py",
    "search-indexer": "examples/alt/search_indexer.py",
    "tag-generator": "examples/alt/tag_generator.py",
}
GRACE = 30  # seconds, the default of `streamtask worker --grace`, and what the hub gives to requests


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose/mq.yaml").read_text())
    assert loaded["networks"]["events"] == {"internal": True}
    found: dict[str, Any] = loaded["services"]
    return found


def environment(service: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service["environment"].items()}


def test_redis_is_one_whose_trimming_works(services: dict[str, Any]) -> None:
    found = re.fullmatch(r"redis:(\d+)\.(\d+)\.(\d+)-alpine", services["redis-streams"]["image"])
    assert found, "the version is pinned"
    assert tuple(map(int, found.groups())) >= (8, 4, 4), "8.4.0 to 8.4.3 trim nothing with ACKED"


def test_redis_takes_these_settings_keeps_its_data_and_is_reached_by_the_services_only(
    services: dict[str, Any], own_server: StartServer
) -> None:
    given = services["redis-streams"]
    program, *flags = given["command"]
    assert program == "redis-server"
    options = dict(flag.removeprefix("--").split(" ", 1) for flag in flags)
    server = own_server("redis-8.6", **{name.replace("-", "_"): value for name, value in options.items()})
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        config = client.config_get("*")
    assert (config["maxmemory-policy"], config["appendonly"]) == ("noeviction", "yes")
    assert (int(config["maxmemory"]), given["mem_limit"]) == (2**30, "2g")
    assert "ports" not in given
    assert given["networks"] == ["events"]
    assert any(volume.endswith(":/data") for volume in given["volumes"])


def test_every_service_has_limits_and_a_check_and_comes_back(services: dict[str, Any]) -> None:
    assert set(services) == {"redis-streams", "mq-hub", "backend", *SERVICES}
    for name, service in services.items():
        assert {"cpus", "mem_limit", "pids_limit", "healthcheck"} <= set(service), name
        if name != "backend":  # which is a command
            assert service["restart"] == "unless-stopped", name
            assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"]), name


def test_the_hub_is_reached_from_this_machine_only_and_its_environment_is_right(services: dict[str, Any]) -> None:
    hub = services["mq-hub"]
    assert hub["ports"] == ["127.0.0.1:9500:9500"]
    read = hub_settings.read(environment(hub))
    assert (read.port, read.pool_size, read.max_length, read.hard_max_length) == (9500, 50, 10_000, 50_000)
    assert hub["command"][0] == "hub"
    check = hub["healthcheck"]["test"]
    assert check[:2] == ["CMD", "python"]
    compile(check[-1], "healthcheck", "exec")
    assert "http://127.0.0.1:9500/health" in check[-1]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_started_by_its_own_worker_with_an_environment_that_is_right(
    services: dict[str, Any], name: str
) -> None:
    service = services[name]
    command, path, *_ = service["command"]
    assert (command, path) == ("worker", SERVICES[name])
    assert find_spec(path.removesuffix(".py").replace("/", ".")) is not None
    settings = ConsumerSettings.read(environment(service), name)
    assert (settings.group, settings.unused) == (f"{name}-group", ())
    assert settings.redis_url == environment(services["mq-hub"])["REDIS_URL"]
    assert service["healthcheck"]["test"] == ["CMD", "streamtask", "check", "live"]
    assert "/tmp" in service["tmpfs"]  # where the heartbeat is: / is read-only
    assert int(service["stop_grace_period"].removesuffix("s")) > GRACE + 5


def test_the_backend_publishes_to_that_hub_and_would_refuse_to_be_silent(services: dict[str, Any]) -> None:
    given = environment(services["backend"])
    settings = BackendSettings.read(given)
    assert (settings.mqhub_connect_url, settings.direct) == ("http://mq-hub:9500", "off")
    with pytest.raises(SettingError, match="nobody would notice"):
        BackendSettings.read(given | {"MQHUB_ENABLED": "false"})
    assert {str(settings.database)} == {environment(services[name])["ALT_DATABASE"] for name in SERVICES}


def test_the_image_has_what_the_hub_and_the_example_need() -> None:
    assert "'.[examples,hub]'" in (ROOT / "Dockerfile").read_text()
