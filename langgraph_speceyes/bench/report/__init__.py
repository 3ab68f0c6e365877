"""Runs as a page a person reads: `speceyes report`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from langgraph_speceyes.bench.report.cases import Mistakes, Timeline, mistakes, timeline
from langgraph_speceyes.bench.report.data import AGENT, Loaded, load, same
from langgraph_speceyes.bench.report.depths import Depths, depths
from langgraph_speceyes.bench.report.scores import Scores, scores
from langgraph_speceyes.bench.report.series import Series, Sweeps, series, sweeps
from langgraph_speceyes.bench.report.table import Cell, Mean, Row, Table, column, table
from langgraph_speceyes.bench.report.text import print_whole, shown
from langgraph_speceyes.bench.report.ways import Ways, ways
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.files import make_folder, write_whole

__all__ = ["PAGE", "Report", "figures", "show_report", "write_report"]

PAGE, MARKDOWN, FIGURES = "report.html", "report.md", "report.json"


@dataclass(frozen=True)
class Report:
    """Everything a report says, as numbers.

    Attributes:
        runs: Name, folder and manifest of each run.
        table: The paper's table.
        scores: What answer scores tell, by run and K.
        sweeps: Other thresholds, by run.
        series: What varies between runs.
        timelines: When phases ran, by run.
        mistakes: Wrong answers of the first run of each set of questions that has a bypass.
        missing: What could not be given and why, sentences by section.
        depths: Methods with looks by depth.
        ways: Other ways to put judge and depths together, by run.
    """

    runs: list[dict[str, Any]]
    table: Table
    scores: list[Scores]
    sweeps: list[Sweeps]
    series: list[Series]
    timelines: list[Timeline]
    mistakes: list[Mistakes]
    missing: dict[str, list[str]]
    depths: list[Depths] = field(default_factory=list)
    ways: list[Ways] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which knows no infinity; without looks as before there were any."""
        found: dict[str, Any] = _finite(asdict(self, dict_factory=_without_looks))
        return found


def write_report(folders: Sequence[str | PathLike[str]], out: str | PathLike[str]) -> Report:
    """Read runs and write `report.html`, `report.md`, `report.json` and each plot as PNG and SVG.

    Args:
        folders: The runs' folders.
        out: The report's folder; made if missing. A report that is there is replaced, its plots with it.

    Raises:
        ArgumentError: A folder holds no run, or one without an outcome; the report's folder is a file or a run.
        MissingExtraError: matplotlib, Jinja or SciPy are not installed.
    """
    from langgraph_speceyes.bench.report.page.html import check_installed, html
    from langgraph_speceyes.bench.report.page.markdown import write_markdown
    from langgraph_speceyes.bench.report.page.sections import sections
    from langgraph_speceyes.bench.report.plots.drawing import Drawing

    folder = Path(out)
    check_installed()
    drawing = Drawing(folder)
    runs = load(folders)
    if any(run.folder == folder.resolve() for run in runs):
        raise ArgumentError("out", "a folder of its own", f"a run's, {folder}")
    make_folder(folder, "out")
    report = figures(runs)
    parts = sections(report, drawing, folder)
    write_whole(folder / FIGURES, json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n")
    write_markdown(folder / MARKDOWN, parts)
    write_whole(folder / PAGE, html(parts))
    return report


def show_report(console: Console, report: Report, page: Path) -> None:
    """Print the main table, a line a method, and where the page is: all questions, the mean of the splits, each split.

    Differences are in percentage points.
    """
    grid = RichTable(title="95 % intervals below", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    grid.add_column("method", overflow="fold", min_width=16)
    for name in ("accuracy, %", "to the agent", "lost/won", "speed-up, x", "bypass"):
        grid.add_column(name, justify="right", no_wrap=True)
    rows, columns = report.table.rows, report.table.columns
    several = len({benchmark for benchmark, _ in columns}) > 1
    parts: list[tuple[str, list[tuple[Row, Cell | Mean]]]] = []
    if len(columns) > 1:
        parts.append(("all, total time", [(row, row.total) for row in rows]))
        parts.append((f"mean of {len(columns)} splits", [(row, row.mean) for row in rows]))
    for benchmark, split in columns:
        name = column(benchmark, split)
        title = name if several or len(columns) == 1 else split
        parts.append((title, [(row, row.cells[name]) for row in rows if name in row.cells]))
    for title, lines in parts:
        counts = sorted({found.n for _, found in lines if isinstance(found, Cell)})
        grid.add_row(f"[bold]{escape(title)}[/]" + (f" ({' or '.join(map(str, counts))})" if counts else ""))
        for row, found in lines:
            _add(grid, row, found)
        grid.add_section()
    print_whole(console, grid)
    for sentence in report.missing["table"]:
        console.print(escape(sentence), highlight=False)
    console.print(f"{page}", highlight=False, soft_wrap=True, markup=False)


def _add(grid: RichTable, row: Row, found: Cell | Mean) -> None:
    """A method's line."""
    cells = [shown(found.accuracy, 100, 1)]
    if row.method != AGENT:
        counted = bypassed = ("", "")
        if isinstance(found, Cell):
            counted, bypassed = (f"{found.lost}/{found.won}", ""), (shown(found.bypassed, 1, 2)[0], "")
        cells += [shown(found.difference, 100, 1, "+"), counted, shown(found.speedup, 1, 2), bypassed]
    each = [f"{value}\n[dim]{escape(ends)}[/]" if ends else value for value, ends in cells]
    grid.add_row(escape(row.label), *each)


def figures(runs: Sequence[Loaded]) -> Report:
    """All numbers; what cannot be given is left out and said in `missing`."""
    missing: dict[str, list[str]] = {"table": [], "scores": [], "sweeps": [], "series": [], "timelines": []}
    main = table(runs)
    missing["table"] = list(dict.fromkeys([*main.missing, *(s for row in main.rows for s in row.missing)]))
    found_scores, found_sweeps, timelines, wrong, deep = [], [], [], [], []
    shown: set[str] = set()
    for run in runs:
        deep += depths(run)
        some = scores(run)
        found_scores += some
        if not some:
            missing["scores"].append(f"{run.name} has no scored speculation.")
        if (line := timeline(run)) is not None:
            timelines.append(line)
        if not run.bypasses:
            for name in ("sweeps", "timelines"):
                missing[name].append(f"{run.name} has no method that decides between speculator and agent.")
            continue
        one, why = sweeps(run)
        if one is not None:
            found_sweeps.append(one)
        else:
            missing["sweeps"].append(why)
        if (questions := same(run.manifest, "benchmark")) not in shown:
            shown.add(questions)
            wrong += mistakes(run)
    found_series = series(runs)
    if not found_series:
        missing["series"].append(
            "No two runs of one benchmark and the same models differ in concurrency, batch size or K."
        )
    if not wrong:
        missing["mistakes"] = ["No run has a method that decides between speculator and agent."]
    others = [one for one in (ways([run]) for run in runs) if one is not None]
    about = [{"name": run.name, "folder": _near(run.folder), "manifest": run.manifest} for run in runs]
    return Report(about, main, found_scores, found_sweeps, found_series, timelines, wrong, missing, deep, others)


def _without_looks(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        key: value
        for key, value in items
        if key not in ("depths", "depth", "deeper", "without", "ways") or value not in (None, [])
    }


def _near(folder: Path) -> str:
    """A folder as seen from here, where it is below, else its name: a report is read on other machines."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else folder.name


def _finite(value: Any) -> Any:
    """The same without what JSON cannot say."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
