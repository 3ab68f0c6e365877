"""A report's sections, in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.page.blocks import Block, Said, Section
from langgraph_speceyes.bench.report.page.cases import mistakes, times_taken
from langgraph_speceyes.bench.report.page.depths import depths
from langgraph_speceyes.bench.report.page.runs import runs
from langgraph_speceyes.bench.report.page.scores import scores
from langgraph_speceyes.bench.report.page.series import series, thresholds
from langgraph_speceyes.bench.report.page.table import lead, tables
from langgraph_speceyes.bench.report.plots.drawing import Drawing

if TYPE_CHECKING:
    from langgraph_speceyes.bench.report import Report


def sections(report: Report, drawing: Drawing, folder: Path) -> list[Section]:
    """What the report shows, in order; the plots and contact sheets are drawn into the folder on the way."""
    found = [
        Section(
            "table", "Accuracy and speed-up", [*lead(report), *_missing(report, "table"), *tables(report, drawing)]
        ),
        Section("depths", "A second look", depths(report, drawing)),
        Section(
            "scores", "Do the scores tell right from wrong?", [*_missing(report, "scores"), *scores(report, drawing)]
        ),
        Section("thresholds", "Other thresholds", [*_missing(report, "sweeps"), *thresholds(report, drawing)]),
        Section("series", "Concurrency, batch size, K", [*_missing(report, "series"), *series(report, drawing)]),
        Section("time", "Where the time goes", [*_missing(report, "timelines"), *times_taken(report, drawing)]),
        Section("mistakes", "Mistakes to look at", [*_missing(report, "mistakes"), *mistakes(report, folder)]),
        Section("runs", "How it was made", list(runs(report))),
    ]
    return [section for section in found if section.blocks]


def _missing(report: Report, section: str) -> list[Block]:
    return [Said(text, missing=True) for text in report.missing.get(section, [])]
