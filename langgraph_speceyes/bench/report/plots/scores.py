"""What answer scores tell, as plots."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.plots.drawing import COLOURS, INK, MARKERS, RIGHT, WRONG, Drawing, Plot
from langgraph_speceyes.bench.report.plots.marks import legend, mark, score_axis
from langgraph_speceyes.bench.report.scores import Scores, log_odds

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def densities(drawing: Drawing, scores: Scores) -> Plot | None:
    """Densities of each score for right and wrong speculations; None without one."""
    kept = {name: f.density for name, f in scores.scores.items() if f.density is not None}
    if not kept:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(kept), squeeze=False)[0]
        for ax, (name, one) in zip(axes, kept.items(), strict=True):
            for curve, peak, colour, style in (
                (one.right, log_odds(one.peak_right), RIGHT, "-"),
                (one.wrong, log_odds(one.peak_wrong), WRONG, "--"),
            ):
                ax.fill_between(one.grid, curve, color=colour, alpha=0.18, lw=0)
                ax.plot(one.grid, curve, color=colour, lw=1.6, ls=style)
                ax.axvline(peak, color=colour, lw=0.9, ls=":")
            ax.set_title(f"{name}\npeaks {one.distance:+.2f} apart", loc="left")
            ax.set_ylim(bottom=0)
            ax.set_xlim(one.grid[0], one.grid[-1])
            score_axis(ax)
        axes[0].set_ylabel("density (per unit of log-odds)")
        lines = [mark(RIGHT, None), mark(WRONG, None, "--")]
        wrong = scores.n - scores.right
        legend(figure, lines, [f"right answers (n = {scores.right})", f"wrong answers (n = {wrong})"])

    return drawing.save(
        f"densities-{scores.name}-k{scores.k}",
        f"Answer scores of right and wrong speculations, {scores.name}, K = {scores.k}",
        "Gaussian kernel density estimates (Scott's bandwidth) over the score's log-odds ln(s / (1 - s)), since "
        "scores crowd near 1; of min, mean and bottom that is 0.6 times the separability. Dotted lines are the "
        "peaks, and their distance is in log-odds. Axes differ between the panels.",
        draw,
        3.1,
    )


def selective(drawing: Drawing, scores: Scores) -> Plot:
    """Risk against coverage, and accuracy against score."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        for k, one in enumerate(scores.scores.values()):
            colour = COLOURS[k]
            left.plot(
                [100 * c for c in one.coverage],
                [100 * r for r in one.risk],
                color=colour,
                lw=1.6,
                ls=("-", "--", "-.", ":")[k % 4],
            )
            shape = one.reliability
            right.plot(
                [log_odds(score) for score in shape.score],
                [100 * a for a in shape.accuracy],
                color=colour,
                lw=1.2,
                ls=("-", "--", "-.", ":")[k % 4],
                marker=MARKERS[k],
                ms=4,
            )
        every = 100 * (1 - scores.right / scores.n)
        left.axhline(every, color=INK, lw=0.8, ls=":")
        left.set_xlabel("coverage: speculations kept, highest scores first (%)")
        left.set_ylabel("risk: wrong among them (%)")
        left.set_ylim(bottom=0)
        left.set_xlim(0, 100)
        left.set_title("risk and coverage", loc="left")
        means = [log_odds(score) for one in scores.scores.values() for score in one.reliability.score]
        low, high = min(means), max(means)
        steps = [low + (high - low) * k / 50 for k in range(51)]
        right.plot(steps, [100 / (1 + math.exp(-x)) for x in steps], color=INK, lw=0.8, ls=":")
        right.set_ylim(0, 105)
        score_axis(right, 0.12)
        right.set_xlabel("score (mean of a tenth of the speculations)")
        right.set_ylabel("right (%)")
        right.set_title("accuracy by score", loc="left")
        for ax in (left, right):
            ax.grid(True)
        marks = [mark(COLOURS[k], MARKERS[k], ("-", "--", "-.", ":")[k % 4]) for k in range(len(scores.scores))]
        legend(figure, marks, list(scores.scores))

    return drawing.save(
        f"selective-{scores.name}-k{scores.k}",
        f"What a score is worth, {scores.name}, K = {scores.k}",
        "Left: the lower the curve, the better; a score that says nothing stays on the dotted line, the share "
        "wrong of all. Right: a mark for each tenth of the speculations by score; on the dotted line the score is "
        "the share right. min, mean and bottom are squashed separabilities and not meant to be on it.",
        draw,
        3.6,
    )
