"""Figures with their 95 % intervals."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langgraph_speceyes.errors import MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

CONFIDENCE = 0.95
RESAMPLES = 2000
_BATCH = 100

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Any]
"""Takes means of columns, `[..., m]`, and returns one number for each row of them, `[...]`."""


@dataclass(frozen=True)
class Estimate:
    """A figure, the ends of its 95 % interval and how many values it rests on; no figure without values."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def share(hits: Sequence[bool]) -> Estimate:
    """How often something is true, with Wilson's interval.

    Args:
        hits: One truth value a question.
    """
    if not hits:
        return Estimate(None, None, None, 0)
    k, n = int(np.count_nonzero(hits)), len(hits)
    interval = _stats().binomtest(k, n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(k / n, float(interval.low), float(interval.high), n)


def bootstrapped(statistic: Callable[..., float], *columns: ArrayLike, seed: int = 0) -> Estimate:
    """A statistic of paired columns with its percentile bootstrap interval: questions are drawn, not values.

    Args:
        statistic: Takes the columns, each ``[n]``, and returns one number; nan where it is not defined.
        columns: One value a question, in the same order.
        seed: Seed of the resampling.
    """
    arrays = [np.asarray(c) for c in columns]
    n = arrays[0].size
    value = float(statistic(*arrays)) if n else float("nan")
    if not np.isfinite(value):
        return Estimate(None, None, None, n)
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(*(a[at] for a in arrays)) for at in rng.integers(0, n, (RESAMPLES, n))])
    edge = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, [edge, 1 - edge])
    return Estimate(value, float(low), float(high), n)


def auroc(scores: NDArray[Any], right: NDArray[Any]) -> float:
    """Area under the ROC curve of a score that should be higher where the answer is right; ties count half.

    Args:
        scores: ``[n]``.
        right: ``[n]``, truth values.

    Returns:
        0 to 1; nan when all answers are right or all are wrong.
    """
    good = np.asarray(right, dtype=bool)
    ones = int(good.sum())
    zeros = good.size - ones
    if not ones or not zeros:
        return float("nan")
    ranks = _stats().rankdata(scores)
    return float((ranks[good].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def sums(columns: Sequence[ArrayLike], groups: Sequence[str] | None = None) -> Floats:
    """Columns added up within what is drawn together.

    Args:
        columns: One value a question each, ``[m, n]``.
        groups: The questions' groups, ``[n]``: rotations of one question are not independent and are drawn together;
            an empty one stands alone.

    Returns:
        ``[drawn, m + 1]``; the last column counts the questions.
    """
    values = np.column_stack([np.asarray(c, dtype=np.float64) for c in (*columns, np.ones(np.size(columns[0])))])
    if groups is None or not any(groups):
        return values
    names = [group or f"\0{k}" for k, group in enumerate(groups)]
    _, at = np.unique(names, return_inverse=True)
    return np.column_stack([np.bincount(at, weights=column) for column in values.T])


def drawn_means(rows: Floats) -> Floats:
    """Means of the columns in bootstrap samples.

    The samples are a function of the rows, whatever order they come in: the same questions have the same interval on
    every page.

    Args:
        rows: What :func:`sums` returned, ``[n, m + 1]``.

    Returns:
        ``[RESAMPLES, m]``.
    """
    rows = np.ascontiguousarray(rows[np.lexsort(rows.T[::-1])])
    n, rng = len(rows), np.random.default_rng(zlib.crc32(rows.tobytes()))
    sizes = [min(_BATCH, RESAMPLES - begin) for begin in range(0, RESAMPLES, _BATCH)]
    drawn = np.concatenate(
        [
            np.stack([np.bincount(at, minlength=n) for at in rng.integers(0, n, (size, n))]).astype(np.float64) @ rows
            for size in sizes
        ]
    )
    return np.asarray(drawn[:, :-1] / drawn[:, -1:], dtype=np.float64)


def means(rows: Floats) -> Floats:
    """Means of the columns of what :func:`sums` returned, ``[m]``."""
    return np.asarray(rows[:, :-1].sum(axis=0) / rows[:, -1].sum(), dtype=np.float64)


def estimate(statistic: Statistic, strata: Sequence[Floats]) -> Estimate:
    """A figure of column means, averaged over splits, with its percentile bootstrap interval.

    Args:
        statistic: From means to the figure.
        strata: What :func:`sums` returned for each split; each is drawn from on its own.
    """
    n = int(sum(rows[:, -1].sum() for rows in strata))
    if not strata or not all(len(rows) for rows in strata):
        return Estimate(None, None, None, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.mean([statistic(means(rows)) for rows in strata]))
        if not math.isfinite(value):
            return Estimate(None, None, None, n)
        if any(len(rows) < 2 for rows in strata):
            return Estimate(value, None, None, n)
        drawn = np.mean([statistic(drawn_means(rows)) for rows in strata], axis=0)
    low, high = interval(drawn)
    return Estimate(value, float(low), float(high), n)


def interval(drawn: Floats) -> Floats:
    """The ends of the 95 % interval of what bootstrap samples gave, ``[RESAMPLES, ...]`` to ``[2, ...]``."""
    edge = (1 - CONFIDENCE) / 2
    drawn = np.where(np.isfinite(drawn), drawn, np.nan)
    return np.asarray(np.nanquantile(drawn, [edge, 1 - edge], axis=0), dtype=np.float64)


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The unweighted mean of independent figures, with an interval from theirs.

    The distances to the ends are added as independent errors are (MOVER: Zou and Donner 2008, Statistics in Medicine
    27), which keeps the width that Wilson's interval has where every answer is right.
    """
    n = sum(e.n for e in estimates)
    values = [e.value for e in estimates if e.value is not None]
    if not values or len(values) < len(estimates):
        return Estimate(None, None, None, n)
    value = float(np.mean(values))
    below = [e.value - e.low for e in estimates if e.value is not None and e.low is not None]
    above = [e.high - e.value for e in estimates if e.value is not None and e.high is not None]
    if len(below) < len(values) or len(above) < len(values):
        return Estimate(value, None, None, n)
    return Estimate(value, value - math.hypot(*below) / len(values), value + math.hypot(*above) / len(values), n)


def speedup(means: Floats) -> Floats:
    """How many times as fast, from means of a method's and the agent's seconds, ``[..., 2]``."""
    return np.asarray(means[..., 1] / means[..., 0])


def total_speedup(strata: Sequence[Floats]) -> Estimate:
    """The speed-up in total time: all seconds of the agent over all seconds of the method.

    Args:
        strata: What :func:`sums` returned for each split, of the method's and the agent's seconds.
    """
    return estimate(speedup, [np.concatenate(strata)] if strata else [])


def mean_speedup(strata: Sequence[Floats]) -> Estimate:
    """The unweighted mean of the splits' speed-ups, as in the paper's tables.

    Weighted by the method's own seconds the same mean is the speed-up in total time. What is answered fastest weighs
    least there, so that the unweighted mean is mostly the higher of the two.

    Args:
        strata: What :func:`sums` returned for each split, of the method's and the agent's seconds.
    """
    return estimate(speedup, strata)


def _stats() -> ModuleType:
    try:
        from scipy import stats
    except ModuleNotFoundError as missing:
        raise MissingExtraError("intervals", "eval") from missing
    module: ModuleType = stats
    return module
