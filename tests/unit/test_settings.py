"""Settings and the address of Redis: who wins, and what is said of a value that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtask import StreamTask
from streamtask.address import DEFAULT_URL, Address, locate, safe_url
from streamtask.errors import ConfigError
from streamtask.settings import Settings, load

PYPROJECT = """
[tool.streamtask]
url = "redis://of-the-project:6379/0"
send_timeout = "250ms"
unknown_thing = 1
"""


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder and an environment that say nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "SEND_TIMEOUT", "MAX_MESSAGE_BYTES", "UNKNOWN_GRACE", "TIMEZONE", "ALLOW_EVICTION"):
        monkeypatch.delenv(f"STREAMTASK_{name}", raising=False)
    for name in ("REDIS_URL", "REDIS_HOST", "REDIS_PORT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_defaults_are_the_documented_ones() -> None:
    settings = load()
    assert (settings.url, settings.send_timeout, settings.max_message_bytes) == (None, 2.0, 256 * 1024)
    assert (settings.unknown_grace, settings.timezone, settings.allow_eviction) == (600.0, None, False)


def test_code_beats_the_environment_and_that_beats_the_project(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty / "pyproject.toml").write_text(PYPROJECT)
    assert load().send_timeout == 0.25
    assert load().url == "redis://of-the-project:6379/0"
    monkeypatch.setenv("STREAMTASK_SEND_TIMEOUT", "5s")
    assert load().send_timeout == 5.0
    assert Settings(send_timeout=7).send_timeout == 7.0
    app = StreamTask("shop", settings=Settings(send_timeout=7))
    assert app.post.settings.send_timeout == 7.0


def test_a_dotenv_file_is_not_read(empty: Path) -> None:
    (empty / ".env").write_text("STREAMTASK_SEND_TIMEOUT=9\n")
    assert load().send_timeout == 2.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SEND_TIMEOUT", "soon"),
        ("SEND_TIMEOUT", "-1"),
        ("MAX_MESSAGE_BYTES", "10"),
        ("TIMEZONE", "Mars/Olympus"),
        ("TIMEZONE", "../../etc/passwd"),
        ("ALLOW_EVICTION", "perhaps"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"STREAMTASK_{name}", value)
    with pytest.raises(ConfigError, match="bad setting") as refused:
        load()
    assert name.lower() in str(refused.value)
    assert repr(value) in str(refused.value)


# -- the address --------

EVERYTHING = {"STREAMTASK_URL": "redis://a", "REDIS_URL": "redis://b", "REDIS_HOST": "c", "REDIS_PORT": "7000"}


def test_the_nearest_word_on_the_address_wins() -> None:
    assert locate("redis://argument", "redis://a", EVERYTHING) == Address("redis://argument", "the argument")
    assert locate(None, "redis://a", EVERYTHING) == Address("redis://a", "STREAMTASK_URL")
    assert locate(None, "redis://file", EVERYTHING) == Address("redis://file", "the setting `url`")
    assert locate(None, None, EVERYTHING) == Address("redis://b", "REDIS_URL")
    assert locate(None, "", {"REDIS_HOST": "c", "REDIS_PORT": "7000"}) == Address("redis://c:7000/0", "REDIS_HOST")
    assert locate(None, None, {"REDIS_HOST": "c", "REDIS_PORT": ""}) == Address("redis://c:6379/0", "REDIS_HOST")
    assert locate(None, None, {"REDIS_PORT": "7000"}) == Address(DEFAULT_URL, "default")
    assert locate("", None, {"REDIS_URL": ""}) == Address(DEFAULT_URL, "default")


def test_an_app_takes_its_address_from_where_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://b:1/0")
    assert StreamTask("shop").post.address == Address("redis://b:1/0", "REDIS_URL")
    monkeypatch.setenv("STREAMTASK_URL", "redis://a:1/0")
    assert StreamTask("shop").post.address == Address("redis://a:1/0", "STREAMTASK_URL")
    assert StreamTask("shop", "redis://x:1/0").post.address == Address("redis://x:1/0", "the argument")


@pytest.mark.parametrize(
    "url", ["http://x", "x:6379", "localhost", "redis:/x", "memory://", "://", "REDIS://x", "redis://h/zero"]
)
def test_what_is_no_address_is_named_with_its_source(url: str) -> None:
    with pytest.raises(ConfigError, match=r"REDIS_URL is .*no Redis URL.* write redis://host:6379/0"):
        locate(None, None, {"REDIS_URL": url})


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1", "6379 "])
def test_a_port_is_a_number(port: str) -> None:
    with pytest.raises(ConfigError, match="REDIS_PORT is"):
        locate(None, None, {"REDIS_HOST": "c", "REDIS_PORT": port})


@pytest.mark.parametrize(
    "url", ["redis://:secret@h/0", "redis://me:se@cret@h", "rediss://me:s/e:cret@h:1/0", "http://u:secret@h"]
)
def test_no_text_shows_a_password(url: str) -> None:
    assert "cret" not in safe_url(url)
    assert safe_url(url).partition("@")[2].startswith("h")
    with pytest.raises(TypeError) as refused:
        StreamTask(url)
    assert "cret" not in str(refused.value)


def test_a_password_in_the_query_is_hidden_and_the_rest_stays() -> None:
    assert safe_url("unix:///run/redis?password=secret&db=2") == "unix:///run/redis?password=***&db=2"
    for plain in (
        "redis://h:6379/0",
        "unix:///run/redis",
        "redis://me@h/0",
        "embedded://",
        "rediss://h?ssl_cert_reqs=none",
    ):
        assert safe_url(plain) == plain


# -- the app's first argument --------


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("redis://localhost:6379/0", "write StreamTask('myapp', 'redis://localhost:6379/0')"),
        ("embedded://", "write StreamTask('myapp', 'embedded://')"),
    ],
)
def test_the_address_as_first_argument_is_the_commonest_slip(url: str, hint: str) -> None:
    with pytest.raises(TypeError, match="the first argument is the app's name") as refused:
        StreamTask(url)
    assert hint in str(refused.value)


@pytest.mark.parametrize("name", ["a b", "", "x" * 65, "{x}", "a:b", None, 5])
def test_a_name_that_keys_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no app name: use 1 to 64 of"):
        StreamTask(name)
    with pytest.raises(ValueError, match="is no namespace name"):
        StreamTask("shop", namespace="a b")
