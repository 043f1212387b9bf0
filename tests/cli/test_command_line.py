"""The command line itself: help, global options, variables, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from streamtask import __version__
from streamtask.cli import COMMANDS
from tests.cli.kit import environment, invoke, ok, ok_json

NOWHERE = "redis://127.0.0.1:1/0"
MODULES = "import sys; from click.testing import CliRunner; from streamtask.cli import cli; "


def loaded_by(*args: str) -> set[str]:
    """The modules that a command line loads, in a process of its own."""
    code = f"{MODULES}CliRunner().invoke(cli, {list(args)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_help_names_every_command_and_loads_none() -> None:
    help_text = ok(NOWHERE, "--help")
    for name in COMMANDS:
        assert f"\n  {name} " in help_text
    modules = loaded_by("--help")
    assert not modules & {"redis", "uvloop", "streamtask.worker", "streamtask.cli.worker", "croniter"}


@pytest.mark.parametrize(
    "args", [("inspect",), ("doctor",), ("dead", "list"), ("show", "x"), ("schedule", "list")], ids=" ".join
)
def test_commands_that_only_read_load_neither_worker_nor_uvloop(args: tuple[str, ...]) -> None:
    modules = loaded_by(*args, "--url", NOWHERE, "--namespace", "shop")
    assert "streamtask.inspector" in modules
    assert not modules & {"uvloop", "streamtask.worker", "streamtask.beat"}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_teaches_by_examples(name: str) -> None:
    help_text = ok(NOWHERE, name, "--help")
    assert "Examples:" in help_text
    assert f"streamtask {name}" in help_text
    assert "--namespace" in help_text


def test_version() -> None:
    assert ok(NOWHERE, "--version") == f"streamtask {__version__}\n"


def test_a_command_that_is_none_is_wrong_usage() -> None:
    result = invoke(NOWHERE, "wroker")
    assert result.exit_code == 2
    assert "wroker" in result.output


def test_global_options_are_taken_before_and_after_the_command_and_the_later_one_wins() -> None:
    assert ok_json(NOWHERE, "--namespace", "a", "config")["settings"]["namespace"]["value"] == "a"
    assert ok_json(NOWHERE, "config", "--namespace", "a")["settings"]["namespace"]["value"] == "a"
    assert ok_json(NOWHERE, "--namespace", "a", "config", "--namespace", "b")["settings"]["namespace"]["value"] == "b"


def test_each_option_has_a_variable_and_what_is_typed_wins() -> None:
    settings = ok_json(NOWHERE, "config", STREAMTASK_LOG_LEVEL="warning", STREAMTASK_WORKER_CONCURRENCY="7")["settings"]
    assert settings["log_level"] == {"value": "warning", "source": "STREAMTASK_LOG_LEVEL"}
    assert settings["worker --concurrency"] == {"value": "7", "source": "STREAMTASK_WORKER_CONCURRENCY"}
    typed = ok_json(NOWHERE, "--log-level", "error", "config", STREAMTASK_CONFIG_LOG_LEVEL="debug")["settings"]
    assert typed["log_level"] == {"value": "error", "source": "--log-level"}
    assert ok(NOWHERE, "config", STREAMTASK_CONFIG_SOURCES="1").startswith("SETTING ")


def test_a_variable_that_nothing_reads_is_named_with_the_one_that_was_meant() -> None:
    result = invoke(NOWHERE, "config", STREAMTASK_WORKER_CONCURENCY="7")
    assert "did you mean STREAMTASK_WORKER_CONCURRENCY?" in result.stderr


def test_config_says_where_each_value_comes_from_and_hides_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text('[tool.streamtask]\napp = "shop:app"\nsend_timeout = "5s"\n')
    result = invoke("", "config", "--format", "json", REDIS_URL="redis://:secret@cache/0", STREAMTASK_TIMEZONE="UTC")
    settings = json.loads(result.stdout)["settings"]
    assert settings["url"] == {"value": "redis://:***@cache/0", "source": "REDIS_URL"}
    assert settings["app"] == {"value": "shop:app", "source": "pyproject.toml"}
    assert settings["send_timeout"] == {"value": "5.0", "source": "pyproject.toml"}
    assert settings["timezone"] == {"value": "UTC", "source": "STREAMTASK_TIMEZONE"}
    assert settings["max_message_bytes"]["source"] == "default"
    assert "secret" not in result.output


def test_no_redis_is_exit_3_and_says_what_to_do() -> None:
    for args in (("inspect",), ("dead", "list"), ("show", "x"), ("doctor",), ("schedule", "list")):
        result = invoke("", *args, "--url", NOWHERE)
        assert result.exit_code == 3, result.output
        assert "STREAMTASK_URL" in result.output
        assert "Traceback" not in result.output


def test_a_password_is_never_printed() -> None:
    for args in (("inspect",), ("doctor",), ("config",)):
        result = invoke("", *args, "--url", "redis://:hunter2@127.0.0.1:1/0")
        assert "hunter2" not in result.output


def test_a_url_that_is_none_is_exit_2() -> None:
    result = invoke("http://localhost", "inspect")
    assert result.exit_code == 2
    assert "STREAMTASK_URL is 'http://localhost', which is no Redis URL" in result.output


def test_a_bad_setting_is_exit_2_and_named() -> None:
    result = invoke(NOWHERE, "inspect", STREAMTASK_SEND_TIMEOUT="soon")
    assert result.exit_code == 2
    assert "send_timeout" in result.output


def test_which_namespace(url: str, client: redis.Redis) -> None:
    empty = invoke(url, "inspect")
    assert empty.exit_code == 2
    assert "no app yet" in empty.output
    client.sadd("streamtask:namespaces", "shop")
    assert ok_json(url, "inspect")["namespace"] == "shop"
    client.sadd("streamtask:namespaces", "blog")
    several = invoke(url, "inspect")
    assert several.exit_code == 2
    assert "blog, shop" in several.output
    assert ok_json(url, "inspect", STREAMTASK_NAMESPACE="blog")["namespace"] == "blog"
    assert ok_json(url, "inspect", "--namespace", "shop", STREAMTASK_NAMESPACE="blog")["namespace"] == "shop"


def test_who_reads_only_the_first_lines_sees_no_error(url: str) -> None:
    command = f"{sys.executable} -m streamtask config --sources | head -1; exit ${{PIPESTATUS[0]}}"
    env = environment(STREAMTASK_URL=url)
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.linesep in done.stdout
