"""The environment of mq-hub's producers and consumers: strict, and never a silent nothing."""

from __future__ import annotations

import pytest

from examples.alt.environment import SettingError
from examples.alt.hub import HubClient, HubOff
from examples.alt.settings import BackendSettings, ConsumerSettings
from examples.alt.wiring import consumer_report

ON = {"CONSUMER_ENABLED": "true"}


def test_an_empty_environment_is_the_way_before_the_hub() -> None:
    settings = BackendSettings.read({})
    assert (settings.mqhub_enabled, settings.direct) == (False, "on")
    assert settings.mqhub_connect_url == "http://mq-hub:9500"
    assert "OFF (MQHUB_ENABLED=false)" in "\n".join(settings.report())
    with pytest.raises(HubOff, match="MQHUB_ENABLED is false"):
        HubClient(settings)


def test_with_the_hub_direct_calls_are_off_unless_they_are_asked_for() -> None:
    assert BackendSettings.read({"MQHUB_ENABLED": "1"}).direct == "off"
    assert BackendSettings.read({"MQHUB_ENABLED": "yes", "ALT_DIRECT": "fallback"}).direct == "fallback"


@pytest.mark.parametrize("where", ["production", "staging", "Production"])
def test_a_backend_in_production_does_not_start_without_the_hub(where: str) -> None:
    with pytest.raises(SettingError, match=r"MQHUB_ENABLED is false, and APP_ENV is (production|staging)"):
        BackendSettings.read({"APP_ENV": where})
    assert BackendSettings.read({"APP_ENV": where, "MQHUB_ENABLED": "true"}).mqhub_enabled


@pytest.mark.parametrize("direct", ["off", "fallback"])
def test_a_backend_that_would_do_nothing_does_not_start(direct: str) -> None:
    with pytest.raises(SettingError, match="no article would be worked on"):
        BackendSettings.read({"ALT_DIRECT": direct})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MQHUB_ENABLED", "ture"),
        ("MQHUB_CONNECT_URL", "mq-hub:9500"),
        ("APP_ENV", "prod?"),
        ("ALT_DIRECT", "maybe"),
        ("ALT_QUEUE_SIZE", "0"),
        ("ALT_QUEUE_SIZE", "many"),
    ],
)
def test_a_bad_value_of_the_backend_is_named_with_its_variable(name: str, text: str) -> None:
    with pytest.raises(SettingError, match=f"^{name}: "):
        BackendSettings.read({name: text})


def test_a_service_that_is_switched_off_does_not_start() -> None:
    for env in ({}, {"CONSUMER_ENABLED": "false"}, {"CONSUMER_ENABLED": "0"}):
        with pytest.raises(SettingError, match="CONSUMER_ENABLED is false, so pre-processor would consume nothing"):
            ConsumerSettings.read(env, "pre-processor")


def test_the_defaults_of_a_service_are_mq_hub_s() -> None:
    settings = ConsumerSettings.read(ON, "tag-generator")
    assert (settings.group, settings.tags_group) == ("tag-generator-group", "tag-generator-tags-group")
    assert (settings.stream_key, settings.batch_size, settings.max_deliveries) == ("alt:events:articles", 10, 5)
    assert settings.redis_url is None
    assert settings.unused == ()


def test_two_names_of_one_setting_must_agree() -> None:
    env = ON | {"STREAM_KEY": "alt:events:news", "CONSUMER_MAX_DELIVERIES": "3", "CONSUMER_MAX_DELIVERY_COUNT": "3"}
    settings = ConsumerSettings.read(env, "pre-processor")
    assert (settings.stream_key, settings.max_deliveries) == ("alt:events:news", 3)
    with pytest.raises(SettingError, match=r"CONSUMER_MAX_DELIVERIES='3' and CONSUMER_MAX_DELIVERY_COUNT='4'"):
        ConsumerSettings.read(env | {"CONSUMER_MAX_DELIVERY_COUNT": "4"}, "pre-processor")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CONSUMER_ENABLED", "tru"),
        ("CONSUMER_BATCH_SIZE", "10x"),
        ("CONSUMER_BATCH_SIZE", "-1"),
        ("CONSUMER_MAX_DELIVERIES", "0"),
        ("CONSUMER_GROUP", "a group"),
        ("CONSUMER_BLOCK_TIMEOUT_MS", "5s"),
        ("CONSUMER_CLAIM_IDLE_TIME_MS", "-1"),
        ("CONSUMER_REAPER_INTERVAL", "soon"),
    ],
)
def test_a_bad_value_of_a_service_is_named_with_its_variable(name: str, text: str) -> None:
    with pytest.raises(SettingError, match=f"^{name}: "):
        ConsumerSettings.read(ON | {name: text}, "pre-processor")


def test_an_address_that_is_refused_is_not_shown_with_its_password() -> None:
    with pytest.raises(SettingError) as refused:
        ConsumerSettings.read(ON | {"REDIS_STREAMS_URL": "http://me:secret@redis:6379"}, "pre-processor")
    assert "secret" not in str(refused.value)
    assert "redis://" in str(refused.value)


def test_what_changes_nothing_here_is_told() -> None:
    env = ON | {"CONSUMER_BLOCK_TIMEOUT_MS": "5000", "CONSUMER_DLQ_STREAM": "x", "CONSUMER_NAME": "one"}
    settings = ConsumerSettings.read(env, "pre-processor")
    told = "\n".join(consumer_report(settings, ["a topic"], ["another"]))
    assert "CONSUMER_BLOCK_TIMEOUT_MS changes nothing" in told
    assert "CONSUMER_DLQ_STREAM changes nothing" in told
    assert "set STREAMTASK_WORKER_NAME" in told
    assert not ConsumerSettings.read(
        ON | {"CONSUMER_NAME": "one", "STREAMTASK_WORKER_NAME": "one"}, "pre-processor"
    ).unused
