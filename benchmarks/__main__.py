"""`python -m benchmarks`: streamtask beside a bare loop and, with --peers, beside other frameworks."""

from __future__ import annotations

import sys

from benchmarks.report import markdown
from benchmarks.rows import CASES
from benchmarks.run import Plan, run

PLAN = Plan(
    program="benchmarks",
    description="streamtask, a bare loop, and peers",
    name="results",
    cases=lambda _: CASES,
    rounds=3,
    page=markdown,
)

if __name__ == "__main__":
    sys.exit(run(PLAN))
