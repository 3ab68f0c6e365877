"""How a gate opens over time, as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from langgraph_speceyes.bench.opening.streams import ORDERS, Outcomes, follow
from langgraph_speceyes.bench.report.plots.drawing import COLOURS, INK, Drawing, Plot
from langgraph_speceyes.traffic.opening import SelfOpening

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WINDOW = 200


def draw(folder: Path, outcomes: Outcomes, settings: SelfOpening, *, runs: int = 20, questions: int) -> Plot:
    """Draw a few gates in shuffled streams, and one whose first questions are too easy.

    Args:
        folder: Where `opening.png` and `opening.svg` go.
        outcomes: The population.
        settings: The gate's.
        runs: Shuffled streams.
        questions: Their length.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    rng = np.random.default_rng(1)
    steady = [follow(outcomes, ORDERS["shuffled"](outcomes, questions, rng), settings, rng) for _ in range(runs)]
    drifts = ORDERS["easy first"](outcomes, questions, rng)
    drifting = follow(outcomes, drifts, settings, rng)
    alarm = settings.fresh().detector.alarm_level
    time = np.arange(1, questions + 1)

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        axes: list[Axes] = list(figure.subplots(1, 3))
        left, middle, right = axes
        accepted = np.array([[outcomes.accepted(t) for t in _steps(c.thresholds)] for c in steady])
        at = _places(questions)
        left.plot(at, accepted.T, color=COLOURS[0], lw=0.6, alpha=0.35)
        left.plot(at, np.median(accepted, axis=0), color=COLOURS[0], lw=2, label="accepted, median of runs")
        left.plot(
            time, np.mean([c.rates for c in steady], axis=0), color=COLOURS[1], lw=1.2, ls="--", label="audit rate"
        )
        left.set_ylim(0, 1.03)
        left.set_ylabel("share")
        left.set_title("Questions as before: it opens")
        moving = np.ones(_WINDOW) / _WINDOW
        inside = time[_WINDOW - 1 :]
        middle.plot(inside, np.convolve(drifting.accepted, moving, "valid"), color=COLOURS[0], lw=1.6, label="bypassed")
        wrong = np.convolve(drifting.accepted & outcomes.differs[drifts], moving, "valid")
        middle.plot(inside, wrong, color=COLOURS[1], lw=1.6, label="bypassed and differing")
        middle.axhline(settings.max_loss, color=INK, lw=0.8, ls=":")
        middle.set_ylim(0, 1.03)
        middle.set_ylabel(f"share of the last {_WINDOW} questions")
        middle.set_title("First easy ones only: it closes")
        right.semilogy(time, np.maximum(drifting.levels, 1e-2), color=COLOURS[2], lw=1.2, label="detector's level")
        right.axhline(alarm, color=INK, lw=0.8, ls=":")
        right.text(0, alarm * 1.15, "closes", va="bottom")
        right.set_ylim(1e-2, alarm * 8)
        right.yaxis.set_major_locator(FixedLocator([0.01, 1, 100, 10_000]))
        right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        right.yaxis.set_minor_locator(NullLocator())
        right.set_title("The same stream: the watch")
        for ax in axes:
            ax.set_xlabel("questions")
            ax.grid(True, axis="y")
            ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2))
        for ax in (middle, right):
            ax.axvline(questions * 2 // 5, color=INK, lw=0.8, ls="--")

    caption = f"{runs} shuffled streams of recorded questions; one stream whose first two fifths are easy ones only."
    return Drawing(folder).save("opening", "How a gate opens", caption, paint, 3.4)


def _places(questions: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(0, questions, 10)


def _steps(thresholds: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float | None]:
    return [None if np.isnan(t) else float(t) for t in thresholds[::10]]
