"""The main table as a plot."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.plots.drawing import COLOURS, INK, MARKERS, Drawing, Plot
from langgraph_speceyes.bench.report.plots.marks import bars, legend, legend_height, mark, short, speedup_panels
from langgraph_speceyes.bench.report.table import Table, column
from langgraph_speceyes.bench.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def accuracy_speedup(drawing: Drawing, table: Table) -> Plot | None:
    """Accuracy against speed-up, all questions first and then a panel a split; None without a speed-up."""
    panels: list[tuple[str, list[tuple[Estimate, Estimate] | None]]] = []
    if (splits := len(table.columns)) > 1:
        panels.append(("all, total time", [(row.total.speedup, row.total.accuracy) for row in table.rows]))
        panels.append((f"mean of {splits} splits", [(row.mean.speedup, row.mean.accuracy) for row in table.rows]))
    several = len({benchmark for benchmark, _ in table.columns}) > 1
    for benchmark, split in table.columns:
        cells = [row.cells.get(column(benchmark, split)) for row in table.rows]
        title = f"{benchmark} / {split}" if several or splits == 1 else split
        panels.append((short(title, 34), [(c.speedup, c.accuracy) if c else None for c in cells]))
    speedups = [p[0] for _, points in panels for p in points if p]
    ends = [end for e in speedups for end in (e.value, e.low, e.high) if end is not None and end > 0]
    if not ends:
        return None
    across = min(4, len(panels)) if len(panels) != 3 else 3
    down = math.ceil(len(panels) / across)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for ax, (title, points) in zip(axes.flat, panels, strict=False):
            ax.set_title(title, loc="left")
            ax.grid(True)
            ax.axvline(1, color=INK, lw=0.8, ls=":")
            for k, point in enumerate(points):
                if point is None or point[0].value is None or point[1].value is None:
                    continue
                x, y = point
                ax.errorbar(
                    [x.value],
                    [100 * point[1].value],
                    xerr=bars(x),
                    yerr=bars(y, 100),
                    fmt=MARKERS[k % len(MARKERS)],
                    color=COLOURS[k % len(COLOURS)],
                    ms=5,
                    lw=1.2,
                )
        speedup_panels(axes, len(panels), ends)
        marks = [mark(COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)], "") for k in range(len(table.rows))]
        legend(figure, marks, [row.label for row in table.rows])

    return drawing.save(
        "accuracy-speedup",
        "Accuracy against speed-up",
        "Speed-up over the agent, on a logarithmic axis: in total time, and as the mean of the splits' speed-ups. Up "
        "and to the right is better. Bars are 95 % intervals; the dotted line is the agent's own speed.",
        draw,
        0.9 + 2.1 * down + legend_height([row.label for row in table.rows]),
    )
