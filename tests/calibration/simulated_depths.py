"""Outcomes of two depths: depth 0 as the embedded pair was recorded, **depth 1 simulated**.

Depth 0 and the agent are `embedded_outcomes.csv`, 1,500 questions of five families. No second look stands in it, so
depth 1 is drawn, from a fixed seed, after what a trial showed of a speculator fine-tuned on overview and four quarters
(calibration part, 100 questions a family): right on 97 to 100 % of objects too small for the overview, `odds` of at
least .9 on 98 to 100 % of all answers.

* Five families: right with probability .99. Log-odds of right answers N(6, 1.6), of wrong ones N(1, 1.2).
* A sixth, `deep`, 300 questions on which a quarter is not enough either. Depth 0 is that of recorded questions the
  judge says need tools, drawn with replacement; the agent is right with probability .93. Depth 1 is right with
  probability .55 and doubts: log-odds of right answers N(2.6, 1.5), of wrong ones N(-.5, 1.5): an AUROC of .93.

Assumed besides: within a family depth 1 is independent of depth 0 and of the agent.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DEEP, SEED = 300, 15
FILE = Path(__file__).parent / "embedded_outcomes.csv"

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TwoDepths:
    """Columns of both depths, ``[2, n]``, and of the agent and the families, ``[n]``."""

    scores: Floats
    right: Mask
    agent: Mask
    eligible: Mask
    family: NDArray[np.str_]

    def at(self, rows: NDArray[np.intp]) -> TwoDepths:
        return TwoDepths(
            self.scores[:, rows], self.right[:, rows], self.agent[rows], self.eligible[:, rows], self.family[rows]
        )


@cache
def simulated(judge: bool) -> TwoDepths:
    """All 1,800 questions; behind the judge only those that need no tools enter at depth 0."""
    with FILE.open() as lines:
        rows = list(csv.DictReader(lines))
    rng = np.random.default_rng(SEED)
    need, zero = (np.array([float(row[name]) for row in rows]) for name in ("tool_need", "odds"))
    right, agent = (np.array([row[name] == "1" for row in rows]) for name in ("speculator_right", "agent_right"))

    n = len(rows)
    deep = np.concatenate([np.arange(n), rng.choice(np.flatnonzero(need >= 0.9999), DEEP)])
    is_deep = np.arange(deep.size) >= n
    closer = rng.random(deep.size) < np.where(is_deep, 0.55, 0.99)
    mean = np.where(is_deep, np.where(closer, 2.6, -0.5), np.where(closer, 6, 1))
    log_odds = rng.normal(mean, np.where(is_deep, 1.5, np.where(closer, 1.6, 1.2)))
    return TwoDepths(
        scores=np.stack([zero[deep], 1 / (1 + np.exp(-log_odds))]),
        right=np.stack([right[deep], closer]),
        agent=np.where(is_deep, rng.random(deep.size) < 0.93, agent[deep]),
        eligible=np.stack([need[deep] < 0.9999 if judge else np.ones(deep.size, bool), np.ones(deep.size, bool)]),
        family=np.where(is_deep, "deep", np.array([row["split"] for row in rows])[deep]),
    )


def recorded(file: Path, judge: bool) -> TwoDepths | None:
    """Both depths as `record.py` wrote them from a run with a look; None where the file is of one without."""
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    if "odds_1" not in rows[0]:
        return None
    need = np.array([float(row["tool_need"]) for row in rows])
    every = np.ones(len(rows), bool)
    return TwoDepths(
        scores=np.array([[float(row[name]) for row in rows] for name in ("odds", "odds_1")]),
        right=np.array([[row[name] == "1" for row in rows] for name in ("speculator_right", "speculator_right_1")]),
        agent=np.array([row["agent_right"] == "1" for row in rows]),
        eligible=np.stack([need < 0.9999 if judge else every, every]),
        family=np.array([row["split"] for row in rows]),
    )


def one_depth(depths: TwoDepths, depth: int) -> TwoDepths:
    """The same with one gate alone: nothing is eligible for the other."""
    eligible = np.zeros_like(depths.eligible)
    eligible[depth] = depths.eligible[depth]
    return replace(depths, eligible=eligible)
