"""Accuracy and speed-up: the main figures in sentences, the main table, and the tables under it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.data import AGENT
from langgraph_speceyes.bench.report.page.blocks import Block, Drawn, Grid, Said
from langgraph_speceyes.bench.report.plots.drawing import Drawing
from langgraph_speceyes.bench.report.plots.table import accuracy_speedup
from langgraph_speceyes.bench.report.table import Cell as Figures
from langgraph_speceyes.bench.report.table import Mean, Row, column
from langgraph_speceyes.bench.report.text import NONE, Text, interval, number, percent, shown, times
from langgraph_speceyes.bench.statistics import RESAMPLES

if TYPE_CHECKING:
    from langgraph_speceyes.bench.report import Report


def lead(report: Report) -> list[Block]:
    """The main figures in a sentence each."""
    found: list[Block] = []
    for row in report.table.rows:
        total, mean = row.total, row.mean
        if row.method == AGENT or total.speedup.value is None or total.accuracy.value is None:
            continue
        where, averaged = f"on {next(iter(row.cells))}", ""
        if mean.splits > 1:
            where = f"of {total.n} questions"
            averaged = f"; as the mean of {mean.splits} splits {mean.speedup.value or math.nan:.2f} "
            averaged += f"times {interval(mean.speedup, 1, 2)}"
        found.append(
            Said(
                f"{row.label}: in total time {total.speedup.value:.2f} times as fast as the agent "
                f"{interval(total.speedup, 1, 2)}{averaged}. {percent(total.accuracy)[0]} % right "
                f"{interval(total.accuracy, 100, 1)} {where}, {100 * (total.difference.value or 0.0):+.1f} points "
                f"{interval(total.difference, 100, 1, '+')} against the agent: {total.lost} lost, {total.won} won."
            )
        )
    return found


def tables(report: Report, drawing: Drawing) -> list[Block]:
    """The main table and its plot, what the figures come from, and the benchmarks' own figures."""
    table = report.table
    names = _column_names(table.columns)
    blocks: list[Block] = [_main(report, names)]
    plot = accuracy_speedup(drawing, table)
    blocks += [Drawn(plot)] if plot else []
    blocks.append(_counts(report, names))
    routes = _routes(report, names)
    blocks += [routes] if routes else []
    return blocks + _benchmarks(report)


def _main(report: Report, names: Sequence[str]) -> Grid:
    """All questions in total time, the mean of the splits, each split: a line a method."""
    table, splits = report.table, len(report.table.columns)
    rows: list[list[Text]] = []
    if splits > 1:
        rows += [_line("all questions, total time", row, row.total) for row in table.rows]
        rows += [_line(f"mean of {row.mean.splits} splits", row, row.mean) for row in table.rows]
    for key, name in zip(table.columns, names, strict=True):
        rows += [_line(name, row, row.cells[column(*key)]) for row in table.rows if column(*key) in row.cells]
    return Grid(
        "Accuracy and speed-up",
        [
            *("questions", "method", "accuracy, %", "speed-up, x", "accuracy, points", "lost / won"),
            *("bypassed, %", "throughput, x"),
        ],
        rows,
        names=2,
        note="Beside each figure its 95 % interval: Wilson's for accuracy and share bypassed (rotations of one "
        f"question are drawn together, by bootstrap), and a paired percentile bootstrap over questions ({RESAMPLES} "
        "resamples) for the rest. Errors, rows that could not be used and unanswered questions are in the denominator "
        "as wrong. Everything is against the method agent, in the same run and on the questions both have. Speed-up: "
        "all seconds of the agent over all seconds of the method; the mean of the splits averages their speed-ups "
        "unweighted, as the paper's tables do, and is mostly higher. Accuracy, points: minus the agent's. Lost are "
        "questions that the agent has right and the method wrong, won the other way round. Throughput is questions "
        "per busy second, over the agent's at the same concurrency. Busy is the time in which any question of the "
        "method was under way; where several were, each counts its part, so that a split has its own share. Where the "
        "two differ on no question, the bootstrap's interval has no width, however few the questions.",
    )


def _line(name: str, row: Row, found: Figures | Mean) -> list[Text]:
    line: list[Text] = [(name, ""), (row.label, ""), percent(found.accuracy), times(found.speedup, row.method)]
    if row.method == AGENT:
        return [*line, ("0", ""), NONE, NONE, ("1", "")]
    counted = [NONE, NONE]
    if isinstance(found, Figures):
        counted = [(f"{found.lost} / {found.won}", "") if found.difference.value is not None else NONE]
        counted.append(percent(found.bypassed))
    return [*line, percent(found.difference, "+"), *counted, times(found.throughput_speedup, row.method)]


def _column_names(columns: Sequence[tuple[str, str]]) -> list[str]:
    """Splits, with their benchmark where there are several."""
    several = len({benchmark for benchmark, _ in columns}) > 1
    return [f"{benchmark}: {split}" if several and split != benchmark else split for benchmark, split in columns]


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
            off = 100 * (found.measured_s / found.predicted_s - 1) if found.predicted_s else None
            rows.append(
                [
                    (name, ""),
                    (row.label, ""),
                    shown(found.beta, 1, 2),
                    shown(found.alpha, 1, 2),
                    *(number(value, 3) for value in (found.judge_s, found.speculate_s, found.agent_s)),
                    *(number(value, 3) for value in (found.predicted_s, found.measured_s)),
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
        note="beta is the share that the judge let pass, alpha the share of those that the gate accepted. c_J is "
        "intake and judgment, c_S speculation and gate, each with its share of the time between phases, L_agent the "
        "agent's mean behind the bypass, over the questions that fell back. Predicted is the paper's "
        "c_J + beta c_S + (1 - beta alpha) L_agent with the means of one half of the questions, drawn at random, "
        "measured the mean latency of the other half.",
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
