"""App paths: every form, and what a user sees when one is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from streamtask.cli.apps import app_path, load_app, need_tasks
from streamtask.errors import AppImportError

APP = """
from streamtask import StreamTask
app = StreamTask("shop")

@app.task
def add(x: int) -> int: ...
"""
Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes files into the current folder; modules that are imported from it are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    yield write
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("path", "task"),
    [
        ("shoptasks:app", "shoptasks.add"),
        ("shoptasks", "shoptasks.add"),
        ("shoptasks.py", "shoptasks.add"),
        ("shoptasks.py:app", "shoptasks.add"),
        ("./shoptasks.py", "shoptasks.add"),
        ("deep/inner/jobs.py", "deep.inner.jobs.add"),
        ("deep.inner.jobs:app", "deep.inner.jobs.add"),
        ("loose/odd.py:app", "odd.add"),
        ("factory:create_app()", "factory.create_app"),
        ("holder:settings.app", "holder.add"),
    ],
)
def test_each_form_finds_the_app_and_calls_its_tasks_as_producers_do(write: Write, path: str, task: str) -> None:
    write("shoptasks.py", APP)
    write("deep/__init__.py", "")
    write("deep/inner/__init__.py", "")
    write("deep/inner/jobs.py", APP)
    write("loose/odd.py", APP)
    write("holder.py", f"{APP}\nclass settings: pass\nsettings.app = app")
    write(
        "factory.py",
        """
from streamtask import StreamTask

def create_app():
    app = StreamTask("shop")
    @app.task(name="factory.create_app")
    def add(x: int) -> int: ...
    return app
""",
    )
    assert list(load_app(path).app.tasks) == [task]


def test_a_name_for_the_same_app_twice_is_still_one_app_and_app_wins_among_several(write: Write) -> None:
    write("two.py", f"{APP}\nalias = app")
    assert load_app("two").app.name == "shop"
    write("three.py", f"{APP}\nother = StreamTask('other')")
    assert load_app("three").app.name == "shop"
    write("four.py", "from streamtask import StreamTask\na = StreamTask('a')\nb = StreamTask('b')")
    with pytest.raises(AppImportError, match=r"four has several apps; say which: four:a or four:b"):
        load_app("four")


def test_the_current_folder_comes_first(write: Write) -> None:
    write("uuid7tasks.py", APP)
    sys.path.insert(0, "/nowhere")
    assert load_app("uuid7tasks").app.name == "shop"


def test_modules_of_include_are_imported(write: Write) -> None:
    write("base.py", "from streamtask import StreamTask\napp = StreamTask('shop', include=['more'])")
    write("more.py", "from base import app\n@app.task\ndef one() -> None: ...")
    write("most.py", "from base import app\n@app.task\ndef two() -> None: ...")
    loaded = load_app("base", ("most",))
    assert sorted(loaded.app.tasks) == ["more.one", "most.two"]
    assert loaded.modules == ("base", "more", "most")


def test_an_app_without_tasks_is_refused_and_what_was_imported_is_said(write: Write) -> None:
    write("empty.py", "from streamtask import StreamTask\napp = StreamTask('shop')")
    with pytest.raises(AppImportError, match=r"has no tasks and no event handlers\. Imported: empty\..*--include"):
        need_tasks(load_app("empty"))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("shoptask:app", "did you mean 'shoptasks'?"),
        ("pkg.taks", "there is no module 'pkg.taks' in the package pkg; did you mean 'pkg.tasks'?"),
        ("shoptasks:ap", "shoptasks has no 'ap'; did you mean 'app'?"),
        ("shoptasks:add", "shoptasks:add is a SyncTask, not a StreamTask"),
        ("shoptasks:make", "is it a factory? Write shoptasks:make()"),
        ("shoptasks:make()", "shoptasks:make() is a int, not a StreamTask"),
        ("nothing", "nothing has no StreamTask"),
        ("missing.py", "there is no file"),
        ("some/where", "is no app path; write pkg.module:app, or a file that ends with .py"),
    ],
)
def test_a_wrong_path_is_told_without_a_traceback(write: Write, path: str, text: str) -> None:
    write("shoptasks.py", f"{APP}\ndef make(): return 5")
    write("nothing.py", "x = 1")
    write("pkg/__init__.py", "")
    write("pkg/tasks.py", APP)
    with pytest.raises(AppImportError) as raised:
        load_app(path)
    assert text in str(raised.value)
    assert "Traceback" not in str(raised.value)


def test_an_error_in_the_users_module_shows_the_users_traceback_and_no_frame_of_ours(write: Write) -> None:
    write("broken.py", "import helper\n")
    write("helper.py", f"{APP}\n@app.task(max_retry=3)\ndef f() -> None: ...\n")
    with pytest.raises(AppImportError) as raised:
        load_app("broken")
    text = str(raised.value)
    assert 'broken.py", line 1' in text
    assert 'helper.py", line' in text
    assert "did you mean 'max_retries'?" in text
    assert "streamtask/app.py" not in text
    assert "importlib" not in text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import nothere", "No module named 'nothere'"),
        ("def f(:", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("1 / 0", "ZeroDivisionError"),
        ("from os import nothere", "cannot import name 'nothere'"),
    ],
)
def test_whatever_the_users_module_raises_is_an_import_error(write: Write, source: str, text: str) -> None:
    write("bad.py", source)
    with pytest.raises(AppImportError) as raised:
        load_app("bad.py")
    assert text in str(raised.value)
    assert 'bad.py", line 1' in str(raised.value)


def test_a_factory_that_fails_shows_its_traceback(write: Write) -> None:
    write("plant.py", "def create_app():\n    raise LookupError('no database')")
    with pytest.raises(AppImportError, match=r"(?s)plant\.py\", line 2.*LookupError: no database"):
        load_app("plant:create_app()")


def test_a_file_whose_name_hides_behind_a_module_is_told(write: Write) -> None:
    write("json.py", APP)
    with pytest.raises(AppImportError, match=r"is hidden by another module called json"):
        load_app("json.py")


def test_where_the_path_comes_from(write: Write) -> None:
    with pytest.raises(click.UsageError, match=r"which app\?"):
        app_path(None, None)
    write("pyproject.toml", '[tool.streamtask]\napp = "c:app"')
    assert app_path(None, None) == "c:app"
    assert app_path(None, "b:app") == "b:app"
    assert app_path("a:app", "b:app") == "a:app"
