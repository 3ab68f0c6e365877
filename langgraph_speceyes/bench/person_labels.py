"""Labels that a person has given to a run, beside its outcomes, and where a journal keeps what nobody could tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from langgraph_speceyes.bench.depth_answers import Label
from langgraph_speceyes.bench.runs import json_lines

LABELS_FILE = "labels.jsonl"
PASSED_OVER = "calibration:passed_over"
"""Name in a journal of the answers that a person looked at and could not tell."""


def label_of(labels: Mapping[tuple[str, int], Label], id: str) -> Label:
    """A person's label of the first answer, and of the agent's, which may have been given at another depth."""
    small, large = labels.get((id, 0), (None, None))
    if large is None:
        large = next((two for (other, _), (_, two) in labels.items() if other == id and two is not None), None)
    return small, large


def read_labels(file: Path) -> dict[tuple[str, int], Label]:
    """A person's labels by question and depth; two Nones for one that was passed over."""
    found: dict[tuple[str, int], Label] = {}
    for line in json_lines(file, "labels"):
        key = (line["id"], line.get("depth", 0))
        found.pop(key, None)
        if not line.get("undone"):
            found[key] = (line["speculator_right"], line["agent_right"])
    return found
