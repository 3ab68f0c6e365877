"""A report's plots, as SVG and PNG (matplotlib's Agg; no display, no global state)."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langgraph_speceyes.bench.report.cases import Timeline
from langgraph_speceyes.bench.report.scores import Scores, log_odds
from langgraph_speceyes.bench.report.series import Curve, Series, Sweeps
from langgraph_speceyes.bench.report.table import Table, column
from langgraph_speceyes.bench.statistics import Estimate
from langgraph_speceyes.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#24292f"
"""Text and axes; in the page they take the text's colour, light or dark."""
# Okabe and Ito 2008, "Color Universal Design", without black, which is the ink's, and yellow, which white swallows
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vPX*"
PHASE_COLOURS = {
    "intake": "#009E73",
    "judge": "#E69F00",
    "speculate": "#56B4E9",
    "gate": "#CC79A7",
    "slot": "#8C564B",
    "agent": "#0072B2",
    "other": "#999999",
}
RIGHT, WRONG = "#0072B2", "#D55E00"
_GREY = "#808080"
_STYLE = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": _GREY,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    # names of methods and runs are text, whatever is in them
    "text.parse_math": False,
    # the same report gives the same file
    "svg.hashsalt": "speceyes",
    "svg.fonttype": "path",
}
_WIDTH = 8.6
# scores to mark on an axis, those that say most first
_MARKED = (0.5, 0.9, 0.99, 0.999, 0.1, 0.9999, 0.01, 0.95, 0.98, 0.995, 0.7, 0.97, 0.998, 0.8, 0.3, 0.6, 0.4, 0.2)


@dataclass(frozen=True)
class Plot:
    """A plot in its files.

    Attributes:
        name: Of its files, without ending.
        title: Its heading.
        caption: What to see in it, and how it was made.
        svg: For a page: transparent, its ink the text's colour, its ids its own.
    """

    name: str
    title: str
    caption: str
    svg: str


