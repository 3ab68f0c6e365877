"""Figures with their 95 % intervals."""

from __future__ import annotations

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


def ratio_of_means(above: NDArray[Any], below: NDArray[Any]) -> float:
    """Mean of one column over the mean of another: the speed-up, from latencies of the same questions."""
    return float(above.mean() / below.mean())


def _stats() -> ModuleType:
    try:
        from scipy import stats
    except ModuleNotFoundError as missing:
        raise MissingExtraError("intervals", "eval") from missing
    module: ModuleType = stats
    return module


def predicted_latency(judge_s: float, speculate_s: float, agent_s: float, beta: float, alpha: float) -> float:
    """``c_J + beta * c_S + (1 - beta * alpha) * L_agent``: mean seconds of a bypass (paper, section 3).

    Args:
        judge_s: ``c_J``, seconds of the judgment.
        speculate_s: ``c_S``, seconds of speculation and gate.
        agent_s: ``L_agent``, seconds of the agent.
        beta: Screening ratio, the share that the judge lets pass.
        alpha: Acceptance rate, the share of those that the gate accepts.
    """
    return judge_s + beta * speculate_s + (1 - beta * alpha) * agent_s
