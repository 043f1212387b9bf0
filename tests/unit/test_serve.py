"""What a worker's or beat's process does to the interpreter."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from streamtask.cli import serve


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.enable()
    gc.set_threshold(*before)
    gc.unfreeze()


def test_garbage_is_looked_for_less_often_and_not_among_what_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_COLLECTOR", gc.get_threshold())
    young, *old = gc.get_threshold()
    serve._calm_collector()
    assert gc.get_threshold() == (serve.COLLECT_EVERY, *old) != (young, *old)
    assert gc.get_freeze_count() > 10_000


@pytest.mark.parametrize("own", ["threshold", "disabled"])
def test_an_app_that_has_told_the_collector_what_to_do_is_obeyed(own: str) -> None:
    if own == "threshold":
        gc.set_threshold(5000, 5, 5)
    else:
        gc.disable()
    before = gc.get_threshold()
    serve._calm_collector()
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