class Drawing:
    """Draws plots into a folder.

    Args:
        folder: Where the files go.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import matplotlib
            from matplotlib.figure import Figure
        except ModuleNotFoundError as missing:
            raise MissingExtraError("speceyes report", "eval") from missing
        self.folder = folder
        self._style, self._figure = matplotlib.rc_context, Figure
        self._names: set[str] = set()

    def table(self, table: Table) -> Plot | None:
        """Accuracy against speed-up, a panel a split; None without a speed-up."""
        panels: list[tuple[str, list[tuple[Estimate, Estimate] | None]]] = []
        for key in table.columns:
            cells = [row.cells.get(column(*key)) for row in table.rows]
            panels.append((_short(" / ".join(key), 34), [(c.speedup, c.accuracy) if c else None for c in cells]))
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
                        xerr=_bars(x),
                        yerr=_bars(y, 100),
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
                _ratios(ax, min(ends), max(ends))
                if k + across >= len(panels):
                    ax.set_xlabel("speed-up (x)")
                    ax.tick_params(axis="x", labelbottom=True)
            marks = [_mark(COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)], "") for k in range(len(table.rows))]
            _legend(figure, marks, [row.label for row in table.rows])

        return self._save(
            "accuracy-speedup",
            "Accuracy against speed-up",
            "Speed-up over the agent by mean latency, on a logarithmic axis. Up and to the right is better. Bars are "
            "95 % intervals; the dotted line is the agent's own speed.",
            draw,
            0.9 + 2.1 * down + _legend_height([row.label for row in table.rows]),
        )

    def densities(self, scores: Scores) -> Plot | None:
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
                _scores(ax)
            axes[0].set_ylabel("density (per unit of log-odds)")
            lines = [_mark(RIGHT, None), _mark(WRONG, None, "--")]
            wrong = scores.n - scores.right
            _legend(figure, lines, [f"right answers (n = {scores.right})", f"wrong answers (n = {wrong})"])

        return self._save(
            f"densities-{scores.run}-k{scores.k}",
            f"Answer scores of right and wrong speculations, {scores.run}, K = {scores.k}",
            "Gaussian kernel density estimates (Scott's bandwidth) over the score's log-odds ln(s / (1 - s)), since "
            "scores crowd near 1; of min, mean and bottom that is 0.6 times the separability. Dotted lines are the "
            "peaks, and their distance is in log-odds. Axes differ between the panels.",
            draw,
            3.1,
        )

    def selective(self, scores: Scores) -> Plot:
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
            _scores(right, 0.12)
            right.set_xlabel("score (mean of a tenth of the speculations)")
            right.set_ylabel("right (%)")
            right.set_title("accuracy by score", loc="left")
            for ax in (left, right):
                ax.grid(True)
            marks = [_mark(COLOURS[k], MARKERS[k], ("-", "--", "-.", ":")[k % 4]) for k in range(len(scores.scores))]
            _legend(figure, marks, list(scores.scores))

        return self._save(
            f"selective-{scores.run}-k{scores.k}",
            f"What a score is worth, {scores.run}, K = {scores.k}",
            "Left: the lower the curve, the better; a score that says nothing stays on the dotted line, the share "
            "wrong of all. Right: a mark for each tenth of the speculations by score; on the dotted line the score is "
            "the share right. min, mean and bottom are squashed separabilities and not meant to be on it.",
            draw,
            3.6,
        )

    def sweep(self, found: Sweeps) -> Plot:
        """Accuracy and speed-up against the threshold of each score."""

        def draw(figure: Figure) -> None:
            axes = figure.subplots(2, len(found.scores), squeeze=False, sharey="row", sharex="col")
            for k, (name, one) in enumerate(found.scores.items()):
                top, bottom = axes[0][k], axes[1][k]
                at = [log_odds(threshold) for threshold in one.thresholds]
                _band(top, at, one.accuracy, COLOURS[0], 100)
                _band(bottom, at, one.speedup, COLOURS[1])
                top.axhline(100 * found.agent, color=INK, lw=0.9, ls="--")
                bottom.axhline(1, color=INK, lw=0.9, ls="--")
                top.set_title(name, loc="left")
                for ax in (top, bottom):
                    ax.grid(True)
                    if name == found.score and found.threshold is not None:
                        ax.axvline(log_odds(found.threshold), color=COLOURS[2], lw=1.1)
                _scores(bottom)
                bottom.set_xlabel("threshold")
            axes[0][0].set_ylabel("accuracy (%)")
            axes[1][0].set_ylabel("speed-up (x)")
            marks, names = [_mark(INK, None, "--")], ["agent alone"]
            if found.threshold is not None and found.score in found.scores:
                marks.append(_mark(COLOURS[2], None))
                names.append("threshold of the run")
            _legend(figure, marks, names)

        return self._save(
            f"thresholds-{found.run}",
            f"Accuracy and speed-up against the gate threshold, {found.run}",
            "Offline, from both sides' answers to every question. Left in each panel everything that the judge lets "
            "pass is accepted, right nothing. Bands are 95 % intervals at each threshold. Thresholds are drawn by "
            "their log-odds, since scores crowd near 1.",
            draw,
            4.6,
        )

    def trade(self, found: Sweeps) -> Plot:
        """Accuracy against speed-up, a line a score."""

        def draw(figure: Figure) -> None:
            ax = figure.subplots()
            for k, one in enumerate(found.scores.values()):
                ax.plot(
                    one.speedup.value,
                    [100 * a for a in one.accuracy.value],
                    color=COLOURS[k],
                    lw=1.5,
                    ls=("-", "--", "-.", ":")[k % 4],
                    marker=MARKERS[k],
                    ms=3,
                )
            ax.axhline(100 * found.agent, color=INK, lw=0.9, ls="--")
            ax.axvline(1, color=INK, lw=0.9, ls=":")
            ax.set_xlabel("speed-up over the agent, by mean latency (x)")
            ax.set_ylabel("accuracy (%)")
            ax.grid(True)
            marks = [_mark(COLOURS[k], MARKERS[k], ("-", "--", "-.", ":")[k % 4]) for k in range(len(found.scores))]
            _legend(figure, [*marks, _mark(INK, None, "--")], [*found.scores, "agent alone"])

        return self._save(
            f"trade-{found.run}",
            f"What each score trades, {found.run}",
            "The same thresholds, each mark one of them: how much accuracy each score gives for how much speed. "
            "Up and to the right is better.",
            draw,
            3.8,
        )

    def series(self, found: Series) -> Plot:
        """Throughput over concurrency or batch size; accuracy and speed-up over K."""
        panels: list[tuple[str, Callable[[Any], Estimate], float]] = [
            ("accuracy (%)", lambda p: p.accuracy, 100.0),
            ("speed-up by mean latency (x)", lambda p: p.speedup, 1.0),
        ]
        if found.over != "K":
            panels = [
                ("questions a busy second", lambda p: Estimate(p.throughput, None, None, 0), 1.0),
                ("throughput over the agent's (x)", lambda p: p.throughput_speedup, 1.0),
            ]

        def draw(figure: Figure) -> None:
            for ax, (label, value, scale) in zip(figure.subplots(1, 2), panels, strict=True):
                ticks = sorted({p.x for line in found.lines for p in line.points})
                for k, line in enumerate(found.lines):
                    points = [(p.x, value(p)) for p in line.points if value(p).value is not None]
                    if not points:
                        continue
                    ax.errorbar(
                        [x for x, _ in points],
                        [scale * (e.value or 0.0) for _, e in points],
                        yerr=_all_bars([e for _, e in points], scale),
                        color=COLOURS[k % len(COLOURS)],
                        marker=MARKERS[k % len(MARKERS)],
                        ms=4,
                        lw=1.4,
                        ls=("-", "--", "-.", ":")[k % 4],
                    )
                ax.set_xscale("log", base=2)
                ax.set_xticks(ticks, [str(t) for t in ticks])
                ax.minorticks_off()
                ax.set_xlabel({"concurrency": "questions under way at once"}.get(found.over, found.over))
                ax.set_ylabel(label)
                if label.startswith("questions"):
                    ax.set_ylim(bottom=0)
                ax.grid(True)
            marks = [
                _mark(COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)], ("-", "--", "-.", ":")[k % 4])
                for k in range(len(found.lines))
            ]
            _legend(figure, marks, [line.label for line in found.lines])

        return self._save(
            f"{found.over}-{found.benchmark}",
            f"{found.benchmark}: {'accuracy and speed-up' if found.over == 'K' else 'throughput'} against {found.over}",
            "All questions of a run together, the agent's figures from the same run. Bars are 95 % intervals.",
            draw,
            3.4 + _legend_height([line.label for line in found.lines]),
        )

    def timeline(self, found: Timeline) -> Plot:
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
            _legend(figure, [_mark(PHASE_COLOURS[name], "s", "") for name in names], names)

        return self._save(
            f"timeline-{found.run}",
            f"Where the time goes: {found.method}, {found.run}, first {len(found.bars)} questions",
            "A bar a question, in the order they began"
            + (", several at once" if found.since_first else ", one at a time and so each from its own beginning")
            + "; an x behind it marks a wrong answer. Grey, drawn last, is time that no phase accounts for.",
            draw,
            1.2 + 0.16 * len(found.bars),
        )

    def _save(self, name: str, title: str, caption: str, draw: Callable[[Figure], None], height: float) -> Plot:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "plot"
        while name in self._names:
            name += "-"
        self._names.add(name)
        with self._style(_STYLE):
            figure = self._figure(figsize=(_WIDTH, height), layout="constrained")
            draw(figure)
            figure.savefig(self.folder / f"{name}.png", dpi=144, facecolor="white")
            figure.set_layout_engine("none")  # it is laid out
            svg = io.StringIO()
            quiet = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(svg, format="svg", facecolor="white", metadata=quiet)
        (self.folder / f"{name}.svg").write_text(svg.getvalue(), encoding="utf-8")
        return Plot(name, title, caption, _inline(svg.getvalue(), len(self._names)))


def _inline(svg: str, number: int) -> str:
    """An SVG as part of a page: no prolog, no ground, ink in the text's colour, ids that no other plot has."""
    svg = svg[svg.index("<svg") :].replace("fill: #ffffff", "fill: none")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>p{number}-", svg)
    svg = re.sub(INK, "currentColor", svg, flags=re.IGNORECASE)
    head, rest = svg.split(">", 1)
    # the page gives the size and reads the caption out
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    return f'{head} aria-hidden="true" focusable="false">{rest}'


