"""Questions by depth, as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.depths import Depths
from langgraph_speceyes.bench.report.plots.drawing import DEPTH_COLOURS, INK, MARKERS, PHASE_COLOURS, Drawing, Plot
from langgraph_speceyes.bench.report.plots.marks import bars, legend, mark
from langgraph_speceyes.bench.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def by_depth(drawing: Drawing, found: Depths) -> Plot:
    """Share answered at each depth, what each gate accepts, and how often it is right."""
    splits = found.splits
    most = max(len(split.levels) for split in splits)
    colours = [DEPTH_COLOURS[depth % len(DEPTH_COLOURS)] for depth in range(most)]

    def draw(figure: Figure) -> None:
        stacked, accepted, right = figure.subplots(1, 3, sharey=True, width_ratios=(1.5, 1, 1))
        for row, split in enumerate(splits):
            at = 0.0
            agent = [(split.agent, PHASE_COLOURS["agent"])]
            for share, colour in [*((level.answered, colours[level.depth]) for level in split.levels), *agent]:
                value = 100 * (share.value or 0.0)
                stacked.barh(row, value, left=at, height=0.7, color=colour, lw=0)
                if value >= 9:
                    stacked.text(at + value / 2, row, f"{value:.0f}", ha="center", va="center", color="white")
                at += value
            for level in split.levels:
                _point(accepted, row, level.depth, most, level.accepted, colours[level.depth])
                _point(right, row, level.depth, most, level.right, colours[level.depth])
            _point(right, row, most, most, split.agent_right, PHASE_COLOURS["agent"])
        stacked.set_yticks(range(len(splits)), [split.name for split in splits])
        stacked.set_ylim(len(splits) - 0.5, -0.5)
        for ax, label in (
            (stacked, "answered there (%)"),
            (accepted, "accepted of what came (%)"),
            (right, "right of these answers (%)"),
        ):
            ax.set_xlabel(label)
            ax.set_xlim(*((0, 100) if ax is stacked else (-4, 104)))
            ax.grid(True, axis="x")
            ax.set_axisbelow(True)
            ax.tick_params(axis="y", length=0)
        names = [f"depth {depth}" for depth in range(most)]
        marks = [mark(colour, MARKERS[depth], "") for depth, colour in enumerate(colours)]
        legend(figure, [*marks, mark(PHASE_COLOURS["agent"], MARKERS[most], "")], [*names, "agent"])
        stacked.axvline(100, color=INK, lw=0.8)

    return drawing.save(
        f"depths-{found.run}-{found.method}",
        f"Questions by depth: {found.method}, {found.run}",
        "Left: where questions were answered. Middle: the share that each depth's gate accepts of the questions that "
        "come to it. Right: how many of the answers from each depth are right. Bars are 95 % intervals.",
        draw,
        1.3 + 0.42 * len(splits),
    )


def _point(ax: Axes, row: int, depth: int, most: int, share: Estimate, colour: str) -> None:
    if share.value is None:
        return
    at = row + 0.22 * (depth - most / 2)
    ax.errorbar(
        [100 * share.value], [at], xerr=bars(share, 100), fmt=MARKERS[depth % len(MARKERS)], color=colour, ms=4, lw=1.2
    )
