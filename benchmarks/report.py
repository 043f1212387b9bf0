"""What was measured, on what: the Markdown table and the JSON."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cases import Row, Sample
from streamtask import __version__

PACKAGES = ("redis", "hiredis", "pydantic", "uvloop")


@dataclass
class Line:
    """A row's samples, one a round on each side."""

    row: Row
    app: list[Sample] = field(default_factory=list)
    bare: list[Sample] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Our number divided by the bare loop's, the median over rounds: the two sides of a round share its weather."""
        return statistics.median(a.value / b.value for a, b in zip(self.app, self.bare, strict=True))


def machine(redis_version: str) -> dict[str, Any]:
    """Where and with what this was measured."""
    found: dict[str, Any] = {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "server": f"Redis {redis_version}, TCP on loopback, nothing written to disk",
        "streamtask": __version__,
    }
    return found | {name: version(name) for name in PACKAGES}


def as_json(where: dict[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Everything, each sample of each round."""
    rows = [
        asdict(line.row)
        | {"ratio": round(line.ratio, 4)}
        | {side: [asdict(sample) for sample in getattr(line, side)] for side in ("app", "bare")}
        for line in lines
    ]
    return {"machine": where, "rows": rows}


def table(lines: Sequence[Line]) -> str:
    """A Markdown table: medians, with the lowest and the highest round."""
    head = (
        "",
        "unit",
        "streamtask",
        "bare redis-py",
        "ratio",
        "CPU",
        "bare CPU",
        "Redis CPU",
        "bare Redis CPU",
        "twice",
    )
    body = [head, tuple("---" if i < 2 else "---:" for i in range(len(head)))]
    for line in lines:
        cpu = [_cpu(samples, which) for which in ("cpu", "redis_cpu") for samples in (line.app, line.bare)]
        twice = str(sum(sample.twice for sample in line.app))
        sides = (_spread(line.app, line.row), _spread(line.bare, line.row))
        body.append((line.row.name, line.row.unit, *sides, f"{line.ratio:.2f}", *cpu, twice))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in body)


def _spread(samples: Sequence[Sample], row: Row) -> str:
    values = sorted(sample.value for sample in samples)
    shown = [
        f"{value:,.0f}" if row.unit == "tasks/s" else f"{value:.2f}"
        for value in (statistics.median(values), values[0], values[-1])
    ]
    return f"{shown[0]} ({shown[1]} to {shown[2]})" if len(values) > 1 else shown[0]


def _cpu(samples: Sequence[Sample], which: str) -> str:
    values = [value for sample in samples if (value := getattr(sample, which)) is not None]
    return f"{statistics.median(values):.1f}" if values else ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
