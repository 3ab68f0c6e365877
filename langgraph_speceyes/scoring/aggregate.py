"""Answer scores: one number in [0, 1] from the values of an answer's tokens, for many answers at once."""

from __future__ import annotations

import operator
from typing import Literal, SupportsIndex, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring.odds import LEAST_CANDIDATES, sigmoid
from langgraph_speceyes.scoring.separability import FloatArray, check_k, sum_in_order

__all__ = [
    "AT_ONE_K",
    "BOTTOM_FRACTION",
    "SCORES",
    "SQUASH_SCALE",
    "ScoreName",
    "all_scores",
    "check_k_for",
    "check_score",
    "least_candidates",
    "score_bottom",
    "score_log",
    "score_mean",
    "score_min",
    "score_odds",
    "squash",
]

ScoreName = Literal["odds", "min", "mean", "bottom", "log"]

#: The names of the answer scores, the default first.
SCORES: tuple[ScoreName, ...] = get_args(ScoreName)

#: Those that rest on separability: they compare only at the same K.
AT_ONE_K: frozenset[ScoreName] = frozenset({"min", "mean", "bottom"})

#: Slope of the sigmoid in the authors' code; the paper's text does not show it.
SQUASH_SCALE = 0.6

#: Share of the tokens that ``bottom`` looks at (the paper's ``r``).
BOTTOM_FRACTION = 0.2


def check_score(score: object) -> ScoreName:
    """Check the name of an answer score.

    Args:
        score: The name as the caller gave it.

    Returns:
        The same name.

    Raises:
        ArgumentError: ``score`` is none of :data:`SCORES`.
    """
    if score not in SCORES:
        raise ArgumentError("score", "one of " + ", ".join(repr(name) for name in SCORES), repr(score))
    return score


def least_candidates(score: ScoreName) -> int:
    """Candidates that each token needs for a score; ``log`` takes the token's own log-probability where it has none."""
    return {"odds": LEAST_CANDIDATES, "log": 0}.get(score, 2)


def check_k_for(score: ScoreName, k: object) -> int:
    """Check a number of candidates per token to ask for (the paper's ``K``) and to compute a score from.

    Returns:
        The same number as a plain ``int``.

    Raises:
        ArgumentError: ``k`` is not an integer of at least 2; of at least 5 for ``odds``, of at least 0 for ``log``.
    """
    if (least := least_candidates(score)) == 2:
        return check_k(k)
    expected = f"an integer >= {least} (the score {score!r} needs as many candidates)"
    try:
        number = operator.index(cast("SupportsIndex", k))
    except TypeError:
        raise ArgumentError("k", expected, repr(k)) from None
    if isinstance(k, bool) or number < least:
        raise ArgumentError("k", expected, repr(k))
    return number


def squash(value: ArrayLike) -> FloatArray:
    """``sigmoid(0.6 * value)``: brings a separability into (0, 1) (authors' code; threshold 0.98 is ``S_sep`` = 6.49).

    Args:
        value: Separabilities, any shape.

    Returns:
        Scores of the same shape. A separability is never negative, so its score lies in [0.5, 1].
    """
    return sigmoid(SQUASH_SCALE * np.asarray(value, dtype=np.float64))


def score_odds(log_odds: ArrayLike, mask: ArrayLike | None = None) -> FloatArray:
    """``sigmoid(min_t c_t)``, the default: the probability of the weakest token, renormalised over its K candidates.

    Args:
        log_odds: ``c_t`` per token (:func:`~langgraph_speceyes.scoring.log_odds`), ``[..., T]``.
        mask: True where a token counts, ``[..., T]``; padding and end-of-sequence tokens are False, and what stands
            there is never looked at. All tokens count without it.

    Returns:
        Scores ``[...]`` in [0, 1]; 0.0 for an answer without tokens, NaN where a token's value is NaN.

    Raises:
        ArgumentError: ``mask`` has another shape than ``log_odds``.
    """
    values, counts = _values("log_odds", log_odds, mask)
    return _finish(sigmoid(np.min(np.where(counts, values, np.inf), axis=-1, initial=np.inf)), counts)


def score_min(separability: ArrayLike, mask: ArrayLike | None = None) -> FloatArray:
    """``squash(min_t S_sep(t))``, the paper's own: an answer is as sure as its least separable token.

    Args:
        separability: ``S_sep`` per token, ``[..., T]``.
        mask: True where a token counts, ``[..., T]``; padding and end-of-sequence tokens are False, and what stands
            there is never looked at. All tokens count without it.

    Returns:
        Scores ``[...]`` in [0, 1]; 0.0 for an answer without tokens, NaN where a token's value is NaN.

    Raises:
        ArgumentError: ``mask`` has another shape than ``separability``.
    """
    values, counts = _values("separability", separability, mask)
    lowest = np.min(np.where(counts, values, np.inf), axis=-1, initial=np.inf)
    return _finish(squash(lowest), counts)


