"""A second look: where questions were answered, and what the formula says of each depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.data import NOTHING
from langgraph_speceyes.bench.report.depths import Depths
from langgraph_speceyes.bench.report.page.blocks import Block, Drawn, Grid
from langgraph_speceyes.bench.report.plots.depths import by_depth
from langgraph_speceyes.bench.report.plots.drawing import Drawing
from langgraph_speceyes.bench.report.text import NONE, Text, number, percent, shown, times
from langgraph_speceyes.bench.report.ways import Ways

if TYPE_CHECKING:
    from langgraph_speceyes.bench.report import Report


def depths(report: Report, drawing: Drawing) -> list[Block]:
    """By run and method: the routes, a plot of them, and the latency that they predict."""
    found: list[Block] = []
    for k, one in enumerate(report.depths):
        first, *others = depth_tables(one)
        found += [first, Drawn(by_depth(drawing, one), folded=k > 0), *others]
    return found + [grid for one in report.ways for grid in ways_tables(one)]


def depth_tables(one: Depths) -> list[Grid]:
    """Routes, latency against the formula, and each depth on every question where that is known."""
    every = any(level.every_right.value is not None for split in one.splits for level in split.levels)
    return [_routes(one), _latency(one), *([_alone(one)] if every else [])]


def ways_tables(found: Ways) -> list[Grid]:
    """All ways on all questions, total time first, and by split."""
    rows: list[list[Text]] = [
        [
            (one.name, "" if one.live else "replayed"),
            times(one.speedup, one.name),
            times(one.speedup_cpu, one.name),
            shown(one.over_cascade, 1, 2),
            times(one.speedup_mean, one.name),
            percent(one.right),
            percent(one.answered),
        ]
        for one in found.ways
    ]
    splits = list(found.ways[0].by_split)
    apart: list[list[Text]] = [
        [
            (one.name, "" if one.live else "replayed"),
            *((times(one.by_split[name], one.name)[0], percent(one.right_by_split[name])[0] + " %") for name in splits),
        ]
        for one in found.ways
    ]
    return [
        Grid(
            f"Ways to put judge, depths and agent together: {found.run}",
            [
                *("way", "total time, x", "processor seconds, x", "over the cascade, x"),
                *(f"mean of {len(splits)} splits, x", "right, %", "answered by the small model, %"),
            ],
            rows,
            note=f"On the same {found.n} questions. How many times as fast as the method agent, and as the plain "
            "cascade, in total time. Replayed ways did not run: they take the seconds that their parts took in the "
            "run, with the thresholds of the run, and the bypass's own time beside them.",
        ),
        Grid(
            f"The same by split: {found.run}",
            ["way", *(f"{name}, x" for name in splits)],
            apart,
            note="Speed-up over the agent in total time, and the share right.",
        ),
    ]


def _routes(one: Depths) -> Grid:
    """Where questions were answered."""
    rows: list[list[Text]] = []
    for split in one.splits:
        shares = [
            (_name(level.depth, level.look), level.came, level.accepted, level.answered, level.right)
            for level in split.levels
        ]
        shares.append(("agent", split.fell_back, NOTHING, split.agent, split.agent_right))
        rows += [
            [(split.name, ""), (name, ""), (f"{came} / {split.n}", ""), *map(percent, found)]
            for name, came, *found in shares
        ]
    return Grid(
        f"Where questions were answered: {one.method}, {one.run}",
        ["questions", "depth", "came to it", "accepted there, %", "answered there, %", "right of these, %"],
        rows,
        names=2,
        note="Depth 0 is the whole image, each further one another look. Accepted is the share of those that came to "
        "a depth (alpha_j), answered the share of all questions.",
    )


def _latency(one: Depths) -> Grid:
    """Measured against formula."""
    rows: list[list[Text]] = []
    for split in one.splits:
        head = [number(split.judge_s, 3), shown(split.beta, 1, 2)]
        rows.append([(split.name, ""), ("E[L]", ""), *head, NONE, *_against(split.predicted_s, split.measured_s), NONE])
        for level in split.levels:
            values = [number(level.cost_s, 3), shown(level.accepted, 1, 2)]
            saved = NONE if level.saved_s is None else (f"{level.saved_s:+.3f}", "")
            line = [*values, saved, *_against(level.predicted_s, level.measured_s), (str(level.came), "")]
            rows.append([(split.name, ""), (f"V_{level.depth}", ""), *line])
        last = [number(split.agent_s, 3), *[NONE] * 5, (str(split.fell_back), "")]
        rows.append([(split.name, ""), ("L_agent", ""), *last])
    return Grid(
        f"Latency by depth: {one.method}, {one.run}",
        [
            *("questions", "", "c_J, c_j, L_agent, s", "beta, alpha_j", "saved, s", "predicted, s", "measured, s"),
            *("measured to predicted", "questions that pay it"),
        ],
        rows,
        names=2,
        note="E[L] = c_J + beta V_0 + (1 - beta) V_1 with V_j = c_j + (1 - alpha_j) V_{j+1} and V_{n+1} = L_agent. "
        "c_J is intake and judgment, c_j the mean of look, speculation and gate over the questions that came to that "
        "depth, L_agent the agent's mean behind the bypass, over the questions that fell back. Each phase bears as "
        "much of the time that the graph takes between a question's phases. The prediction is made with the means of "
        "one half of the questions, drawn at random, and measured on the other half. Saved is alpha_j V_{j+1} - c_j: a "
        "depth pays where it is above 0. V_0 takes what is rejected at depth 0 to fare like everything at depth 1, "
        "what the judge sends on included.",
    )


def _alone(one: Depths) -> Grid:
    """All answers of each depth."""
    rows: list[list[Text]] = [
        [
            (split.name, ""),
            (_name(level.depth, level.look), ""),
            (str(split.n), ""),
            percent(level.every_right),
            shown(level.every_auroc, 1, 3),
        ]
        for split in one.splits
        for level in split.levels
    ]
    return Grid(
        f"Each depth on every question: {one.method}, {one.run}",
        ["questions", "depth", "n", "right, %", "AUROC of its score"],
        rows,
        names=2,
        note="What the small model says at a depth to all questions, whatever the judge or a gate says.",
    )


def _name(depth: int, look: str | None) -> str:
    return f"{depth}: {look or 'whole image'}"


def _against(predicted: float | None, measured: float | None) -> list[Text]:
    if predicted is None or measured is None:
        return [NONE, NONE, NONE]
    off = (f"{100 * (measured / predicted - 1):+.0f} %", "") if predicted else NONE
    return [number(predicted, 3), number(measured, 3), off]
