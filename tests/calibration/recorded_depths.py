"""What the embedded pair said to its 1,800 test questions at each depth, as `record.py` wrote it: all there is.

Depth 0 is the whole image, depth 1 its quarters or the text of one region, depth 2 the small model's own calls, which
it makes in `deep` and `reading` alone. Each has its doubts somewhere: depth 0 on what is too small, depth 1 in `deep`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.testbed.pair import LOOKS_GATE
from tests.calibration.record import FILES

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class DepthOutcomes:
    """Columns of all depths, ``[depths, n]``, and of the agent and the families, ``[n]``."""

    scores: Floats
    right: Mask
    agent: Mask
    eligible: Mask
    family: NDArray[np.str_]

    def at(self, rows: NDArray[np.intp]) -> DepthOutcomes:
        return DepthOutcomes(
            self.scores[:, rows], self.right[:, rows], self.agent[rows], self.eligible[:, rows], self.family[rows]
        )


@cache
def recorded(judge: bool) -> DepthOutcomes:
    """All questions; behind the judge only those that need no tools enter at depth 0."""
    rows = []
    for name in FILES:
        with (Path(__file__).parent / name).open() as lines:
            rows += list(csv.DictReader(lines))
    judged = Gate.load(LOOKS_GATE).judge_threshold
    scores, right = (
        np.array([[float(row[f"{name}{at}"] or 0) for row in rows] for at in ("", "_1", "_2")])
        for name in ("odds", "speculator_right")
    )
    eligible = np.ones(scores.shape, bool)
    if judge:
        assert judged is not None
        eligible[0] = [float(row["tool_need"]) < judged for row in rows]
    return DepthOutcomes(
        scores,
        right.astype(bool),
        np.array([row["agent_right"] == "1" for row in rows]),
        eligible,
        np.array([row["split"] for row in rows]),
    )


def one_depth(depths: DepthOutcomes, depth: int) -> DepthOutcomes:
    """The same with one gate alone: nothing is eligible for the others."""
    eligible = np.zeros_like(depths.eligible)
    eligible[depth] = depths.eligible[depth]
    return replace(depths, eligible=eligible)
