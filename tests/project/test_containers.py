"""What runs in containers, as far as it can be told without an engine; `make lint` checks the files' form."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from tests.servers import StartServer

ROOT = Path(__file__).resolve().parents[2]
GRACE = 30  # seconds, the default of `streamtask worker --grace`


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose/compose.yaml").read_text())
    return loaded


def test_redis_runs_with_the_shipped_settings(own_server: StartServer) -> None:
    """The real server takes compose/redis.conf and does what its comments say."""
    server = own_server("redis-8.6", include=str(ROOT / "compose/redis.conf"))
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        config = client.config_get("*")
    assert (config["appendonly"], config["appendfsync"], config["save"]) == ("yes", "everysec", "")
    assert config["maxmemory-policy"] == "noeviction"
    assert int(config["maxmemory"]) == 512 * 2**20
    assert int(config["io-threads"]) > 1


def test_every_service_has_limits_and_comes_back(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"redis", "worker", "beat"}
    for name, service in compose["services"].items():
        assert service["restart"] == "unless-stopped", name
        assert {"cpus", "mem_limit", "pids_limit", "healthcheck", "stop_grace_period"} <= set(service), name


def test_redis_is_reached_by_the_services_only(compose: dict[str, Any]) -> None:
    redis_service = compose["services"]["redis"]
    assert re.fullmatch(r"redis:8\.6(\.\d+)?(-\w+)?", redis_service["image"])
    assert "ports" not in redis_service
    assert [compose["networks"][network] for network in redis_service["networks"]] == [{"internal": True}]
    assert any(volume.endswith(":/data") for volume in redis_service["volumes"]), "the append-only file is kept"


def test_a_worker_may_finish_before_it_is_killed(compose: dict[str, Any]) -> None:
    period = compose["services"]["worker"]["stop_grace_period"]
    assert int(period.removesuffix("s")) > GRACE + 5


def test_worker_and_beat_are_one_image(compose: dict[str, Any]) -> None:
    worker, beat = compose["services"]["worker"], compose["services"]["beat"]
    assert worker["image"] == beat["image"]
    assert (worker["command"], beat["command"]) == (["worker"], ["beat"])
    assert worker["environment"]["STREAMTASK_URL"] == beat["environment"]["STREAMTASK_URL"]


def test_the_app_of_the_containers_is_in_the_image() -> None:
    (path,) = re.findall(r"^STREAMTASK_APP=(\S+)$", (ROOT / "compose/.env").read_text(), re.MULTILINE)
    module, _, attribute = path.partition(":")
    assert module.startswith("examples."), "the Dockerfile copies examples/ and nothing else"
    assert hasattr(import_module(module), attribute)


def test_the_image_is_not_root_and_its_base_is_pinned() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases), bases
    user = [line for line in lines if line.startswith("USER ")][-1]
    assert int(re.split(r"[ :]", user)[1]) > 0


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from=" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
                assert source in sent, f"{source} is not let through by .dockerignore"


def test_every_probe_is_a_check_that_does_not_restart_for_a_redis_that_is_away(compose: dict[str, Any]) -> None:
    live = ["streamtask", "check", "live"]
    for name in ("worker", "beat"):
        assert compose["services"][name]["healthcheck"]["test"] == ["CMD", *live], name
        assert "/tmp" in compose["services"][name]["tmpfs"]  # where the heartbeat is: / is read-only
    (image,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert yaml.safe_load(image) == live
    (page,) = re.findall(r"```yaml\n(apiVersion.*?)```", (ROOT / "docs/how-to/deploy.md").read_text(), re.DOTALL)
    pod = yaml.safe_load(page)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] >= GRACE + 15
    assert container["startupProbe"]["exec"]["command"] == live
    assert container["livenessProbe"]["exec"]["command"][:3] == live
    assert container["readinessProbe"]["exec"]["command"] == ["streamtask", "check", "ready"]
