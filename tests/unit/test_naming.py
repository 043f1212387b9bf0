"""Names: the sender's and the worker's process must call a task the same, however each was started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamtask import StreamTask
from streamtask.errors import DuplicateTask
from streamtask.naming import place, task_name
from tests.unit import names_a, names_b

TASKS = """
from streamtask import StreamTask
app = StreamTask("shop")
@app.task
def add(a: int, b: int) -> int:
    return a + b
class Group:
    @staticmethod
    @app.task
    def inner() -> None: ...
if __name__ == "__main__":
    print(add.name, Group.inner.name)
"""


def names_of(folder: Path, *command: str, stdin: str | None = None) -> str:
    """What a process started in the folder calls its tasks, or its errors."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": ""},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    for file in ("tasks.py", "pkg/jobs.py", "pkg/__main__.py"):
        (tmp_path / file).write_text(TASKS)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "module"),
    [
        (("tasks.py",), "tasks"),
        (("./tasks.py",), "tasks"),
        (("-m", "tasks"), "tasks"),
        (("-m", "pkg.jobs"), "pkg.jobs"),
        (("-m", "pkg"), "pkg"),
        (("pkg/jobs.py",), "jobs"),  # Python itself puts pkg/ first on the path then
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_script_is_called_as_the_worker_imports_it(project: Path, command: tuple[str, ...], module: str) -> None:
    """`python tasks.py` calls its module __main__; the worker imports `tasks`."""
    assert names_of(project, *command) == f"{module}.add {module}.Group.inner"


def test_a_script_by_its_full_path_has_the_same_name(project: Path) -> None:
    assert names_of(Path("/"), str(project / "tasks.py")) == "tasks.add tasks.Group.inner"


def test_a_script_behind_a_link_has_the_name_of_its_file(project: Path) -> None:
    """Python puts the folder of the file itself on the path, not that of the link."""
    (project / "links").mkdir()
    (project / "links" / "start").symlink_to(project / "tasks.py")
    assert names_of(project, "links/start") == "tasks.add tasks.Group.inner"


@pytest.mark.parametrize("command", [("-",), ("-c", TASKS), ("-i", "-q")], ids=["stdin", "-c", "REPL"])
def test_where_there_is_no_file_a_name_must_be_given(project: Path, command: tuple[str, ...]) -> None:
    answer = names_of(project, *command, stdin=TASKS.replace("\nclass", "\n\nclass"))
    assert "is defined in a REPL or notebook; write @app.task(name=...)" in answer


def test_a_given_name_is_taken_and_a_bad_one_refused() -> None:
    assert task_name(lambda: None, "shop.add") == "shop.add"
    assert task_name(names_a.work, "übung.größe") == "übung.größe"
    for bad in ("", "a b", "a\nb", "x" * 257, "tab\t"):
        with pytest.raises(TypeError, match="is no task name"):
            task_name(lambda: None, bad)


def test_a_function_that_nobody_can_import_needs_a_name() -> None:
    def inner() -> None: ...

    for fn in (inner, lambda: None):
        with pytest.raises(TypeError, match=r"no name that a worker could import; write @app\.task\(name=\.\.\.\)"):
            task_name(fn, None)


def test_two_functions_of_one_name_are_told_with_both_places() -> None:
    app = StreamTask("shop")
    app.task(name="work")(names_a.work)
    with pytest.raises(DuplicateTask, match="two tasks are called 'work'") as refused:
        app.task(name="work")(names_b.work)
    assert "names_a.py:" in str(refused.value)
    assert "names_b.py:" in str(refused.value)


def test_a_file_that_is_loaded_again_replaces_its_tasks() -> None:
    """As a notebook or a reloader does."""
    app = StreamTask("shop")
    first = app.task(names_a.work)
    again = app.task(names_a.work)
    assert first.name == "tests.unit.names_a.work"
    assert app.tasks == {first.name: again}


def test_a_task_is_no_task_once_more() -> None:
    app = StreamTask("shop")
    with pytest.raises(TypeError, match=r"is already a task; put @app\.task under @app\.schedule"):
        app.task(app.task(names_a.work))


def test_a_place_is_a_line_of_a_file() -> None:
    assert place(names_a.work) == f"{names_a.__file__}:6"
    assert place(print) == repr(print)