def _bars(found: Estimate, scale: float = 1.0) -> list[list[float]] | None:
    """Lengths of an error bar, as matplotlib wants them."""
    return _all_bars([found], scale)


def _all_bars(found: Sequence[Estimate], scale: float = 1.0) -> list[list[float]] | None:
    if any(e.value is None or e.low is None or e.high is None for e in found):
        return None
    # rounding may put an end a hair inside
    low = [scale * max(0.0, (e.value or 0.0) - (e.low or 0.0)) for e in found]
    return [low, [scale * max(0.0, (e.high or 0.0) - (e.value or 0.0)) for e in found]]


def _band(ax: Axes, x: Sequence[float], curve: Curve, colour: str, scale: float = 1.0) -> None:
    ax.fill_between(
        list(x), [scale * v for v in curve.low], [scale * v for v in curve.high], color=colour, alpha=0.2, lw=0
    )
    ax.plot(list(x), [scale * v for v in curve.value], color=colour, lw=1.6)


def _mark(colour: str, marker: str | None, style: str = "-") -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker=marker or "", ls=style, ms=5, lw=1.4)


def _scores(ax: Axes, room: float = 0.24) -> None:
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


def _ratios(ax: Axes, low: float, high: float) -> None:
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


def _legend(figure: Figure, marks: Sequence[Any], names: Sequence[str]) -> None:
    figure.legend(list(marks), [_short(name, 90) for name in names], loc="outside lower center", ncols=_columns(names))


def _legend_height(names: Sequence[str]) -> float:
    return 0.2 * math.ceil(len(names) / _columns(names))


def _columns(names: Sequence[str]) -> int:
    """How many entries of a legend stand side by side."""
    return max(1, min(len(names), 125 // (7 + max(min(90, len(name)) for name in names))))


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _end(text: str, most: int) -> str:
    return text if len(text) <= most else f"…{text[1 - most :]}"
