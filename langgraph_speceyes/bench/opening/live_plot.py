"""How a gate opened over a stream, as a plot."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from langgraph_speceyes.bench.opening.live import Live
from langgraph_speceyes.bench.report.plots.drawing import COLOURS, INK, Drawing, Plot
from langgraph_speceyes.bench.report.plots.marks import legend, mark
from langgraph_speceyes.bench.report.scores import log_odds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WINDOW = 50
"""Questions that a share is taken over."""
_EVENTS = {"opened": (COLOURS[2], "opened"), "closed": (COLOURS[1], "closed by the detector")}
_MARKED = (0.5, 0.7, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 0.99999)


def draw_opening(live: Live, folder: Path) -> Plot:
    """Draw threshold, accepted share, audits and the detector's level over the questions.

    Args:
        live: What came of the stream.
        folder: An existing folder; ``opening.png`` and ``opening.svg`` are written.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import FuncFormatter

        axes = figure.subplots(4, 1, sharex=True)
        at = [point.number for point in live.points]
        _threshold(axes[0], live, at)
        accepted = np.array([point.route == "bypass" for point in live.points], dtype=float)
        axes[1].plot(at, [100 * accepted[max(0, k - WINDOW) : k].mean() for k in at], color=COLOURS[0], lw=1.4)
        axes[1].set_title(f"answered by the speculator, of the last {WINDOW} (%)", loc="left")
        audits = list(accumulate(int(point.audited) for point in live.points))
        axes[2].plot(at, audits, color=COLOURS[0], lw=1.4)
        axes[2].set_title("accepted answers audited so far", loc="left")
        detector = live.status["detector"]
        axes[3].plot(at, [max(point.level, 1.0) for point in live.points], color=COLOURS[0], lw=1.4)
        axes[3].axhline(detector["warning_level"], color=COLOURS[4], lw=0.9, ls="--")
        axes[3].axhline(detector["alarm_level"], color=COLOURS[1], lw=0.9, ls="--")
        axes[3].set_yscale("log")
        axes[3].yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
        axes[3].set_title("level of the detector: it warns, and closes the gate, at the dashed lines", loc="left")
        axes[3].set_xlabel("questions answered")
        for ax in axes:
            ax.grid(True)
            for number, event in live.events:
                if event["event"] in _EVENTS:
                    ax.axvline(number, color=_EVENTS[event["event"]][0], lw=1.1)
            if live.swap_at is not None:
                ax.axvline(live.swap_at, color=INK, lw=1.1, ls=":")
        seen = {event["event"] for _, event in live.events}
        marks = [(mark(colour, None), name) for event, (colour, name) in _EVENTS.items() if event in seen]
        if live.swap_at is not None:
            marks.append((mark(INK, None, ":"), "speculator swapped"))
        if marks:
            legend(figure, [one for one, _ in marks], [name for _, name in marks])

    settings = live.settings
    return Drawing(folder).save(
        "opening",
        "A gate that opens itself, live",
        f"From nothing: at most {settings.max_loss:.3g} of all questions get an answer that differs from the agent's, "
        f"with confidence {settings.confidence:.3g}. {len(live.points)} questions in the order of their answers.",
        draw,
        7.4,
    )


def _threshold(ax: Axes, live: Live, at: list[int]) -> None:
    """The threshold by its log-odds; no line while the gate is shut."""
    odds = [np.nan if point.threshold is None else log_odds(point.threshold) for point in live.points]
    ax.plot(at, odds, color=COLOURS[0], lw=1.4, drawstyle="steps-post")
    ax.set_title(f"threshold of {live.settings.score}; no line while shut", loc="left")
    known = [one for one in odds if not np.isnan(one)]
    if known:
        low, high = min(known) - 0.5, max(known) + 0.5
        ax.set_ylim(low, high)
        marked = [score for score in _MARKED if low <= log_odds(score) <= high]
        ax.set_yticks([log_odds(score) for score in marked], [f"{score:g}" for score in marked])
    else:
        ax.set_yticks([])
