"""Single questions: where their time goes, and the mistakes to look at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.cases import Mistake, Mistakes
from langgraph_speceyes.bench.report.page.blocks import Block, Drawn, Said, Sheet, Tile
from langgraph_speceyes.bench.report.pictures import contact_sheet, inlined
from langgraph_speceyes.bench.report.plots.cases import timeline
from langgraph_speceyes.bench.report.plots.drawing import Drawing

if TYPE_CHECKING:
    from langgraph_speceyes.bench.report import Report


def times_taken(report: Report, drawing: Drawing) -> list[Block]:
    """When phases ran, a plot a run."""
    return [Drawn(timeline(drawing, one), folded=k > 0) for k, one in enumerate(report.timelines)]


def mistakes(report: Report, folder: Path) -> list[Block]:
    """Wrong answers with their pictures; the contact sheets are written into the folder on the way."""
    blocks: list[Block] = []
    for one in report.mistakes:
        title = "Accepted and wrong" if one.route == "bypass" else "Fallen back and wrong"
        title = f"{title}: {one.method}, {one.run}"
        if not one.shown:
            blocks.append(Said(f"{title}: none of {one.of}.", missing=True))
            continue
        what = "speculations that the gate accepted" if one.route == "bypass" else "answers of the agent"
        first = f", the first {len(one.shown)}" if one.total > len(one.shown) else ""
        note = f"{one.total} of {one.of} {what} are wrong{first}, the highest score of the speculation first."
        if all(m.picture is None for m in one.shown):
            note += " The run has kept no pictures of them."
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"mistakes-{one.run}-{one.route}.jpg")
        contact_sheet(one.shown, folder / name)
        blocks.append(Sheet(title, note, [_tile(k, m, one) for k, m in enumerate(one.shown, start=1)], name))
    return blocks


def _tile(number: int, one: Mistake, of: Mistakes) -> Tile:
    score = "no score" if one.score is None else f"{one.score_name} {one.score:.4f}"
    if one.score is not None and one.threshold is not None:
        score += f" {'≥' if one.score >= one.threshold else '<'} {one.threshold:.4f}"
    where = "" if one.depth is None else f", depth {one.depth}"
    lines = [(f"{number}. {one.split}{where}", score), ("question", one.question), ("right answer", one.expected)]
    lines.append(("answer", one.answer if one.answer else f"none: {one.error or 'it was empty'}"))
    if of.route == "fallback":
        need = "" if one.tool_need is None else f", tools needed with {one.tool_need:.3g}"
        lines.append(("sent on by", f"{one.decided_by}{need}"))
        if one.speculation is not None:
            lines.append(("speculator", f"{one.speculation} ({'right' if one.speculation_right else 'wrong'})"))
    return Tile(inlined(one.picture), [*lines, ("id", one.id)])
