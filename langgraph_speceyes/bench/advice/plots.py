"""Advice as plots: agreement against score, a gate over time, its audits, routes, groups."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from langgraph_speceyes.bench.advice.figures import Figures
from langgraph_speceyes.bench.advice.live import route_of
from langgraph_speceyes.bench.advice.replay import Replay
from langgraph_speceyes.bench.compositions import Composition, Terms, losses
from langgraph_speceyes.bench.evidence import Evidence
from langgraph_speceyes.bench.report.plots.drawing import COLOURS, INK, PHASE_COLOURS, RIGHT, WRONG, Drawing, Plot
from langgraph_speceyes.bench.report.plots.marks import all_bars, bars, legend, mark, ratio_axis, score_axis, short
from langgraph_speceyes.bench.report.scores import log_odds
from langgraph_speceyes.bench.statistics import share
from langgraph_speceyes.traffic.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PARTS, _IN_PART = 10, 10
_BINS = 40
_COLOURS = {
    "bypass": COLOURS[2],
    "agent: judge": PHASE_COLOURS["judge"],
    "agent: gate": PHASE_COLOURS["gate"],
    "agent: speculate": PHASE_COLOURS["speculate"],
    "agent: intake": "#999999",
    "agent: agent": PHASE_COLOURS["agent"],
}
_EVENTS = {"opened": "^", "lowered": "v", "warned": "X", "closed": "s", "reset": "D", "reopened": "P"}


def agreement(
    drawing: Drawing, evidence: Evidence, composition: Composition, threshold: float | None, terms: Terms
) -> Plot | None:
    """Agreement by score, and what is lost by threshold; None without two scored answers.

    Of several depths, that of the first.
    """
    first, several = composition.depths[0], composition.depths != (0,)
    compared = composition.scores(evidence)[0] if several else composition.compared(evidence)
    lost = losses(evidence, terms, first)
    at = np.flatnonzero(compared > 0)
    if at.size < 2:
        return None
    order = at[np.argsort(compared[at], kind="stable")]
    agree = (evidence.agree, *(one.agree for one in evidence.deeper))[first]
    right_ones = (evidence.columns.speculator_right, *(one.right for one in evidence.columns.deeper))[first]
    labelled = terms.labels == "all"
    good = right_ones if labelled else np.array([one is True for one in agree], dtype=bool)
    parts = np.array_split(order, max(1, min(_PARTS, order.size // _IN_PART)))
    x = [float(np.mean([log_odds(s) for s in compared[part]])) for part in parts]
    shares = [share(good[part].tolist()) for part in parts]
    what = "right" if labelled else "agrees with the agent"

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        left.errorbar(
            x, [100 * (s.value or 0) for s in shares], yerr=all_bars(shares, 100), fmt="o-", color=RIGHT, ms=4, lw=1.2
        )
        left.set_ylim(0, 104)
        left.set_ylabel(f"{what} (%)")
        left.set_title(f"the small model's answer {'is ' if labelled else ''}{what}", loc="left")
        falling = order[::-1]
        scores = compared[falling]
        last = np.append(np.diff(scores) != 0, True)
        odds = [log_odds(s) for s in scores[last]]
        n = len(compared)
        right.step(odds, 100 * np.cumsum(lost[falling])[last] / n, where="post", color=WRONG, lw=1.6)
        right.axhline(100 * terms.max_loss, color=INK, lw=0.8, ls=":")
        right.set_ylabel(f"{'differing' if terms.labels == 'none' else 'lost'}, % of all questions", color=WRONG)
        right.set_ylim(bottom=min(0.0, right.get_ylim()[0]))
        right.set_title("what each threshold accepts, and what that loses", loc="left")
        taken = right.twinx()
        taken.spines["right"].set_visible(True)
        taken.step(odds, 100 * np.arange(1, scores.size + 1)[last] / n, where="post", color=RIGHT, lw=1.6, ls="--")
        taken.set_ylabel("accepted, % of all questions", color=RIGHT)
        taken.set_ylim(0, 100)
        for ax in (left, right):
            ax.grid(True)
            if threshold is not None:
                ax.axvline(log_odds(threshold), color=INK, lw=1.0, ls="--")
            score_axis(ax, 0.12)
        right.set_xlabel("threshold")

    gate = "" if threshold is None else f" The dashed upright line is the gate's threshold, {threshold:.4g}."
    of = f"{composition.name}, the answers at depth {first}" if several else composition.name
    return drawing.save(
        "agreement",
        f"{'Accuracy' if labelled else 'Agreement'} against score: {of}",
        f"Left: {len(parts)} parts of equal size, with 95 % intervals (Wilson). Right: loss as the labels count "
        f"it, and answers accepted; the dotted line is the limit of {100 * terms.max_loss:.3g} %. Log-odds.{gate}",
        draw,
        3.3,
    )


def by_group(drawing: Drawing, found: Figures) -> Plot | None:
    """Speed-up by group; None without groups."""
    if not found.groups:
        return None
    rows = [(one.value, one.speedup) for one in found.groups]
    rows = [("all, total time", found.speedup), ("mean of the groups", found.speedup_mean), *rows]
    ends = [end for _, e in rows for end in (e.value, e.low, e.high) if end is not None and end > 0]

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        for row, (_, one) in enumerate(rows):
            if one.value is not None:
                ax.errorbar([one.value], [row], xerr=bars(one), fmt="o", color=COLOURS[min(row, 2)], ms=5, lw=1.4)
        ax.axvline(1, color=INK, lw=0.8, ls=":")
        ax.set_yticks(range(len(rows)), [short(name, 40) for name, _ in rows])
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.grid(True, axis="x")
        ratio_axis(ax, min(ends), max(ends))
        ax.set_xlabel("speed-up (x)")

    return drawing.save(
        "groups",
        f"Speed-up by {found.by}",
        "In total time, with 95 % intervals, on a logarithmic axis; the dotted line is the agent's own speed.",
        draw,
        1.0 + 0.3 * len(rows),
    )


def opening(drawing: Drawing, found: Replay, times: Sequence[float]) -> Plot:
    """The threshold of a gate that opens itself, over the records."""

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        y = [np.nan if t is None else log_odds(t) for t in found.threshold]
        ax.plot(found.number, y, color=RIGHT, lw=1.8, drawstyle="steps-post")
        drawn = [(number, event) for number, event in found.events if event["threshold"] is not None]
        for number, event in drawn:
            if event["event"] != "lowered":
                place = log_odds(event["threshold"] or 0.5)
                ax.plot([number], [place], marker=_EVENTS[event["event"]], color=WRONG, ms=7, ls="")
                ax.annotate(event["event"], (number, place), xytext=(6, 4), textcoords="offset points", fontsize=8)
        for number, event in found.events:
            if event["threshold"] is None:
                ax.axvline(number, color=WRONG, lw=1.2, ls="--")
                ax.annotate(
                    event["event"],
                    (number, 0.96),
                    xycoords=("data", "axes fraction"),
                    xytext=(4, 0),
                    textcoords="offset points",
                    fontsize=8,
                    va="top",
                )
        if not drawn:
            ax.set_ylim(-1, 1)
            ax.annotate("shut throughout", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center")
        _scores_up(ax)
        ax.set_ylabel("threshold (accepted from here up)")
        _records_axis(ax, times)

    return drawing.save(
        "opening",
        "How the gate opened" if found.saved else "How a gate that opens itself would have opened",
        f"Records of the newest gate in their order; at most {100 * found.settings.max_loss:.3g} % may differ, "
        f"with {found.settings.confidence:.0%} confidence. No line: shut. In the end: {found.words}.",
        draw,
        3.0,
    )


def audits(drawing: Drawing, found: Replay, times: Sequence[float]) -> Plot | None:
    """The detector's level, and the audits under it; None without audits."""
    if not found.audits:
        return None

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import FuncFormatter

        ax, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        ax.plot(found.number, np.maximum(found.level, 0.5), color=RIGHT, lw=1.5)
        ax.set_yscale("log")
        ax.set_ylim(0.5, 3 * max(found.alarm_level, *found.level))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}" if y >= 1 else ""))
        for level, name in ((found.warning_level, "warns"), (found.alarm_level, "closes")):
            ax.axhline(level, color=WRONG, lw=1.0, ls="--" if name == "closes" else ":")
            ax.annotate(
                name,
                (0.0, level),
                xycoords=("axes fraction", "data"),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=8,
                color=WRONG,
            )
        for number, event in found.events:
            if event["event"] in ("warned", "closed"):
                ax.plot([number], [max(event["level"], 0.5)], marker=_EVENTS[event["event"]], color=WRONG, ms=7)
        ax.set_ylabel("detector's level")
        ax.grid(True, axis="y")
        for row, (differs, colour) in enumerate(((False, RIGHT), (True, WRONG))):
            below.plot(
                [k for k, other in found.audits if other == differs],
                [row] * sum(other == differs for _, other in found.audits),
                "|",
                color=colour,
                ms=9,
                mew=1.0,
            )
        below.set_ylim(-0.7, 1.7)
        below.set_yticks([0, 1], ["agrees", "differs"])
        below.set_ylabel("audits")
        _records_axis(below, times)

    return drawing.save(
        "audits",
        "Audits, and the detector's level",
        f"{len(found.audits)} accepted answers were audited, {sum(other for _, other in found.audits)} differ from the "
        f"agent's. The level (at least 0.5 in the plot) warns at {found.warning_level:g} and closes the gate at "
        f"{found.alarm_level:g}.",
        draw,
        3.8,
    )


