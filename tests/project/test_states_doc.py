"""The page on a message's life shows the states that the code obeys."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from streamtask.states import FINAL, TRANSITIONS

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "_build" / "states.py"


def states() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_states", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_table_of_the_code() -> None:
    drawn = states()
    page = drawn.PAGE.read_text(encoding="utf-8")
    assert page.count(drawn.BEGIN) == page.count(drawn.END) == 1
    assert page == drawn.written(page), "run: python docs/_build/states.py"


def test_every_move_and_every_final_state_is_drawn() -> None:
    drawn = states()
    diagram, table = drawn.diagram(), drawn.table()
    for row in TRANSITIONS:
        assert f"| {row.source} | {row.event} | {row.target} |" in table
        assert row.source == row.target or row.event in diagram
    for state in FINAL:
        assert f"    {state} --> [*]" in diagram  # plain, or with a label


def test_the_rest_of_the_page_is_left_alone() -> None:
    drawn = states()
    assert drawn.written(f"above\n{drawn.BEGIN}old\n{drawn.END}below\n") == (
        f"above\n{drawn.BEGIN}{drawn.generated()}{drawn.END}below\n"
    )
