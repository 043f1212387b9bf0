"""Each rule of the protocol has a test that fails without it: the rule is broken in a copy of the tree, and the tests
that the table names are run there.

The table is checked by `make test`, the tests are run by `make test-long`; one row: `ARGS="-k 'settle and owner'"`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from streamtask.broker.link import SyncLink
from streamtask.broker.scripts import ALL
from tests.conftest import missing
from tests.mutants import (
    table_broker,
    table_children,
    table_events,
    table_groups,
    table_holding,
    table_keeping,
    table_reading,
    table_schedules,
    table_sending,
    table_supervisor,
    table_topics,
    table_verdicts,
    table_worker,
)
from tests.mutants.kit import FAILED, ROOT, Mutant, environment, plant, run
from tests.servers import ALL as SERVERS
from tests.servers import INSTALL, Server, available

TABLES = (
    table_verdicts,
    table_holding,
    table_sending,
    table_reading,
    table_worker,
    table_children,
    table_keeping,
    table_broker,
    table_schedules,
    table_supervisor,
    table_groups,
    table_topics,
    table_events,
)
MUTANTS = [mutant for table in TABLES for mutant in table.ALL]
each = pytest.mark.parametrize("mutant", MUTANTS, ids=str)


# -- the table ---------------------------------------------------------------------------------------------------------


@each
def test_a_row_fits_the_code(mutant: Mutant, request: pytest.FixtureRequest) -> None:
    """Or the table would rot: what it breaks must be there once, and what it puts there must be a program."""
    assert mutant.path.read_text().count(mutant.old) == 1
    assert mutant.text() != mutant.path.read_text()
    assert mutant.tests
    if mutant.path.suffix == ".py":
        compile(mutant.text(), mutant.file, "exec")
    else:
        redis86: Server = request.getfixturevalue("redis86")
        link = SyncLink(redis86.url)
        link.call("SCRIPT", "LOAD", mutant.text())
        link.close()


def test_rows_have_names_of_their_own_and_break_something_of_their_own() -> None:
    assert [name for name, times in Counter(map(str, MUTANTS)).items() if times > 1] == []
    assert len({(mutant.file, mutant.text()) for mutant in MUTANTS}) == len(MUTANTS)


def test_every_script_has_its_rows() -> None:
    rows = Counter(mutant.path.stem for mutant in MUTANTS if mutant.path.suffix == ".lua")
    assert [script.name for script in ALL if rows[script.name] < 3] == []


def test_the_tests_that_are_named_are_there() -> None:
    tests = sorted({test for mutant in MUTANTS for test in mutant.tests})
    code, said = run(ROOT, "--collect-only", "-qq", *tests)
    assert code == 0, said


def test_a_run_imports_its_own_tree_and_so_do_its_processes(tmp_path: Path) -> None:
    """Else it would find nothing broken, or break nothing."""
    tree = plant(tmp_path)
    say = [sys.executable, "-c", "import streamtask; print(streamtask.__file__)"]
    child = subprocess.run(say, cwd="/", env=environment(tree), capture_output=True, text=True, check=True)
    assert Path(child.stdout.strip()) == tree / "streamtask" / "__init__.py"
    shutil.rmtree(tree / "streamtask")
    code, said = run(tree, "tests/unit/test_passing.py")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert f"pytest imports {ROOT}" in said


# -- the mutants -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[Callable[[Mutant], tuple[int, str]]]:
    """Waits for a mutant's run. All that were chosen are run, two at once for each processor, for a test that fails
    mostly waits; before them their tests, where nothing is broken.
    """
    lacking = set(SERVERS) - set(available())
    if lacking:
        missing(f"{', '.join(sorted(lacking))} not installed: {INSTALL}")
    chosen = [item.callspec.params["mutant"] for item in request.session.items if "runs" in item.fixturenames]
    code, said = planted(*sorted({test for mutant in chosen for test in mutant.tests}))
    assert code == 0, f"nothing is broken, and yet:\n{said}"
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        found = {mutant: pool.submit(planted, *mutant.tests, mutant=mutant) for mutant in chosen}
        yield lambda mutant: found[mutant].result()
        pool.shutdown(cancel_futures=True)


def planted(*tests: str, mutant: Mutant | None = None) -> tuple[int, str]:
    """Run tests in a tree of their own."""
    with TemporaryDirectory(prefix="stree-") as folder:
        return run(plant(Path(folder), mutant), *tests)


@pytest.mark.long
@pytest.mark.timeout(900)
@each
def test_a_mutant_is_noticed(runs: Callable[[Mutant], tuple[int, str]], mutant: Mutant) -> None:
    code, said = runs(mutant)
    assert code == FAILED, f"{mutant} survives: pytest ended with {code}\n{said}"
    assert re.search(r"^\d+ failed", said, re.MULTILINE), f"{mutant}: no test failed\n{said}"
