"""Draw what token separability cannot see, and what the odds make of the same tokens: docs/results/coin-flip.png.

    python examples/plot_scores.py              # or: make plots

Made-up tokens and the package's own scores; no model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from langgraph_speceyes.bench.report.plots.drawing import COLOURS, INK, Drawing
from langgraph_speceyes.scoring import DEFAULT_THRESHOLD, log_odds, score_min, score_odds, separability

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

DOCS = Path(__file__).parent.parent / "docs"
KS = (20, 64, 128)
THRESHOLDS = ((0.98, COLOURS[1]), (DEFAULT_THRESHOLD, COLOURS[0]))
"""Of the paper's gate and of the default gate."""
SMALL: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.5, "color": INK}
TAIL = 1e-4
"""Probability of all candidates but the first two, in the left panel."""
SURE = 0.99999
"""Probability of the first candidate, in the right panel."""


def main() -> None:
    """Draw."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--out", type=Path, default=DOCS / "results", help="folder of the plot")
    folder = cli.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    Drawing(folder).save(
        "coin-flip",
        "What separability cannot see",
        "One token. Left: two answers share the probability. Right: one answer has all of it.",
        draw,
        3.4,
    )


def two_answers(share: float, k: int) -> NDArray[np.float64]:
    """A token of which two candidates share the probability and the rest is a flat tail, ``[1, k]``."""
    tail = np.full(k - 2, np.log(TAIL / (k - 2)))
    return np.concatenate([np.log([share, 1 - share]) + np.log1p(-TAIL), tail])[None]


def one_answer(spread: float, k: int) -> NDArray[np.float64]:
    """A token whose first candidate is all but certain, before a tail with this standard deviation, ``[1, k]``."""
    shape = np.linspace(1, -1, k - 1)
    tail = shape / shape.std() * spread
    tail += np.log(1 - SURE) - np.log(np.exp(tail).sum())
    return np.concatenate([[np.log(SURE)], tail])[None]


def draw(figure: Figure) -> None:
    """Both panels: the scores, and the thresholds from which on a gate accepts."""
    left, right = figure.subplots(1, 2, sharey=True)
    shares, spreads = np.linspace(0.5, 0.999, 400), np.linspace(0.3, 6, 400)
    for ax, token, at in ((left, two_answers, shares), (right, one_answer, spreads)):
        for k, style in zip(KS, ("--", "-", ":"), strict=True):
            ax.plot(at, [score_min(separability(token(x, k))) for x in at], color=COLOURS[1], ls=style, lw=1.6)
        ax.plot(at, [score_odds(log_odds(token(x, 20))) for x in at], color=COLOURS[0], lw=2.2)
        for threshold, colour in THRESHOLDS:
            ax.axhline(threshold, color=colour, lw=0.9, ls=(0, (1, 2)))
        ax.set_ylim(0.45, 1.01)
        ax.grid(True)
    left.set_xlabel("share of the first of two answers")
    left.set_ylabel("score")
    left.set_title("between a coin flip and certainty", loc="left")
    right.set_xlabel("standard deviation of the competitors (nats)")
    right.set_title(f"a token with probability {SURE}", loc="left")
    for (threshold, _), gate in zip(THRESHOLDS, ("the paper's gate", "the default gate"), strict=True):
        right.annotate(f"{gate}: {threshold:g}", (0.4, threshold), (0, -3), va="top", **SMALL)
    names = [*(f"min, K = {k}" for k in KS), "odds, K = 5 and more"]
    figure.legend(left.lines[:4], names, loc="outside lower center", ncols=4)


if __name__ == "__main__":
    main()
