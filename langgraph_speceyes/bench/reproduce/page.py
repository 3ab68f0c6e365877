"""The table as a page, as Markdown and as a plot."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.page.blocks import Block, Drawn, Grid, Said, Section
from langgraph_speceyes.bench.report.page.html import check_installed, html
from langgraph_speceyes.bench.report.page.markdown import markdown
from langgraph_speceyes.bench.report.plots.drawing import COLOURS, INK, MARKERS, Drawing, Plot
from langgraph_speceyes.bench.report.plots.marks import bars, legend, legend_height, mark, speedup_panels
from langgraph_speceyes.bench.report.text import NONE, Text, number, percent, shown
from langgraph_speceyes.bench.reproduce.published import AGENT, DRAFT, SPECREASON, Published
from langgraph_speceyes.bench.reproduce.run import LIVE
from langgraph_speceyes.bench.reproduce.table import SCORE_ORDER, Cell, Reproduced, Row
from langgraph_speceyes.bench.statistics import RESAMPLES
from langgraph_speceyes.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, MARKDOWN, FIGURES = "table.html", "table.md", "table.json"
TITLE = "The paper's Table 1"
_METHODS = (DRAFT, AGENT, SPECREASON, *SCORE_ORDER)
_GREY = "#808080"
_MEAN, _ALL = "mean of the columns", "all, total time"


def write_table(found: Reproduced, out: Path) -> Path:
    """Write the table as a page, as Markdown, as JSON, and its plot.

    Returns:
        The page.

    Raises:
        MissingExtraError: matplotlib or Jinja are not installed.
    """
    check_installed()
    drawing = Drawing(out)
    parts = [Section("table", "Accuracy and speed-up", _lead(found))]
    for backbone in dict.fromkeys(row.backbone for row in found.rows):
        rows = [row for row in found.rows if row.backbone == backbone]
        blocks: list[Block] = [_grid(rows), Drawn(_plot(drawing, backbone, rows)), _wide(rows, found.columns)]
        parts.append(Section(f"before-{backbone}", f"Before {backbone}", blocks))
    write_whole(out / FIGURES, json.dumps(asdict(found), indent=1) + "\n")
    write_whole(out / MARKDOWN, markdown(parts, TITLE))
    write_whole(out / PAGE, html(parts, TITLE))
    return out / PAGE


def label(row: Row) -> str:
    """How a row is called."""
    return f"SpecEyes, {row.method}" if row.method in SCORE_ORDER else row.method


def _lead(found: Reproduced) -> list[Block]:
    said = [Said(text, missing=True) for text in found.missing]
    for backbone, k in found.k.items():
        candidates = f"{k} candidates a token (the paper: 64)" if k is not None else "no log-probabilities"
        said.append(
            Said(
                f"Before {backbone}: scores of {candidates}. The bypass with {LIVE} ran; it took "
                f"{found.live[backbone]:.2f} times what its replay says."
            )
        )
    said.append(
        Said(
            "Agent, SpecReason and one bypass ran, taking turns at going first; the small model answered every "
            "question. The bypass with each score is replayed from what these runs recorded: the judge's, the small "
            "model's and the agent's own seconds on each question, and the graph's. Each score has its own threshold: "
            "the fastest that keeps the agent's accuracy in every column of the calibration half, the other images."
        )
    )
    return list(said)


def _grid(rows: Sequence[Row]) -> Grid:
    """A line a column and method, the paper's figures beside it."""
    paper = any(row.mean.paper for row in rows)
    columns = ["accuracy, %", *(["paper's, %"] * paper), "speed-up, x", *(["paper's, x"] * paper)]
    lines: list[list[Text]] = []
    for name in (_MEAN, _ALL, *rows[0].cells):
        for row in rows:
            cell = _cell(row, name)
            lines.append(
                [
                    (name if name == _MEAN else f"{name} ({cell.n})", ""),
                    (label(row), ""),
                    percent(cell.accuracy),
                    *([_published(cell.paper, "accuracy")] * paper),
                    shown(cell.speedup, 1, 2),
                    *([_published(cell.paper, "speedup")] * paper),
                    percent(cell.bypassed),
                    number(row.threshold, 4),
                ]
            )
    return Grid(
        "By column",
        ["questions", "method", *columns, "bypassed, %", "threshold"],
        lines,
        names=2,
        note="Beside each figure its 95 % interval: Wilson's for shares (rotations of one question are drawn together, "
        f"by bootstrap), a paired percentile bootstrap over questions ({RESAMPLES} resamples) for speed-ups. Speed-up: "
        "all seconds of the agent over all seconds of the method; the mean of the columns averages their speed-ups "
        "unweighted, as the paper's table does, and is mostly higher than that of all questions in total time.",
    )


