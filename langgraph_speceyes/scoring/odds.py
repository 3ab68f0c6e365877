"""The odds of each token's leading candidate against its competitors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring.separability import FLOOR, FloatArray, check_k, sum_in_order

__all__ = ["LEAST_CANDIDATES", "log_odds", "odds_behind", "sigmoid"]

#: Candidates that a token needs for its odds: with fewer, too much of the competition is not listed.
LEAST_CANDIDATES = 5


def sigmoid(value: ArrayLike) -> FloatArray:
    """``1 / (1 + exp(-value))`` in float64, of any shape; of log-odds the probability."""
    x = np.asarray(value, dtype=np.float64)
    # exp never sees a positive number, so it cannot overflow.
    decay = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, decay) / (1.0 + decay), dtype=np.float64)


def log_odds(top: ArrayLike) -> FloatArray:
    """``c_t = -log sum_{k=2..K} exp(l_[k] - l_[1])`` of every token: ``sigmoid(c_t)`` is its renormalised probability.

    That is the leader's share of the probability of its K candidates. Only differences to the leader enter, so that
    log-probabilities give what raw logits give, and a leader whose log-probability is rounded to 0 (float32, from a
    probability of about ``1 - 1e-7`` on) is told from one that is surer still. K matters little: what is not listed is
    less probable than what is. A tie of m of the candidates is never above ``sigmoid(c_t) = 1/m``.

    Args:
        top: Logits or log-probabilities of the K strongest candidates, ``[..., T, K]``, in any order. Entries that
            are ``-inf`` or at most :data:`~langgraph_speceyes.scoring.FLOOR` are dropped.

    Returns:
        ``c_t``, ``[..., T]``, float64, natural logarithm. NaN where a token has fewer than
        :data:`LEAST_CANDIDATES` usable candidates, or where one is NaN or ``+inf``: unknown, so no gate accepts it.

    Raises:
        ArgumentError: ``top`` has no last axis of at least 2 (argument ``k``).
    """
    values = np.asarray(top, dtype=np.float64)
    if values.ndim == 0:
        raise ArgumentError("top", "an array [..., T, K]", "a scalar")
    check_k(values.shape[-1])

    usable = ~(values <= FLOOR)
    known = usable.sum(axis=-1) >= LEAST_CANDIDATES
    known &= ~(np.isnan(values) | np.isposinf(values)).any(axis=-1)

    # Sorted, so that neither the order of the candidates nor padding behind them changes the last bit of the sum.
    ranked = np.sort(np.where(usable & known[..., None], values, -np.inf), axis=-1)[..., ::-1]
    leader, second = (np.where(known, ranked[..., rank], 0.0) for rank in (0, 1))
    # The strongest competitor leaves the sum before exp: far behind the leader it would underflow to nothing.
    rest = sum_in_order(np.exp(ranked[..., 1:] - second[..., None]))
    return np.where(known, (leader - second) - np.log(np.where(known, rest, 1.0)), np.nan)


def odds_behind(leader: FloatArray, behind: FloatArray) -> FloatArray:
    """Log-odds of a candidate that is not the leader.

    With ``S`` the probability of all K candidates together, the leader's log-odds give ``S / p_[1] = 1 + exp(-c_t)``;
    the candidate's are ``-log(S / p - 1)``.

    Args:
        leader: ``c_t`` of the leader, as :func:`log_odds` returns it, any shape.
        behind: The leader's log-probability less the candidate's, >= 0, of the same shape.

    Returns:
        The log-odds, at most 0 where `behind` is above 0; NaN where either argument is.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        share = behind + np.logaddexp(0.0, -leader)
        return np.asarray(-(share + np.log(-np.expm1(-share))), dtype=np.float64)
