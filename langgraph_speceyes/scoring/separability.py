"""Token separability ``S_sep``: how far the leading candidate stands above its strongest competitors."""

from __future__ import annotations

import operator
from typing import SupportsIndex, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langgraph_speceyes.errors import ArgumentError

__all__ = ["EPS", "FLOOR", "FloatArray", "check_k", "count_candidates", "separability", "top_k"]

FloatArray = NDArray[np.float64]

#: Added to the standard deviation (the paper's ``eps``; the authors' code uses this value).
EPS = 1e-6

#: Servers write this in place of the log-probability of a candidate that cannot occur (a masked token, say).
#: An entry at or below it carries no information about the competition and is dropped.
FLOOR = -9999.0


def check_k(k: object) -> int:
    """Check a number of candidates per token (the paper's ``K``, the leader included).

    Args:
        k: The number as the caller gave it.

    Returns:
        The same number as a plain ``int``.

    Raises:
        ArgumentError: ``k`` is not an integer of at least 2 (a leader needs a competitor).
    """
    expected = "an integer >= 2 (the leader and at least one competitor)"
    try:
        number = operator.index(cast("SupportsIndex", k))
    except TypeError:
        raise ArgumentError("k", expected, repr(k)) from None
    if number < 2:
        raise ArgumentError("k", expected, number)
    return number


def separability(top: ArrayLike, eps: float = EPS) -> FloatArray:
    """``S_sep(t) = (l_[1] - mu_K) / (sigma_K + eps)`` of every token (paper, "token separability").

    ``mu_K`` and ``sigma_K`` are the mean and the *population* standard deviation of ranks 2..K: the leader ``l_[1]``
    is not among its own competitors. The value is never negative. It does not change when a constant is added to a
    token's logits, so log-probabilities give what raw logits give; nor when all are multiplied by ``c > 0``, up to
    ``eps``.

    Where the competitors do not differ (always so at K = 2) ``sigma_K`` is 0 and the value is ``gap / eps``: millions.
    The formula is kept as it is; a separability that says something about the competition needs K of 3 or more.

    Args:
        top: Logits or log-probabilities of the K strongest candidates, ``[..., T, K]``, in any order. Entries that
            are ``-inf`` or at most :data:`FLOOR` are dropped, so K shrinks for that token
            (see :func:`count_candidates`).
        eps: The paper's ``eps``, > 0.

    Returns:
        ``S_sep``, ``[..., T]``, float64, no unit. NaN where a token has fewer than two usable candidates or where one
        is NaN or ``+inf``: unknown, so no gate accepts it.

    Raises:
        ArgumentError: ``top`` has no last axis of at least 2 (argument ``k``), or ``eps`` is not positive.
    """
    values = np.asarray(top, dtype=np.float64)
    if values.ndim == 0:
        raise ArgumentError("top", "an array [..., T, K]", "a scalar")
    check_k(values.shape[-1])
    if not eps > 0:
        raise ArgumentError("eps", "a number > 0", eps)

    usable = ~(values <= FLOOR)
    known = usable.sum(axis=-1) >= 2
    known &= ~(np.isnan(values) | np.isposinf(values)).any(axis=-1)

    # the first of equals is the leader, and no competitor of its own
    others = np.argmax(values, axis=-1)[..., None] != np.arange(values.shape[-1])
    competitors = usable & others & known[..., None]
    count = np.maximum(competitors.sum(axis=-1), 1)

    # Distances to the leader rather than values: the constant that separates logits from log-probabilities leaves
    # before anything is squared.
    with np.errstate(invalid="ignore"):
        gaps = np.where(competitors, values.max(axis=-1, keepdims=True) - values, 0.0)
    mean = sum_in_order(gaps) / count
    deviation = np.where(competitors, gaps - mean[..., None], 0.0)
    std = np.sqrt(sum_in_order(deviation * deviation) / count)
    return np.where(known, mean / (std + eps), np.nan)


def count_candidates(top: ArrayLike) -> NDArray[np.int64]:
    """How many candidates of each token are usable, the leader included: the K that ``separability`` used.

    Args:
        top: Logits or log-probabilities, ``[..., T, K]``.

    Returns:
        The number of entries per token that are neither ``-inf`` nor at most :data:`FLOOR`, ``[..., T]``.
    """
    values = np.asarray(top, dtype=np.float64)
    return np.asarray((~(values <= FLOOR)).sum(axis=-1), dtype=np.int64)


def top_k(logits: ArrayLike, k: int) -> FloatArray:
    """Keep the K strongest logits of every token (ranks 1..K of ``l^(t)``).

    Args:
        logits: Logits or log-probabilities over the whole vocabulary, ``[..., T, V]``.
        k: How many to keep (the paper's ``K``), 2 <= k <= V.

    Returns:
        The kept values, ``[..., T, k]``, float64, strongest first.

    Raises:
        ArgumentError: ``k`` is below 2 or above the size of the vocabulary.
    """
    values = np.asarray(logits)
    if values.ndim == 0:
        raise ArgumentError("logits", "an array [..., T, V]", "a scalar")
    k = check_k(k)
    vocabulary = values.shape[-1]
    if k > vocabulary:
        raise ArgumentError("k", f"at most the vocabulary size, {vocabulary}", k)
    strongest = np.partition(values, vocabulary - k, axis=-1)[..., vocabulary - k :]
    return np.sort(strongest.astype(np.float64), axis=-1)[..., ::-1]


def sum_in_order(values: FloatArray) -> FloatArray:
    """Sum over the last axis, strictly left to right.

    ``np.sum`` groups its terms by the length of the axis, so that padding would change the last bit, and an answer's
    score would depend on the answers it was batched with.
    """
    if values.shape[-1] == 0:
        return np.zeros(values.shape[:-1])
    return np.asarray(np.cumsum(values, axis=-1)[..., -1], dtype=np.float64)
