"""Accuracy and speed-up: the main figures in sentences, the main table, and the tables under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langgraph_speceyes.bench.report.data import AGENT
from langgraph_speceyes.bench.report.page.blocks import Block, Drawn, Grid, Said
from langgraph_speceyes.bench.report.plots.drawing import Drawing
from langgraph_speceyes.bench.report.plots.table import accuracy_speedup
from langgraph_speceyes.bench.report.table import Cell as Figures
from langgraph_speceyes.bench.report.table import Mean, column
from langgraph_speceyes.bench.report.text import NONE, Text, interval, number, percent, shown, times
from langgraph_speceyes.bench.statistics import RESAMPLES

if TYPE_CHECKING:
    from langgraph_speceyes.bench.report import Report


def lead(report: Report) -> list[Block]:
    """The main figures in a sentence each."""
    found: list[Block] = []
    for row in report.table.rows:
        mean = row.mean
        if row.method == AGENT or mean.speedup.value is None or mean.accuracy.value is None:
            continue
        over = f"over {mean.splits} splits" if mean.splits > 1 else f"on {next(iter(row.cells))}"
        found.append(
            Said(
                f"{row.label}: {percent(mean.accuracy)[0]} % right {interval(mean.accuracy, 100, 1)} {over}, "
                f"{mean.speedup.value:.2f} times as fast as the agent {interval(mean.speedup, 1, 2)}, "
                f"{100 * (mean.difference.value or 0.0):+.1f} points of accuracy "
                f"{interval(mean.difference, 100, 1, '+')}."
            )
        )
    return found


def tables(report: Report, drawing: Drawing) -> list[Block]:
    """The main table and its plot, what the figures come from, and the benchmarks' own figures."""
    table = report.table
    keys = [column(*key) for key in table.columns]
    means = len(keys) > 1
    names = _column_names(table.columns)
    # the mean stands first: seven splits are wider than most screens
    above = [("", 1), *([("mean of the splits", 2)] if means else []), *((name, 2) for name in names)]

    def rows(pair: Any) -> list[list[Text]]:
        found = []
        for row in table.rows:
            line: list[Text] = [(row.label, "")]
            if means:
                first, second = pair(row.mean, row.method)
                short = "" if row.mean.splits == len(keys) else f"of {row.mean.splits} splits"
                line += [(first[0], " ".join(filter(None, (first[1], short)))), second]
            for key in keys:
                line += pair(row.cells[key], row.method) if key in row.cells else [NONE, NONE]
            found.append(line)
        return found

    blocks: list[Block] = [
        Grid(
            "Accuracy and speed-up by latency",
            ["method", *["accuracy, %", "speed-up, x"] * (len(keys) + means)],
            rows(_accuracy_speedup),
            above,
            note="Below each figure its 95 % interval: Wilson's for accuracy (rotations of one question are drawn "
            f"together, by bootstrap), and a paired percentile bootstrap over questions ({RESAMPLES} resamples) for "
            "the rest. Errors, rows that could not be used and unanswered questions are in the denominator as wrong. "
            "The speed-up is the mean latency of the method agent over the method's own, in the same run and on the "
            "questions both have; the mean over splits is unweighted, as in the paper.",
        )
    ]
    if any(cell.difference.value is not None for row in table.rows for cell in row.cells.values()):
        blocks.append(
            Grid(
                "Against the agent",
                ["method", *["accuracy, points", "throughput, x"] * (len(keys) + means)],
                rows(_against),
                above,
                note="Accuracy minus the agent's on the same questions, in percentage points. Throughput is questions "
                "per busy second, over the agent's. Busy is the time in which any question of the method was under "
                "way; where several were, each counts its part, so that a split has its own share. Where the two "
                "differ on no question, the bootstrap's interval has no width, however few the questions.",
            )
        )
    plot = accuracy_speedup(drawing, table)
    blocks += [Drawn(plot)] if plot else []
    blocks.append(_counts(report, names))
    routes = _routes(report, names)
    blocks += [routes] if routes else []
    return blocks + _benchmarks(report)


def _column_names(columns: Sequence[tuple[str, str]]) -> list[str]:
    """Splits, with their benchmark where there are several."""
    several = len({benchmark for benchmark, _ in columns}) > 1
    return [f"{benchmark}: {split}" if several and split != benchmark else split for benchmark, split in columns]


def _accuracy_speedup(cell: Figures | Mean, method: str) -> list[Text]:
    return [percent(cell.accuracy), times(cell.speedup, method)]


def _against(cell: Figures | Mean, method: str) -> list[Text]:
    if method == AGENT:
        return [("0", ""), ("1", "")]
    return [percent(cell.difference, "+"), times(cell.throughput_speedup, method)]


