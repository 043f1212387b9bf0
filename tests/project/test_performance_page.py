"""docs/explanation/performance.md: what it tells is what was measured, in tables, plots and words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.page import Results, filled
from benchmarks.report import Line, as_json, load
from benchmarks.rows import Row
from benchmarks.series import drains, in_words, latency, scaling
from benchmarks.stage import Sample

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "performance.md"
MARKER = "<!-- results: {} -->\n{}<!-- end of results -->\n"


def line(row: Row, **sides: float) -> Line:
    return Line(row, {side: [Sample(value, cpu=2 * value)] for side, value in sides.items()})


SPEED = [
    line(Row("drain_async", "drain, async no-op"), streamtask=80_000, bare=170_000, slow=1_000, fast=90_000),
    line(Row("latency_p50", "start latency, p50", "ms"), streamtask=0.25, bare=0.2, slow=1.0),
    line(Row("latency_p99", "start latency, p99", "ms"), streamtask=0.9, bare=0.8, slow=2.5),
]
GROWTH = [
    line(
        Row(f"queued_{n}_drain", f"{n} queued: drain", series="drain by length", at=n),
        streamtask=10.0 * n,
        bare=20.0 * n,
    )
    for n in (1, 1000)
]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """In the test's folder."""
    where = {"run": "rounds 1", "cpu": "a CPU", "cores": 2, "server": "Redis", "load": "0"}
    for name, lines in (("results", SPEED), ("scaling", GROWTH)):
        (tmp_path / f"{name}.json").write_text(json.dumps(as_json(where, lines)))
    return Results(tmp_path)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "some.json").write_text(json.dumps(as_json({"cores": 2}, SPEED)))
    assert load(tmp_path / "some.json") == ({"cores": 2}, SPEED)


def test_the_best_side_is_drawn_first_and_one_without_all_parts_is_left_out() -> None:
    (panel,) = drains(SPEED)
    assert [name for name, _ in panel.bars] == ["bare", "fast", "streamtask", "slow"]
    (panel,) = latency(SPEED)
    assert panel.bars == (("bare", (0.2, 0.8)), ("streamtask", (0.25, 0.9)), ("slow", (1.0, 2.5)))


def test_a_plot_is_told_in_words() -> None:
    assert in_words(latency(SPEED)).endswith("(ms): bare 0.20 / 0.80; streamtask 0.25 / 0.90; slow 1.00 / 2.50.")
    assert "streamtask 10.0 at 1, 10,000 at 1,000" in in_words(scaling(GROWTH))


def test_a_page_is_filled_between_its_markers_only(results: Results) -> None:
    page = f"# Title\n\n{MARKER.format('losses', 'old')}\ntext\n\n{MARKER.format('floor', 'stays')}"
    once = filled(page, results)
    assert "* drain, async no-op, tasks/s: streamtask 80,000; the bare loop 170,000, fast 90,000\n" in once
    assert "old" not in once
    assert "stays" in once, "there is no floor.json"
    assert once.startswith("# Title\n\n<!-- results: losses -->")
    assert filled(once, results) == once
    with pytest.raises(KeyError):
        filled(MARKER.format("nonsense", ""), results)


def test_the_page_tells_what_stands_in_the_results() -> None:
    """`make bench-page` writes it; who commits other results runs it again."""
    page = PAGE.read_text()
    assert filled(page, Results(ROOT / "benchmarks" / "results")) == page
    assert page.count("<!-- results:") == page.count("<!-- end of results -->") == 12


@pytest.mark.long
def test_plots_are_drawn(tmp_path: Path, results: Results) -> None:
    missing = "matplotlib is installed by make bench-page"
    plots = pytest.importorskip("benchmarks.plots", reason=missing, exc_type=ImportError)
    drawn = plots.draw(tmp_path, tmp_path / "plots")
    assert [path.name for path in drawn] == ["drains.png", "latency.png", "costs.png", "scaling.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