def score_mean(separability: ArrayLike, mask: ArrayLike | None = None) -> FloatArray:
    """``squash(mean_t S_sep(t))``. Arguments, result and errors as for :func:`score_min`."""
    values, counts = _values("separability", separability, mask)
    return _finish(squash(_mean(values, counts)), counts)


def score_bottom(
    separability: ArrayLike, mask: ArrayLike | None = None, *, fraction: float = BOTTOM_FRACTION
) -> FloatArray:
    """``squash`` of the mean over the least separable tokens (paper: ``bottom``).

    Of an answer's n tokens, ``max(1, floor(fraction * n))`` count. Otherwise as :func:`score_min`.

    Args:
        separability: ``S_sep`` per token, ``[..., T]``.
        mask: True where a token counts, ``[..., T]``.
        fraction: Share of the tokens to look at (the paper's ``r``), 0 < fraction <= 1.

    Returns:
        Scores ``[...]`` in [0, 1]; 0.0 for an answer without tokens, NaN where a token's value is NaN.

    Raises:
        ArgumentError: ``mask`` has another shape than ``separability``, or ``fraction`` is out of range.
    """
    if not 0 < fraction <= 1:
        raise ArgumentError("fraction", "a number with 0 < fraction <= 1", fraction)
    values, counts = _values("separability", separability, mask)
    ascending = np.sort(np.where(counts, values, np.inf), axis=-1)
    size = np.maximum(1, np.floor(fraction * counts.sum(axis=-1))).astype(np.int64)
    chosen = np.arange(values.shape[-1]) < size[..., None]
    scores = squash(sum_in_order(np.where(chosen, ascending, 0.0)) / size)
    # Sorting puts a NaN last, where the lowest fraction would never see it.
    scores = np.where((counts & np.isnan(values)).any(axis=-1), np.nan, scores)
    return _finish(scores, counts)


def score_log(log_probability: ArrayLike, mask: ArrayLike | None = None) -> FloatArray:
    """``S_log = exp(mean_t log p_t)``: geometric mean of the top-1 probabilities, without a sigmoid.

    Args:
        log_probability: ``log p_t``, natural logarithm of the most probable token's probability, ``[..., T]``.
        mask: True where a token counts, ``[..., T]``.

    Returns:
        Scores ``[...]`` in [0, 1]; 0.0 for an answer without tokens, NaN where a token's value is NaN.

    Raises:
        ArgumentError: ``mask`` has another shape than ``log_probability``.
    """
    values, counts = _values("log_probability", log_probability, mask)
    return _finish(np.exp(_mean(values, counts)), counts)


def all_scores(
    log_odds: ArrayLike, separability: ArrayLike, log_probability: ArrayLike, mask: ArrayLike | None = None
) -> dict[ScoreName, FloatArray]:
    """Every answer score by its name.

    Args:
        log_odds: ``c_t`` per token, ``[..., T]``.
        separability: ``S_sep`` per token, ``[..., T]``.
        log_probability: ``log p_t`` per token, ``[..., T]``.
        mask: True where a token counts, ``[..., T]``.

    Returns:
        For each of :data:`SCORES` an array ``[...]``.

    Raises:
        ArgumentError: ``mask`` has another shape than the values.
    """
    return {
        "odds": score_odds(log_odds, mask),
        "min": score_min(separability, mask),
        "mean": score_mean(separability, mask),
        "bottom": score_bottom(separability, mask),
        "log": score_log(log_probability, mask),
    }


def _values(argument: str, values: ArrayLike, mask: ArrayLike | None) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the values as float64 ``[..., T]`` and a mask of the same shape."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        raise ArgumentError(argument, "an array [..., T]", "a scalar")
    if mask is None:
        return array, np.ones(array.shape, dtype=np.bool_)
    counts = np.asarray(mask, dtype=np.bool_)
    if counts.shape != array.shape:
        raise ArgumentError("mask", f"shape {array.shape}, that of {argument}", f"shape {counts.shape}")
    return array, counts


def _mean(values: FloatArray, counts: NDArray[np.bool_]) -> FloatArray:
    """Mean over the tokens that count; 0 where none does."""
    total = sum_in_order(np.where(counts, values, 0.0))
    return np.asarray(total / np.maximum(counts.sum(axis=-1), 1), dtype=np.float64)


def _finish(scores: FloatArray, counts: NDArray[np.bool_]) -> FloatArray:
    """Give 0.0 to an answer without tokens, which says nothing."""
    return np.where(counts.any(axis=-1), scores, 0.0)
