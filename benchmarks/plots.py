"""`python -m benchmarks.plots RESULTS_DIR OUT_DIR`: the plots of the results, PNG. Needs matplotlib, of the group
`bench`; what they show is put together in `series`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.report import Line, load
from benchmarks.rows import BARE, OURS
from benchmarks.series import Bars, Curves, costs, drains, latency, number, scaling

#: Ours stands out, the limit is dark, all others step back.
COLOURS, OTHERS = {OURS: "#1b66b3", BARE: "#5b6470"}, "#b9c2cc"
NAMES = {BARE: "bare redis-py loop"}
WIDTH = 9.0
STYLE = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a939e",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": "#e3e7eb",
    "text.color": "#22272e",
    "axes.labelcolor": "#22272e",
    "xtick.color": "#4a525c",
    "ytick.color": "#4a525c",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}" if value == int(value) else f"{value:g}")


def bars(panels: Sequence[Bars], columns: int) -> Figure:
    """Panels of horizontal bars, each bar with its number."""
    rows = -(-len(panels) // columns)
    most = max(len(panel.bars) for panel in panels)
    figure = Figure(figsize=(WIDTH, rows * (0.7 + 0.24 * most)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        _one(axis, panel)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    return figure


def _one(axis: Any, panel: Bars) -> None:
    names = [NAMES.get(name, name) for name, _ in panel.bars]
    most = max(values[-1] for _, values in panel.bars)
    for part in reversed(range(len(panel.bars[0][1]))):  # the last part is the longest, and lies behind
        colours = [COLOURS.get(name, OTHERS) for name, _ in panel.bars]
        lengths = [values[part] for _, values in panel.bars]
        axis.barh(names, lengths, color=colours, height=0.72 if not part else 0.28, alpha=1.0 if not part else 0.55)
    for place, (_, values) in enumerate(panel.bars):
        text = "  /  ".join(number(value) for value in values)
        axis.text(values[-1] + most * 0.012, place, text, va="center", fontsize=8)
    axis.invert_yaxis()
    axis.set_title(f"{panel.title}" + (f": {' / '.join(panel.parts)}" if panel.parts else ""))
    axis.set_xlabel(panel.unit)
    axis.set_xlim(0, most * 1.22)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.xaxis.set_major_formatter(THOUSANDS)
    axis.grid(axis="x")
    axis.tick_params(axis="y", length=0)


def curves(panels: Sequence[Curves]) -> Figure:
    """Panels of curves beside each other; the x axis is logarithmic."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
        for name, points in panel.curves:
            side, _, kind = name.partition(", ")
            axis.plot(
                [x for x, _ in points],
                [y for _, y in points],
                color=COLOURS.get(side, OTHERS),
                linestyle="--" if kind == "send" else "-",
                marker="o",
                markersize=4,
                label=f"{NAMES.get(side, side)}{', ' if kind else ''}{kind}",
            )
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.set_title(panel.title)
        axis.set_xlabel(panel.x)
        axis.set_ylabel(panel.unit)
        axis.xaxis.set_major_formatter(THOUSANDS)
        axis.yaxis.set_major_formatter(THOUSANDS)
        axis.grid()
        axis.legend(frameon=False, fontsize=8)
    return figure


def draw(results: Path, out: Path) -> list[Path]:
    """All plots that the results have numbers for."""
    speed, growth = _lines(results / "results.json"), _lines(results / "scaling.json")
    drawn: list[Path] = []
    out.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, panels, columns in (
            ("drains", drains(speed), 2),
            ("latency", latency(speed), 1),
            ("costs", costs(speed), 2),
        ):
            if panels:
                drawn.append(_saved(bars(panels, columns), out / f"{name}.png"))
        if panels_of_growth := scaling(growth):
            drawn.append(_saved(curves(panels_of_growth), out / "scaling.png"))
    return drawn


def _lines(path: Path) -> list[Line]:
    return load(path)[1] if path.exists() else []


def _saved(figure: Figure, path: Path) -> Path:
    """Without a date or a version, so that the same numbers give the same file."""
    figure.savefig(path, dpi=130, metadata={"Software": None})
    return path


def main() -> int:
    """Read the command line, draw."""
    if len(sys.argv) != 3:
        print("usage: python -m benchmarks.plots RESULTS_DIR OUT_DIR", file=sys.stderr)
        return 2
    for path in draw(Path(sys.argv[1]), Path(sys.argv[2])):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
