"""How it was made: each run's manifest in words."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from langgraph_speceyes.bench.report.page.blocks import Block, Grid
from langgraph_speceyes.bench.report.text import Text

if TYPE_CHECKING:
    from langgraph_speceyes.bench.report import Report


def runs(report: Report) -> list[Block]:
    """A table a run."""
    blocks: list[Block] = []
    for run in report.runs:
        made = dict(run["manifest"])
        rows: list[list[Text]] = [[("folder", ""), (run["folder"], "")]]
        if isinstance(command := made.pop("command", None), list):
            rows.append([("command", ""), (shlex.join(map(str, command)), "")])
        for key, value in made.items():
            if isinstance(value, dict):
                rows += [[(f"{key}: {name}", ""), (_plain(one), "")] for name, one in value.items()]
            else:
                rows.append([(key, ""), (_plain(value), "")])
        blocks.append(Grid(run["name"], ["", ""], rows, folded=len(report.runs) > 1))
    return blocks


def _plain(value: object) -> str:
    """A manifest's value in words."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return str(value)
