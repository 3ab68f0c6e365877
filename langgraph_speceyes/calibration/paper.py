"""The paper's way to a threshold: operating points to try on a calibration split."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langgraph_speceyes.errors import ArgumentError


def operating_points(scores: ArrayLike, *, points: int = 200) -> NDArray[np.float64]:
    """Thresholds at evenly spaced quantiles of the scores (paper, section 4).

    Each lies between two neighbouring scores, as a threshold that equals a score would turn on rounding; the lowest
    accepts everything that has a score above 0, the highest nothing (but a score of exactly 1).

    Args:
        scores: Answer scores of the speculated queries, ``[n]``, in [0, 1].
        points: Most thresholds to return.

    Returns:
        Thresholds strictly between 0 and 1, ascending.

    Raises:
        ArgumentError: There is no score, or one is outside [0, 1].
    """
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 1 or s.size == 0:
        raise ArgumentError("scores", "an array [n] of at least one score", f"shape {s.shape}")
    if not np.all((s >= 0) & (s <= 1)):
        raise ArgumentError("scores", "numbers from 0 to 1", f"{s.min()} to {s.max()}")
    ordered = np.unique(s)
    between = np.concatenate([ordered[:1] / 2, (ordered[1:] + ordered[:-1]) / 2, (ordered[-1:] + 1) / 2])
    chosen = between[np.linspace(0, between.size - 1, min(points, between.size)).round().astype(int)]
    return np.unique(np.clip(chosen, 1e-6, 1 - 1e-9))
