"""`python -m benchmarks`: streamtask beside a bare loop and, with --peers, beside other frameworks."""

from __future__ import annotations

import sys

from benchmarks.report import NOTE
from benchmarks.rows import CASES
from benchmarks.run import Plan, run

PLAN = Plan(
    program="benchmarks",
    description="streamtask, a bare loop, and peers",
    name="results",
    cases=lambda _: CASES,
    rounds=3,
    note=NOTE,
)

if __name__ == "__main__":
    sys.exit(run(PLAN))
