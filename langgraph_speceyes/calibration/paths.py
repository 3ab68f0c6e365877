"""Paths for thresholds of several depths: vectors set down beforehand, to be tried from the safest down."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langgraph_speceyes.calibration.chain import Scores, masks, rows
from langgraph_speceyes.calibration.guarantee import GRID, checked_grid
from langgraph_speceyes.errors import ArgumentError

__all__ = ["checked_path", "common_path", "quantile_path"]

_Floats = NDArray[np.float64]


def common_path(depths: int, *, shifts: ArrayLike | None = None, grid: ArrayLike = GRID) -> _Floats:
    """A path on which all depths have the same threshold, or thresholds a fixed distance apart in the logit.

    The same threshold is right for a score that means the same at each depth, as ``odds`` does: the probability of
    the weakest token.

    Args:
        depths: How many gates, >= 1.
        shifts: What is added to the logit of each depth's threshold, ``[depths]``; zeros without it. Above 0: stricter
            than the others. To be known before the calibration questions are looked at.
        grid: The thresholds where the shift is 0, ``[m]``, strictly between 0 and 1, in any order.

    Returns:
        ``[steps, depths]``, descending.

    Raises:
        ArgumentError: An argument is out of its range, or a shift takes a threshold to 0 or 1.
    """
    if isinstance(depths, bool) or not isinstance(depths, int) or depths < 1:
        raise ArgumentError("depths", "an integer of at least 1", repr(depths))
    thresholds = checked_grid(grid)
    by = np.zeros(depths) if shifts is None else np.asarray(shifts, dtype=np.float64)
    if by.shape != (depths,) or not np.isfinite(by).all():
        raise ArgumentError("shifts", f"{depths} finite numbers", repr(shifts))
    logits = np.log(thresholds) - np.log1p(-thresholds)
    shifted = 1 / (1 + np.exp(-(logits[:, None] + by)))
    # what is not shifted stays as it was given, to the last bit
    path = np.where(by == 0, thresholds[:, None], shifted)
    if not np.all((path > 0) & (path < 1)):
        raise ArgumentError("shifts", "thresholds that stay strictly between 0 and 1", repr(by.tolist()))
    return path


def quantile_path(scores: Scores, *, eligible: ArrayLike | None = None, steps: int = 500) -> _Floats:
    """A path on which each depth's threshold accepts the same share of the questions eligible for it.

    For scores that mean different things at different depths. The share is that of questions held out for this: those
    the thresholds are then calibrated on void the promise. It never accepts more at a depth that is better.

    Args:
        scores: Answer scores of the held-out questions, ``[depths, m]``, 0 to 1 or None.
        eligible: Which questions may be answered at each depth, ``[depths, m]``; all without it.
        steps: Steps from nothing to everything, >= 1.

    Returns:
        ``[1 + steps, depths]``, descending, within the range of
        :data:`~langgraph_speceyes.calibration.guarantee.GRID`, whose highest threshold is the first step.

    Raises:
        ArgumentError: An argument is out of its range, or a depth has no eligible question.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ArgumentError("steps", "an integer of at least 1", repr(steps))
    s = rows(scores)
    let_through = masks("eligible", np.ones(s.shape, dtype=bool) if eligible is None else eligible, s.shape)
    if not let_through.any(axis=1).all():
        raise ArgumentError("eligible", "a question at each depth", "a depth without")
    shares = np.linspace(1, 0, steps)
    columns = [np.quantile(row[may], shares, method="inverted_cdf") for row, may in zip(s, let_through, strict=True)]
    path = np.clip(np.stack(columns, axis=1), GRID[-1], GRID[0])
    return np.concatenate([np.full((1, s.shape[0]), GRID[0]), path])


def checked_path(path: ArrayLike, depths: int) -> _Floats:
    """Vectors of thresholds from the safest down."""
    vectors = np.asarray(path, dtype=np.float64)
    if vectors.ndim != 2 or vectors.shape[1] != depths or vectors.shape[0] == 0:
        raise ArgumentError("path", f"an array [steps, {depths}] of at least one step", f"shape {vectors.shape}")
    if not np.all((vectors > 0) & (vectors < 1)):
        raise ArgumentError("path", "numbers strictly between 0 and 1", f"{vectors.min()} to {vectors.max()}")
    vectors = np.unique(vectors, axis=0)[::-1]
    if np.any(np.diff(vectors, axis=0) > 0):
        raise ArgumentError("path", "thresholds of which no two steps differ both ways", "a step up and down at once")
    return vectors
