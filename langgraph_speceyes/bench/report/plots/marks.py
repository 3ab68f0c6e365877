"""What several plots have: error bars, bands, legends, axes of scores and of ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langgraph_speceyes.bench.report.scores import log_odds
from langgraph_speceyes.bench.report.series import Curve
from langgraph_speceyes.bench.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# scores to mark on an axis, those that say most first
_MARKED = (0.5, 0.9, 0.99, 0.999, 0.1, 0.9999, 0.01, 0.95, 0.98, 0.995, 0.7, 0.97, 0.998, 0.8, 0.3, 0.6, 0.4, 0.2)


def bars(found: Estimate, scale: float = 1.0) -> list[list[float]] | None:
    """Lengths of an error bar, as matplotlib wants them."""
    return all_bars([found], scale)


def all_bars(found: Sequence[Estimate], scale: float = 1.0) -> list[list[float]] | None:
    """The same of several points; None where one has no interval."""
    if any(e.value is None or e.low is None or e.high is None for e in found):
        return None
    # rounding may put an end a hair inside
    low = [scale * max(0.0, (e.value or 0.0) - (e.low or 0.0)) for e in found]
    return [low, [scale * max(0.0, (e.high or 0.0) - (e.value or 0.0)) for e in found]]


def band(ax: Axes, x: Sequence[float], curve: Curve, colour: str, scale: float = 1.0) -> None:
    """A line over the band of its interval."""
    ax.fill_between(
        list(x), [scale * v for v in curve.low], [scale * v for v in curve.high], color=colour, alpha=0.2, lw=0
    )
    ax.plot(list(x), [scale * v for v in curve.value], color=colour, lw=1.6)


def mark(colour: str, marker: str | None, style: str = "-") -> Any:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker=marker or "", ls=style, ms=5, lw=1.4)


def score_axis(ax: Axes, room: float = 0.24) -> None:
    """Label an axis of log-odds by the scores they stand for, `room` of its length apart at least."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    low, high = ax.get_xlim()
    kept: dict[float, str] = {}
    for score in _MARKED:
        at = log_odds(score)
        if low <= at <= high and all(abs(at - other) >= room * (high - low) for other in kept):
            kept[at] = f"{score:g}"
    ax.xaxis.set_major_locator(FixedLocator(sorted(kept)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: kept.get(x, "")))
    ax.set_xlim(low, high)
    ax.set_xlabel("score")


def ratio_axis(ax: Axes, low: float, high: float) -> None:
    """A logarithmic axis of speed-ups with plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = min(low, 1.0) / 1.15, max(high, 1.0) * 1.15
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    marks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    if high / low < 4:
        marks = sorted({*marks, 0.25, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 1.2, 1.5, 2.5, 3, 4, 6, 8})
    ax.xaxis.set_major_locator(FixedLocator([mark for mark in marks if low <= mark <= high]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.xaxis.set_minor_locator(NullLocator())


def speedup_panels(axes: Any, panels: int, ends: Sequence[float]) -> None:
    """Label panels of accuracy against speed-up, and hide those that are left over.

    Args:
        axes: As `subplots` returned them, `squeeze=False`.
        panels: How many are drawn in.
        ends: Speed-ups that the axes have to reach.
    """
    across = axes.shape[1]
    for ax in axes.flat[panels:]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy (%)")
    for k, ax in enumerate(axes.flat[:panels]):
        ratio_axis(ax, min(ends), max(ends))
        ax.tick_params(axis="x", labelbottom=True)
        if k + across >= panels:
            ax.set_xlabel("speed-up (x)")


def legend(figure: Figure, marks: Sequence[Any], names: Sequence[str]) -> None:
    """A legend below the plot."""
    figure.legend(list(marks), [short(name, 90) for name in names], loc="outside lower center", ncols=_columns(names))


def legend_height(names: Sequence[str]) -> float:
    """Inches that it takes."""
    return 0.2 * math.ceil(len(names) / _columns(names))


def _columns(names: Sequence[str]) -> int:
    """How many entries of a legend stand side by side."""
    return max(1, min(len(names), 125 // (7 + max(min(90, len(name)) for name in names))))


def short(text: str, most: int) -> str:
    """The beginning of a text that is too long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
