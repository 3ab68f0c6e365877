"""Do the scores tell right from wrong?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.page.blocks import Block, Drawn, Grid, Said
from langgraph_speceyes.bench.report.plots.drawing import Drawing
from langgraph_speceyes.bench.report.plots.scores import densities, selective
from langgraph_speceyes.bench.report.scores import BINS
from langgraph_speceyes.bench.report.text import NONE, Text, number, shown
from langgraph_speceyes.bench.statistics import CONFIDENCE

if TYPE_CHECKING:
    from langgraph_speceyes.bench.report import Report


def scores(report: Report, drawing: Drawing) -> list[Block]:
    """The scores' figures, densities, and what they are worth."""
    if not report.scores:
        return []
    rows: list[list[Text]] = []
    plots: list[Block] = []
    for k, one in enumerate(report.scores):
        for score, found in one.scores.items():
            density = found.density
            rows.append(
                [
                    (one.name, ""),
                    (score, ""),
                    (str(one.k), ""),
                    (f"{one.n}", f"of {one.questions} questions"),
                    (f"{100 * (1 - one.right / one.n):.1f}", ""),
                    shown(found.auroc, 1, 3),
                    shown(found.aurc, 1, 3),
                    (f"{found.ece:.3f}", ""),
                    *(number(v, 4) for v in ((density.peak_right, density.peak_wrong) if density else (None, None))),
                    (f"{density.distance:+.2f}", "") if density else NONE,
                ]
            )
        if not all(f.density for f in one.scores.values()):
            plots.append(
                Said(
                    f"{one.name}, K = {one.k}: a density is left out where there are less than five right or wrong "
                    "speculations, or all of a kind have one score.",
                    missing=True,
                )
            )
        drawn = [plot for plot in (densities(drawing, one), selective(drawing, one)) if plot]
        plots += [Drawn(plot, folded=k > 0) for plot in drawn]
    grid = Grid(
        "Scores of the speculations",
        [
            *("run", "score", "K", "speculations", "wrong, %", "AUROC", "AURC", "ECE"),
            *("peak, right", "peak, wrong", "distance, log-odds"),
        ],
        rows,
        names=2,
        note="AUROC: how often a right speculation has the higher score (0.5 says nothing). AURC: area under the "
        "risk-coverage curve, the lower the better; a score that says nothing has the share wrong. ECE: expected "
        f"calibration error with {BINS} bins of equal width, as if the score were a probability, which only log is. "
        f"Intervals: {CONFIDENCE:.0%}, bootstrap over questions.",
    )
    return [grid, *plots]