def routes(drawing: Drawing, records: Sequence[Record]) -> Plot | None:
    """Routes over time, in parts of equally many questions; None for few records."""
    if len(records) < _IN_PART:
        return None
    parts = np.array_split(np.arange(len(records)), min(_BINS, max(1, len(records) // _IN_PART)))
    found = [route_of(record) for record in records]
    names = [name for name in _COLOURS if name in set(found)]
    names += [name for name in dict.fromkeys(found) if name not in names]
    shadow = [record["mode"] == "shadow" for record in records]

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        floor = np.zeros(len(parts))
        for name in names:
            heights = np.array([100 * np.mean([found[k] == name for k in part]) for part in parts])
            ax.bar(
                [int(part[0]) for part in parts],
                heights,
                [part.size for part in parts],
                bottom=floor,
                align="edge",
                color=_COLOURS.get(name, "#999999"),
                lw=0,
            )
            floor += heights
        for part in parts:
            if any(shadow[k] for k in part):
                ax.bar([int(part[0])], [100], [part.size], align="edge", fill=False, hatch="////", ec="#ffffff55", lw=0)
        ax.set_ylim(0, 100)
        ax.set_ylabel("questions (%)")
        _records_axis(ax, [record["at"] for record in records])
        legend(figure, [mark(_COLOURS.get(name, "#999999"), "s", "") for name in names], names)

    return drawing.save(
        "routes",
        "Routes over time",
        f"{len(parts)} parts of equally many records, by whose answer it was and which phase decided; hatched where "
        "the gate was in shadow: where the question would have gone.",
        draw,
        3.0,
    )


def _records_axis(ax: Axes, times: Sequence[float]) -> None:
    """An axis of records in their order, with the days of some."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    long = len(times) > 1 and times[-1] - times[0] > 2 * 86400

    def label(x: float, _: Any) -> str:
        k = round(x)
        if not 0 <= k <= len(times) or not times:
            return ""
        when = time.gmtime(times[min(k, len(times) - 1)])
        return f"{k}\n{time.strftime('%Y-%m-%d' if long else '%m-%d %H:%M', when)}"

    ax.set_xlim(0, max(1, len(times)))
    ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(label))
    ax.set_xlabel("records, and when (UTC)")


def _scores_up(ax: Axes) -> None:
    """Label an upright axis of log-odds by the scores they stand for."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    marks = {log_odds(s): f"{s:g}" for s in (0.1, 0.5, 0.7, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 0.99999)}
    low, high = ax.get_ylim()
    kept = [at for at in marks if low <= at <= high]
    ax.yaxis.set_major_locator(FixedLocator(kept))
    ax.yaxis.set_major_formatter(
        FuncFormatter(lambda y, _: next((t for at, t in marks.items() if abs(at - y) < 1e-9), ""))
    )
    ax.set_ylim(low, high)
    ax.grid(True, axis="y")
