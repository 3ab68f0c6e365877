"""Advice as a page: figures and plots, in one file that needs no network."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

from langgraph_speceyes.bench.advice import Material
from langgraph_speceyes.bench.advice import plots as drawn
from langgraph_speceyes.bench.advice.replay import Replay, replay
from langgraph_speceyes.bench.advice.rows import Rows, basis, compositions, groups, live, main
from langgraph_speceyes.bench.report.page.blocks import Block, Drawn, Grid, Said, Section
from langgraph_speceyes.bench.report.page.html import check_installed, html
from langgraph_speceyes.bench.report.page.markdown import write_markdown
from langgraph_speceyes.bench.report.plots.drawing import Drawing, Plot
from langgraph_speceyes.bench.report.text import Text
from langgraph_speceyes.bench.runs import MANIFEST
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.files import make_folder, write_whole

PAGE, MARKDOWN, FIGURES, GATE = "advice.html", "advice.md", "advice.json", "gate.json"
TITLE = "SpecEyes advice"


def write_page(found: Material, out: str | PathLike[str]) -> Path:
    """Write `advice.html`, `.md` and `.json`, each plot as PNG and SVG, and `gate.json` where a gate is to be used.

    Args:
        found: The advice and what it is made of.
        out: The folder; made if missing. Earlier advice is replaced, its plots with it.

    Returns:
        The page.

    Raises:
        ArgumentError: The folder is a run's, or cannot be made.
        MissingExtraError: matplotlib or Jinja are not installed.
    """
    folder = Path(out)
    if (folder / MANIFEST).exists():
        raise ArgumentError("out", "a folder of its own", f"a run's, {folder}")
    check_installed()
    drawing = Drawing(folder)
    make_folder(folder, "out")
    parts = sections(found, drawing)
    write_whole(folder / FIGURES, json.dumps(found.advice.to_dict(), indent=1, allow_nan=False) + "\n")
    write_markdown(folder / MARKDOWN, parts, TITLE)
    write_whole(folder / PAGE, html(parts, TITLE))
    (folder / GATE).unlink(missing_ok=True)
    gate = found.advice.calibrated.gate if found.advice.calibrated else None
    if gate is not None and found.advice.verdict in ("use", "trade_off"):
        gate.save(folder / GATE)
    return folder / PAGE


def sections(found: Material, drawing: Drawing) -> list[Section]:
    """What the page shows, in order; the plots are drawn on the way."""
    advice = found.advice
    first: list[Block] = [Said(advice.words), *(Said(step) for step in advice.to_do)]
    if advice.figures is not None:
        title = f"With this gate, on {advice.figures.questions} questions"
        first.append(Grid(title, ["", "figure"], main(advice), note="95 % intervals below the figures."))
    parts = [
        Section("advice", "Advice", first),
        Section("groups", "By group", [*_plot(_groups(found, drawing)), *_grid(groups(advice))]),
        Section("score", "Does the score tell?", _plot(_agreement(found, drawing))),
        Section("compositions", "Other compositions", _grid(compositions(advice))),
        Section("time", "Over time", _over_time(found, drawing)),
        Section("basis", "What it rests on", [Said(text) for text in basis(advice)]),
    ]
    return [part for part in parts if part.blocks]


def _groups(found: Material, drawing: Drawing) -> Plot | None:
    return drawn.by_group(drawing, found.advice.figures) if found.advice.figures else None


def _agreement(found: Material, drawing: Drawing) -> Plot | None:
    evidence = found.measured or found.evidence
    if evidence is None or found.composition is None:
        return None
    gate = found.advice.calibrated
    threshold = gate.guarantee.threshold if gate and gate.guarantee else None
    return drawn.agreement(drawing, evidence, found.composition, threshold, found.terms)


def _over_time(found: Material, drawing: Drawing) -> list[Block]:
    records = found.records
    if not records:
        return []
    blocks: list[Block] = []
    course = replay(found.source, records)
    if course is not None:
        times = [record["at"] for record in records if record["gate"] == records[-1]["gate"]]
        blocks += _plot(drawn.opening(drawing, course, times))
        blocks += _plot(drawn.audits(drawing, course, times))
        blocks += _events(course)
    return [*_plot(drawn.routes(drawing, records)), *blocks, *_grid(live(found.advice))]


def _events(course: Replay) -> list[Block]:
    rows: list[list[Text]] = [
        [
            (event["event"], ""),
            (str(number), ""),
            ("shut" if event["threshold"] is None else f"{event['threshold']:.4g}", ""),
            (f"{event['level']:.3g}", ""),
        ]
        for number, event in course.events
    ]
    if not rows:
        return []
    columns = ["event", "after records", "threshold", "detector's level"]
    return [Grid("What happened to it", columns, rows, folded=True)]


def _plot(plot: Plot | None) -> list[Block]:
    return [Drawn(plot)] if plot else []


def _grid(rows: Rows) -> list[Block]:
    title, columns, lines = rows
    if not lines:
        return []
    return [Grid(title[:1].upper() + title[1:], [name for name in columns if name != "95 %"], lines)]
