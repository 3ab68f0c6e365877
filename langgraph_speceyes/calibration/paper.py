"""The paper's way to a threshold: the fastest operating point that keeps the agent's accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from langgraph_speceyes.errors import ArgumentError


def operating_point(
    scores: ArrayLike, speculator_right: ArrayLike, agent_right: ArrayLike, *, points: int = 200
) -> float:
    """The lowest threshold whose accuracy is at least the agent's, on a calibration split (paper, section 4).

    Thresholds are tried at evenly spaced quantiles of the scores. A query at or above the threshold counts with the
    speculator's outcome, one below with the agent's. No promise about other queries comes with it.

    Args:
        scores: Answer scores of the speculated queries, ``[n]``.
        speculator_right: Whether each speculation is right, ``[n]``.
        agent_right: Whether the agent is right on the same queries, ``[n]``.
        points: Operating points to try.

    Returns:
        A threshold strictly between 0 and 1. A score of exactly 1, which no such threshold rejects, is accepted even
        where it is wrong.

    Raises:
        ArgumentError: The arrays are empty, of unequal length, or hold scores outside [0, 1].
    """
    s = np.asarray(scores, dtype=np.float64)
    small, large = np.asarray(speculator_right, dtype=bool), np.asarray(agent_right, dtype=bool)
    if s.ndim != 1 or s.size == 0 or s.shape != small.shape or s.shape != large.shape:
        raise ArgumentError(
            "scores", "as many as outcomes, at least one", f"{s.shape}, {small.shape} and {large.shape}"
        )
    if not np.all((s >= 0) & (s <= 1)):
        raise ArgumentError("scores", "numbers from 0 to 1", f"{s.min()} to {s.max()}")
    # between two neighbouring scores: a threshold that equals a score would turn on rounding
    ordered = np.unique(s)
    between = np.concatenate([ordered[:1] / 2, (ordered[1:] + ordered[:-1]) / 2, (ordered[-1:] + 1) / 2])
    tried = np.unique(between[np.linspace(0, between.size - 1, min(points, between.size)).round().astype(int)])
    accepted = s[None, :] >= tried[:, None]
    accuracy = np.where(accepted, small[None, :], large[None, :]).mean(axis=1)
    kept = tried[accuracy >= large.mean()]
    lowest = float(kept.min()) if kept.size else float(tried.max())
    return min(max(lowest, 1e-6), 1 - 1e-9)