def _counts(report: Report, names: Sequence[str]) -> Grid:
    rows: list[list[Text]] = []
    for key, name in zip(report.table.columns, names, strict=True):
        for row in report.table.rows:
            if (cell := row.cells.get(column(*key))) is None:
                continue
            numbers = (cell.n, cell.pairs if row.method != AGENT else None, cell.errors, cell.bad_rows, cell.unanswered)
            rows.append(
                [
                    (name, ""),
                    (row.label, ""),
                    *(NONE if value is None else (str(value), "") for value in numbers),
                    shown(cell.seconds, 1, 3),
                    number(cell.seconds_p95, 3),
                    number(cell.throughput, 3),
                ]
            )
    return Grid(
        "Questions and times",
        [
            *("split", "method", "questions", "paired", "errors", "bad rows", "unanswered"),
            *("mean latency, s", "95th percentile, s", "questions / busy s"),
        ],
        rows,
        names=2,
        note="An error is a method that failed, a bad row one of the benchmark that could not be used, unanswered an "
        "answer from which the rule could read nothing. Latency is that of the questions that ran; paired are those "
        "that the agent has a latency for too.",
    )


def _routes(report: Report, names: Sequence[str]) -> Grid | None:
    rows: list[list[Text]] = []
    for key, name in zip(report.table.columns, names, strict=True):
        for row in report.table.rows:
            cell = row.cells.get(column(*key))
            if cell is None or (found := cell.routes) is None:
                continue
            off = None
            if found.predicted_s and cell.seconds.value:
                off = 100 * (cell.seconds.value / found.predicted_s - 1)
            rows.append(
                [
                    (name, ""),
                    (row.label, ""),
                    shown(found.beta, 1, 2),
                    shown(found.alpha, 1, 2),
                    *(number(value, 3) for value in (found.judge_s, found.speculate_s, found.agent_s)),
                    number(found.predicted_s, 3),
                    shown(cell.seconds, 1, 3),
                    NONE if off is None else (f"{off:+.0f} %", ""),
                    (str(found.trouble), ""),
                ]
            )
    if not rows:
        return None
    return Grid(
        "Routes, and the latency they predict",
        [
            *("split", "method", "beta", "alpha", "c_J, s", "c_S, s", "L_agent, s", "predicted, s", "measured, s"),
            *("measured to predicted", "front-end failures"),
        ],
        rows,
        names=2,
        note="beta is the share that the judge let pass, alpha the share of those that the gate accepted. Predicted is "
        "the paper's c_J + beta c_S + (1 - beta alpha) L_agent from the mean costs beside it, L_agent being the mean "
        "latency of the method agent on the same questions. It assumes that the questions which fall back take as long "
        "as the others; the judge keeps the long ones, so the measured latency can be above it.",
    )


def _benchmarks(report: Report) -> list[Block]:
    found: list[Block] = []
    several = len({benchmark for benchmark, _ in report.table.columns}) > 1

    def name(key: str) -> str:
        return key if several else key.partition(" / ")[2]

    if report.table.yes_no:
        rows = [
            [
                (name(one.column), ""),
                (one.label, ""),
                (str(one.figures.n), ""),
                *((f"{100 * v:.1f}", "") for v in (one.figures.precision, one.figures.recall)),
                (f"{100 * one.figures.f1:.1f}", interval(one.f1, 100, 1)),
                (f"{100 * one.figures.yes_ratio:.1f}", ""),
                (str(one.figures.unanswered), ""),
            ]
            for one in report.table.yes_no
        ]
        found.append(
            Grid(
                "Yes-or-no questions",
                ["split", "method", "questions", "precision, %", "recall, %", "F1, %", "answered yes, %", "unclear"],
                rows,
                names=2,
                note="POPE's figures, yes being the positive answer. What was answered neither yes nor no counts "
                "against accuracy, and against recall where yes is right.",
            )
        )
    if report.table.cycles:
        rows = [
            [
                (name(one.column), ""),
                (one.label, ""),
                (str(one.figures.n), ""),
                (f"{100 * one.figures.mean:.1f}", ""),
                (str(one.figures.groups), ""),
                percent(one.all_right),
                (str(one.figures.incomplete), ""),
            ]
            for one in report.table.cycles
        ]
        found.append(
            Grid(
                "Questions asked in rotations",
                ["split", "method", "rows", "mean, %", "questions", "all rotations right, %", "incomplete"],
                rows,
                names=2,
                note="HR-Bench asks each question with its options in four orders. One of which rotations are missing "
                "counts as not all right.",
            )
        )
    return found
