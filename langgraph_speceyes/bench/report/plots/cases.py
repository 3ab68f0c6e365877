"""When the phases of single questions ran, as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.cases import Timeline
from langgraph_speceyes.bench.report.plots.drawing import PHASE_COLOURS, Drawing, Plot
from langgraph_speceyes.bench.report.plots.marks import legend, mark

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def timeline(drawing: Drawing, found: Timeline) -> Plot:
    """When the phases of the first questions ran."""

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        for row, bar in enumerate(found.bars):
            for phase, start, length in bar.phases:
                ax.barh(row, length, left=start, height=0.78, color=PHASE_COLOURS[phase], lw=0)
            end = max((start + length for _, start, length in bar.phases), default=0.0)
            if not bar.right:
                ax.annotate(
                    "x", (end, row), xytext=(4, 0), textcoords="offset points", va="center", ha="left", fontsize=7
                )
        ax.set_ylim(len(found.bars) - 0.4, -0.6)
        ax.set_yticks(range(len(found.bars)), [_end(bar.id, 26) for bar in found.bars], fontsize=6.5)
        ax.tick_params(axis="y", length=0)
        ax.grid(True, axis="x")
        ax.set_axisbelow(True)
        since = "the first question began" if found.since_first else "the question began"
        ax.set_xlabel(f"seconds since {since}")
        seen = {phase for bar in found.bars for phase, _, _ in bar.phases}
        names = [phase for phase in PHASE_COLOURS if phase in seen]
        legend(figure, [mark(PHASE_COLOURS[name], "s", "") for name in names], names)

    return drawing.save(
        f"timeline-{found.run}",
        f"Where the time goes: {found.method}, {found.run}, first {len(found.bars)} questions",
        "A bar a question, in the order they began"
        + (", several at once" if found.since_first else ", one at a time and so each from its own beginning")
        + "; an x behind it marks a wrong answer. Grey, drawn last, is time that no phase accounts for.",
        draw,
        1.2 + 0.16 * len(found.bars),
    )


def _end(text: str, most: int) -> str:
    return text if len(text) <= most else f"…{text[1 - most :]}"
