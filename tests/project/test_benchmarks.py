"""The benchmarks: they count right, they refuse a number that means nothing, and each row runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.guarantees import VARIANTS, deltas
from benchmarks.hub import LOADS
from benchmarks.ledger import Ledger
from benchmarks.report import Line, markdown
from benchmarks.rows import CASES, Row
from benchmarks.scaling import cases as scaling_cases
from benchmarks.stage import REDIS, Sample, Stage, Wrong
from benchmarks.venvs import PEERS
from tests.conftest import missing
from tests.servers import Server, available

ROOT = Path(__file__).resolve().parents[2]


def bench(*options: str, program: str = "benchmarks") -> subprocess.CompletedProcess[str]:
    if REDIS not in available():
        missing(f"{REDIS} is not installed")
    command = [sys.executable, "-m", program, "--rounds", "1", *options]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def test_the_ledger_counts_across_processes_what_ran_and_what_ran_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    other = Ledger(tmp_path / "ledger")
    other.ran[0] += 1
    other.ran[2] += 1
    other.ran[2] += 1
    assert (ledger.count(4), ledger.twice(4)) == (2, 1)
    other.ran[7] += 1
    assert ledger.twice(4) == 2, "what nobody sent is no first run"
    ledger.clear()
    assert (other.count(4), other.twice(4)) == (0, 0)


def test_a_row_and_its_files(tmp_path: Path) -> None:
    done = bench("--n", "0.01", "--rows", "drain_async_results", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert set(row["sides"]) == {"streamtask", "bare"}
    assert all(len(samples) == 1 and samples[0]["value"] > 0 for samples in row["sides"].values())
    assert "drain, async no-op, results stored" in (tmp_path / "results.md").read_text()


def test_rows_and_peers_that_are_unknown_are_named() -> None:
    done = bench("--rows", "nonsense")
    assert done.returncode == 2
    assert "drain_async" in done.stderr
    assert bench("--peers", "nonsense").returncode == 2


def test_no_number_where_messages_are_missing_and_a_second_run_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    if REDIS not in available():
        missing(f"{REDIS} is not installed")
    monkeypatch.setattr("benchmarks.stage.PATIENCE", 0.2)
    with Server(REDIS, tcp=True) as server:
        stage = Stage(server)
        ours = stage.about("streamtask", sys.executable)
        stage.fill(ours, "quiet", 100)
        with pytest.raises(Wrong, match="100 of 101 messages are queued"):
            stage.check_queued(101)
        with (
            pytest.raises(Wrong, match="0 of 100 messages ran"),
            stage.process([sys.executable, "-c", "input()"]) as idle,
        ):
            stage.until(100, idle)
        stage.ledger.ran[0] = 1
        monkeypatch.undo()
        with stage.worker(ours, "quiet") as process:
            stage.until(100, process)
        assert stage.ledger.twice(100) == 1


def test_every_peer_has_a_side_and_every_side_is_a_peer() -> None:
    sides = {path.stem for path in (ROOT / "benchmarks" / "sides").glob("[a-z]*.py")}
    assert sides == {peer.name for peer in PEERS} | {"streamtask", "bare"}


def test_the_table_shows_medians_and_the_best_peer() -> None:
    def samples(*values: float) -> list[Sample]:
        return [Sample(value) for value in values]

    fast = Line(
        Row("x", "more is better"),
        {"streamtask": samples(30, 10, 20), "bare": samples(60, 10, 20), "a": samples(5), "b": samples(7)},
    )
    slow = Line(Row("y", "less is better", "ms"), {"streamtask": samples(1), "a": samples(5), "b": samples(7)})
    assert (fast.median("streamtask"), fast.ratio, fast.best) == (20, 1.0, "b")
    assert (slow.ratio, slow.best) == (None, "a")
    page = markdown({"cores": 2}, [fast, slow], 3)
    assert "20 (10 to 30)" in page
    assert "| less is better | ms | a | 0.2 |" in page


def test_the_floor(tmp_path: Path) -> None:
    done = bench("--n", "0.0001", "--out", str(tmp_path), program="benchmarks.floor")
    assert done.returncode == 0, done.stderr
    blocks = json.loads((tmp_path / "floor.json").read_text())["blocks"]
    assert {block["group"] for block in blocks} == {"Python", "asyncio", "uvloop", "client", "Redis CPU", "round trip"}
    assert all(len(block["us"]) == 1 and block["us"][0] >= 0 for block in blocks)
    assert "| Redis CPU | XADD, 100 in a pipeline |" in (tmp_path / "floor.md").read_text()


def test_a_row_of_scaling_is_named_by_what_it_measured(tmp_path: Path) -> None:
    done = bench("--n", "0.0001", "--rows", "queued_100_", "--out", str(tmp_path), program="benchmarks.scaling")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "scaling.json").read_text())["rows"]
    assert [(row["name"], row["at"]) for row in rows[:2]] == [("100 queued: drain", 100), ("100 queued: send", 100)]
    assert all(row["sides"]["streamtask"][0]["value"] > 0 for row in rows)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_all_rows_of_scaling(tmp_path: Path) -> None:
    done = bench("--n", "0.001", "--out", str(tmp_path), program="benchmarks.scaling")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "scaling.json").read_text())["rows"]
    assert [row["slug"] for row in rows] == [row.slug for case in scaling_cases(0.001) for row in case.rows]


def test_what_is_turned_on_costs_the_difference_to_the_plain_task() -> None:
    def lines(kind: str, cpu: float) -> list[Line]:
        drain = Line(Row(f"{kind}_drain", ""), {"streamtask": [Sample(1e6 / cpu, cpu, 2.0, 0.5)]})
        return [drain, Line(Row(f"{kind}_send", ""), {"streamtask": [Sample(1.0, 4.0, 1.0, 1.0)]})]

    fence = [Line(Row(f"fence_{state}", ""), {"streamtask": [Sample(us)]}) for state, us in (("off", 2.0), ("on", 3.5))]
    table = deltas([*lines("quiet", 10.0), *lines("timeout", 12.5), *fence])
    assert "`result=False`** | 100,000 | 10.0 | 2.0 | 0.5 | 4.0 | 1.0 |" in table
    assert "| `timeout=60` | 80,000 | +2.5 | +0.0 | +0.0 | +0.0 | +0.0 |" in table
    assert "| +1.5 |" in table.splitlines()[-1]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_all_guarantees(tmp_path: Path) -> None:
    done = bench("--n", "0.05", "--out", str(tmp_path), program="benchmarks.guarantees")
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "guarantees.md").read_text()
    assert [variant.name for variant in VARIANTS if f"| {variant.name} |" not in table] == []


@pytest.mark.long
@pytest.mark.timeout(300)
def test_all_rows(tmp_path: Path) -> None:
    done = bench("--n", "0.01", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["slug"] for row in rows] == [row.slug for case in CASES for row in case.rows]
    assert all(row["sides"]["streamtask"] and row["sides"]["bare"] for row in rows)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_hub_beside_a_bare_handler(tmp_path: Path) -> None:
    done = bench("--n", "0.02", "--out", str(tmp_path), program="benchmarks.hub")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "hub.json").read_text())["rows"]
    assert [row["slug"] for row in rows] == [load.row.slug for load in LOADS]
    assert all(row["sides"]["streamtask"] and row["sides"]["bare"] for row in rows)
