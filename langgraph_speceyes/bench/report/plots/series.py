"""Other thresholds, and what varies between runs, as plots."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from langgraph_speceyes.bench.report.plots.drawing import COLOURS, INK, MARKERS, Drawing, Plot
from langgraph_speceyes.bench.report.plots.marks import all_bars, band, legend, legend_height, mark, score_axis
from langgraph_speceyes.bench.report.scores import log_odds
from langgraph_speceyes.bench.report.series import Series, Sweeps
from langgraph_speceyes.bench.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sweep(drawing: Drawing, found: Sweeps) -> Plot:
    """Accuracy and speed-up against the threshold of each score."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots(2, len(found.scores), squeeze=False, sharey="row", sharex="col")
        for k, (name, one) in enumerate(found.scores.items()):
            top, bottom = axes[0][k], axes[1][k]
            at = [log_odds(threshold) for threshold in one.thresholds]
            band(top, at, one.accuracy, COLOURS[0], 100)
            band(bottom, at, one.speedup, COLOURS[1])
            if found.without:
                for ax, curve, scale in (
                    (top, found.without[name].accuracy, 100),
                    (bottom, found.without[name].speedup, 1),
                ):
                    ax.plot(at, [scale * v for v in curve.value], color=INK, lw=1.2, ls=":")
            top.axhline(100 * found.agent, color=INK, lw=0.9, ls="--")
            bottom.axhline(1, color=INK, lw=0.9, ls="--")
            top.set_title(name, loc="left")
            for ax in (top, bottom):
                ax.grid(True)
                if name == found.score and found.threshold is not None:
                    ax.axvline(log_odds(found.threshold), color=COLOURS[2], lw=1.1)
            score_axis(bottom)
            bottom.set_xlabel("threshold")
        axes[0][0].set_ylabel("accuracy (%)")
        axes[1][0].set_ylabel("speed-up (x)")
        marks, names = [mark(INK, None, "--")], ["agent alone"]
        if found.without:
            marks.append(mark(INK, None, ":"))
            names.append("depth 0 alone")
        if found.threshold is not None and found.score in found.scores:
            marks.append(mark(COLOURS[2], None))
            names.append("threshold of the run")
        legend(figure, marks, names)

    return drawing.save(
        f"thresholds-{found.run}",
        f"Accuracy and speed-up against the gate threshold, {found.run}",
        "Offline, from both sides' answers to every question. Left in each panel everything that the judge lets "
        "pass is accepted, right nothing. Bands are 95 % intervals at each threshold. Thresholds are drawn by "
        "their log-odds, since scores crowd near 1."
        + (" The threshold is the same at every depth." if found.without else ""),
        draw,
        4.6,
    )


def trade(drawing: Drawing, found: Sweeps) -> Plot:
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
        marks = [mark(COLOURS[k], MARKERS[k], ("-", "--", "-.", ":")[k % 4]) for k in range(len(found.scores))]
        legend(figure, [*marks, mark(INK, None, "--")], [*found.scores, "agent alone"])

    return drawing.save(
        f"trade-{found.run}",
        f"What each score trades, {found.run}",
        "The same thresholds, each mark one of them: how much accuracy each score gives for how much speed. "
        "Up and to the right is better.",
        draw,
        3.8,
    )


def over_runs(drawing: Drawing, found: Series) -> Plot:
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
                    yerr=all_bars([e for _, e in points], scale),
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
            mark(COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)], ("-", "--", "-.", ":")[k % 4])
            for k in range(len(found.lines))
        ]
        legend(figure, marks, [line.label for line in found.lines])

    return drawing.save(
        f"{found.over}-{found.benchmark}",
        f"{found.benchmark}: {'accuracy and speed-up' if found.over == 'K' else 'throughput'} against {found.over}",
        "All questions of a run together, the agent's figures from the same run. Bars are 95 % intervals.",
        draw,
        3.4 + legend_height([line.label for line in found.lines]),
    )
