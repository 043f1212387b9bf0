"""`python -m benchmarks.guarantees`: what a task costs more with one thing turned on, each beside the plain no-op.

What cannot be turned off, as the fenced end and the send that Redis takes once, is measured in Redis alone, beside the
plain command that it stands for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks.report import Line, bullets, table
from benchmarks.rows import OURS, Case, Row, send
from benchmarks.run import Plan, run
from benchmarks.stage import Sample, Side, Stage, Wrong
from benchmarks.talks import Floor


@dataclass(frozen=True)
class Variant:
    """A kind of `sides.streamtask` with something turned on; what it costs is the difference to the kind `base`."""

    kind: str
    name: str
    size: int = 40_000
    base: str = "quiet"


VARIANTS = (
    Variant("stored", "results: `result=True`, the default"),
    Variant("timeout", "`timeout=60`"),
    Variant("expires", "`expires=3600`"),
    Variant("headers", "`headers`, one of them"),
    Variant("unique", "`unique=True`"),
    Variant("countdown", "`countdown`, due when the worker starts", 10_000),
    Variant("once", "`idempotent=False`", 10_000),
    Variant("again", "one retry of each", 5_000),
    Variant("child", "`process=True`, one child a processor", 2_000, "threads"),
)
#: The plain ones, and what they are called.
BASES = {"quiet": "nothing: async no-op, `result=False`", "threads": "nothing: sync no-op in threads, `result=False`"}
#: In Redis alone: slug, name, and the measurements of `talks.Floor` without and with it.
SERVER = (
    ("fence", "fenced end: DONE, not XACKDEL, a hundred a call", Floor.acknowledge, Floor.done),
    ("idmp", "send that is taken once: XADD with IDMP, not without", Floor.add, Floor.add_once),
)
NOTE = """Each line beside "nothing": the same task without it, medians of {} interleaved rounds. CPU in µs a task, as
the difference to "nothing": of the worker and of Redis in a drain, of the sending process and of Redis in `delay_many`.
Commands: of Redis, in a drain, a task. The last lines are always on, and are measured in Redis alone.
"""
#: A kind that only streamtask has.
OURS_ALONE = "unique"


def cases(_: float) -> list[Case]:
    """All of them."""
    kinds = [Variant(kind, name) for kind, name in BASES.items()] + list(VARIANTS)
    return [_case(variant) for variant in kinds] + [_server_case(*about) for about in SERVER]


def _case(variant: Variant) -> Case:
    rows = (
        Row(f"{variant.kind}_drain", f"{variant.name}: drain"),
        Row(f"{variant.kind}_send", f"{variant.name}: delay_many"),
    )
    return Case(rows, variant.size, partial(_measure, variant.kind), frozenset({variant.kind, OURS_ALONE}))


def _measure(kind: str, stage: Stage, side: Side, size: int) -> tuple[Sample, ...]:
    drained = stage.drain(side, kind, kind, size)
    if kind == "again":  # its second runs are what was asked for
        drained = replace(drained, twice=drained.twice - size)
        if drained.twice < 0:
            raise Wrong(f"{-drained.twice} retries did not run")
    return (drained, *send(("many",), stage, side, size, kind))


def _server_case(slug: str, name: str, without: Any, with_it: Any) -> Case:
    rows = (Row(f"{slug}_off", f"{name}: without", "µs"), Row(f"{slug}_on", f"{name}: with", "µs"))

    def measure(stage: Stage, _: Side, size: int) -> tuple[Sample, ...]:
        floor, hundreds = Floor(stage.server), max(size // 100, 1) * 100
        return tuple(Sample(1e6 * how(floor, hundreds) / hundreds) for how in (without, with_it))

    return Case(rows, 20_000, measure, frozenset({OURS_ALONE}))


def deltas(lines: Sequence[Line]) -> str:
    """The table of differences."""
    by_slug = {line.row.slug: line for line in lines}
    head = ["turned on", "drain, tasks/s", "worker CPU", "Redis CPU", "commands", "sender CPU", "Redis CPU of a send"]
    body = []
    for kind, name in BASES.items():
        body += [[f"**{name}**", *_cells(by_slug, kind, None)]] if f"{kind}_drain" in by_slug else []
        body += [
            [variant.name, *_cells(by_slug, variant.kind, kind)]
            for variant in VARIANTS
            if variant.base == kind and f"{variant.kind}_drain" in by_slug
        ]
    for slug, name, *_ in SERVER:
        if f"{slug}_on" in by_slug:
            more = _median(by_slug[f"{slug}_on"]) - _median(by_slug[f"{slug}_off"])
            body.append(
                [name, "", "", *([f"{more:+.1f}", "", "", ""] if slug == "fence" else ["", "", "", f"{more:+.1f}"])]
            )
    return table(head, body)


def _cells(by_slug: dict[str, Line], kind: str, base: str | None) -> list[str]:
    drain, sent = by_slug[f"{kind}_drain"], by_slug[f"{kind}_send"]
    cells = [f"{_median(drain):,.0f}"]
    for line, what in ((drain, "cpu"), (drain, "redis_cpu"), (drain, "commands"), (sent, "cpu"), (sent, "redis_cpu")):
        value = _median(line, what)
        if base is None or (other := by_slug.get(line.row.slug.replace(kind, base, 1))) is None:
            cells.append(f"{value:.1f}")
        else:
            cells.append(f"{value - _median(other, what):+.1f}")
    return cells


def _median(line: Line, what: str = "value") -> float:
    return line.median(OURS, what) or 0.0


def page(where: dict[str, Any], lines: Sequence[Line], rounds: int) -> str:
    """The machine, and the table."""
    return "\n\n".join([bullets(where), deltas(lines), NOTE.format(rounds)])


PLAN = Plan(
    program="benchmarks.guarantees",
    description=str(__doc__),
    name="guarantees",
    cases=cases,
    rounds=3,
    page=page,
)

if __name__ == "__main__":
    sys.exit(run(PLAN))
