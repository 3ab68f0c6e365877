"""The main table as a plot."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.plots.drawing import COLOURS, INK, MARKERS, Drawing, Plot
from langgraph_speceyes.bench.report.plots.marks import bars, legend, legend_height, mark, ratio_axis, short
from langgraph_speceyes.bench.report.table import Table, column
from langgraph_speceyes.bench.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def accuracy_speedup(drawing: Drawing, table: Table) -> Plot | None:
    """Accuracy against speed-up, a panel a split; None without a speed-up."""
    panels: list[tuple[str, list[tuple[Estimate, Estimate] | None]]] = []
    for key in table.columns:
        cells = [row.cells.get(column(*key)) for row in table.rows]
        panels.append((short(" / ".join(key), 34), [(c.speedup, c.accuracy) if c else None for c in cells]))
    if len(panels) > 1:
        means = [(row.mean.speedup, row.mean.accuracy) for row in table.rows]
        panels.append(("mean of the splits", list(means)))
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
        for ax in axes.flat[len(panels) :]:
            ax.set_visible(False)
        for ax in axes[:, 0]:
            ax.set_ylabel("accuracy (%)")
        for k, ax in enumerate(axes.flat[: len(panels)]):
            ratio_axis(ax, min(ends), max(ends))
            if k + across >= len(panels):
                ax.set_xlabel("speed-up (x)")
                ax.tick_params(axis="x", labelbottom=True)
        marks = [mark(COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)], "") for k in range(len(table.rows))]
        legend(figure, marks, [row.label for row in table.rows])

    return drawing.save(
        "accuracy-speedup",
        "Accuracy against speed-up",
        "Speed-up over the agent by mean latency, on a logarithmic axis. Up and to the right is better. Bars are "
        "95 % intervals; the dotted line is the agent's own speed.",
        draw,
        0.9 + 2.1 * down + legend_height([row.label for row in table.rows]),
    )
