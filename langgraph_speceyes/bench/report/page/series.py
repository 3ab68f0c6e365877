"""Other thresholds; and concurrency, batch size, K."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.page.blocks import Block, Drawn, Grid, Said
from langgraph_speceyes.bench.report.plots.drawing import Drawing
from langgraph_speceyes.bench.report.plots.series import over_runs, sweep, trade
from langgraph_speceyes.bench.report.text import Text, number, percent, times

if TYPE_CHECKING:
    from langgraph_speceyes.bench.report import Report


def thresholds(report: Report, drawing: Drawing) -> list[Block]:
    """What other thresholds of the gate would have done, by run."""
    blocks: list[Block] = []
    for k, one in enumerate(report.sweeps):
        if not one.scores:
            continue
        judge = f"the judge's threshold stays {one.judge_threshold:.4g}" if one.judge_threshold else "there is no judge"
        at = f"{one.score} at {one.threshold:.4g}" if one.threshold is not None else "several thresholds"
        blocks.append(
            Said(
                f"{one.run}: {one.method} on {one.n} questions; it used {at}; {judge}. Alone, the agent has "
                f"{100 * one.agent:.1f} % right and the speculator {100 * one.speculator:.1f} %."
            )
        )
        blocks += [Drawn(sweep(drawing, one), folded=k > 0), Drawn(trade(drawing, one), folded=k > 0)]
    return blocks


def series(report: Report, drawing: Drawing) -> list[Block]:
    """What varies between runs, a plot and a table each."""
    blocks: list[Block] = []
    for one in report.series:
        blocks.append(Drawn(over_runs(drawing, one)))
        rows: list[list[Text]] = [
            [
                (line.label, ""),
                (str(point.x), ""),
                (point.run, ""),
                percent(point.accuracy),
                times(point.speedup, line.label),
                number(point.throughput, 3),
                times(point.throughput_speedup, line.label),
                number(point.serial_limit, 2),
            ]
            for line in one.lines
            for point in line.points
        ]
        note = (
            "The serial limit is the paper's 1 / (1 - beta alpha): what the throughput over an agent that answers one "
            "question after another tends to. Fallbacks that are batched go past it."
        )
        columns = ["method", one.over, "run", "accuracy, %", "speed-up, x", "questions per busy second"]
        columns += ["throughput, x", "serial limit, x"]
        blocks.append(Grid(f"{one.benchmark} over {one.over}", columns, rows, names=2, note=note))
    return blocks