def _wide(rows: Sequence[Row], columns: Sequence[str]) -> Grid:
    """The same as the paper lays it out: a line a method, accuracy and speed-up of each column in one cell."""
    here = [column for column in columns if column in rows[0].cells]
    lines = [[(label(row), ""), *(_both(row.cells[column]) for column in here), _both(row.mean)] for row in rows]
    return Grid(
        "As the paper lays it out",
        ["method", *here, "mean"],
        lines,
        note="Accuracy in percent and speed-up; beside them the paper's, where it gives them.",
        folded=True,
    )


def _both(cell: Cell) -> Text:
    if cell.accuracy.value is None or cell.speedup.value is None:
        return NONE
    paper = f"{cell.paper.accuracy:.1f} / {cell.paper.speedup:.2f}" if cell.paper else ""
    return f"{100 * cell.accuracy.value:.1f} / {cell.speedup.value:.2f}", paper


def _cell(row: Row, name: str) -> Cell:
    return {_MEAN: row.mean, _ALL: row.total}.get(name) or row.cells[name]


def _published(paper: Published | None, name: str) -> Text:
    return NONE if paper is None else number(getattr(paper, name), 2)


def _plot(drawing: Drawing, backbone: str, rows: Sequence[Row]) -> Plot:
    """Accuracy against speed-up, the mean first and then a panel a column; the paper's figures hollow."""
    panels = [_MEAN, *rows[0].cells]
    across = min(4, len(panels))
    down = math.ceil(len(panels) / across)
    cells = [(row, _cell(row, name)) for row in rows for name in panels]
    ends = [e for _, c in cells for e in (c.speedup.value, c.speedup.low, c.speedup.high) if e is not None and e > 0]
    ends += [c.paper.speedup for _, c in cells if c.paper]
    names = [label(row) for row in rows]

    def draw(figure: Figure) -> None:
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for ax, name in zip(axes.flat, panels, strict=False):
            ax.set_title(name, loc="left")
            ax.grid(True)
            ax.axvline(1, color=INK, lw=0.8, ls=":")
            for row in rows:
                colour, marker = _style(row)
                cell = _cell(row, name)
                if cell.paper is not None:
                    ax.plot(
                        [cell.paper.speedup],
                        [cell.paper.accuracy],
                        marker,
                        ms=5,
                        mec=colour,
                        mfc="none",
                        mew=1,
                        zorder=2,
                    )
                if cell.speedup.value is None or cell.accuracy.value is None:
                    continue
                ax.errorbar(
                    [cell.speedup.value],
                    [100 * cell.accuracy.value],
                    xerr=bars(cell.speedup),
                    yerr=bars(cell.accuracy, 100),
                    fmt=marker,
                    color=colour,
                    ms=5,
                    lw=1.2,
                    zorder=3,
                )
        speedup_panels(axes, len(panels), ends)
        legend(figure, [mark(*_style(row), "") for row in rows], names)

    paper = " Hollow marks are the paper's." if any(cell.paper for _, cell in cells) else ""
    return drawing.save(
        f"table-{backbone}",
        f"Accuracy against speed-up, before {backbone}",
        "Speed-up over the agent, on a logarithmic axis. Up and to the right is better. Bars are 95 % intervals; the "
        f"dotted line is the agent's own speed.{paper}",
        draw,
        0.9 + 2.1 * down + legend_height(names),
    )


def _style(row: Row) -> tuple[str, str]:
    """Colour and mark of a method, the same before every backbone."""
    k = _METHODS.index(row.method)
    colour = {AGENT: INK, DRAFT: _GREY}.get(row.method, COLOURS[k % len(COLOURS)])
    return colour, MARKERS[k % len(MARKERS)]
