"""The test of a fixed sequence: how far down one may go before the loss can no longer be shown to be within its limit.

Steps set down beforehand are tried in their order, each at level ``delta = 1 - confidence`` for "the mean loss here
exceeds ``max_loss``"; the first that cannot be refuted ends it. The whole is wrong only if the first step whose loss
does exceed the limit is passed, and that happens with probability ``delta`` at most, however many steps there are. The
losses need not rise from step to step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from langgraph_speceyes.errors import ArgumentError, MissingExtraError

__all__ = ["METHODS", "Descent", "Method", "checked_terms", "descend", "smallest_sample"]

Method = Literal["net", "harm"]
_Floats = NDArray[np.float64]
_Mask = NDArray[np.bool_]
_Losses = NDArray[np.int8]
_Steps = NDArray[np.intp]

#: What may be counted as lost: see :func:`~langgraph_speceyes.calibration.guarantee.guaranteed_threshold`.
METHODS: tuple[Method, ...] = get_args(Method)

# The bets are sized for this level whatever is asked for, so that what a lower confidence refuses no higher one passes.
_SIZED_FOR = math.log(1 / 0.05)

# Largest share of the wealth that one lost question may take: below 1, so that none is ruin.
_AT_STAKE = 0.8

# The estimate of `more_needed`: how much of the operating point is hoped for, and how hard it is looked for.
_HOPED_FOR = 0.9
_RESAMPLES = 9
_TRIED_STEPS = 8
_GROWTH = 1.3
_FURTHEST = 20

_CELLS = 250_000  # losses tested at once, and the largest sample that is gone through bet by bet to count it


@dataclass(frozen=True, slots=True)
class Descent:
    """How far down the sequence was certified.

    Attributes:
        last: Position of the last certified step; None when the first fails.
        accepted: Questions that each gate accepts there, ``[gates]``; zeros without such a step.
        loss: Mean loss there; 0 without such a step.
        more_needed: See :class:`~langgraph_speceyes.calibration.guarantee.Guarantee`.
    """

    last: int | None
    accepted: tuple[int, ...]
    loss: float
    more_needed: int | None


def descend(
    entry: _Steps,
    lost: _Losses,
    steps: int,
    *,
    max_loss: float,
    confidence: float,
    method: Method,
    seed: int,
    extrapolate: bool,
    shorter: bool = False,
) -> Descent:
    """Test step after step. A question has the loss of the first gate that accepts it, and none where none does.

    Args:
        entry: The step from which on each gate accepts each question, ``[gates, n]``; `steps` where it never does.
        lost: What is lost when that gate answers, ``[gates, n]``, in {-1, 0, 1}; for ``harm`` in {0, 1}.
        steps: How many steps there are.
        max_loss: The limit.
        confidence: 1 - level.
        method: Which test.
        seed: Seed of the order of the bets.
        extrapolate: Whether to estimate ``more_needed``.
        shorter: Whether a step is passed only if the first gates alone pass it too, whatever their number.

    Returns:
        The last step before the first that fails. A higher `confidence` or a lower `max_loss` never takes it further.
    """
    n: int = entry.shape[1]
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    entry, lost = entry[:, order], lost[:, order]

    # steps between which no answer is accepted anew are the same: one test does for all of them
    firsts = np.union1d([0], entry[entry < steps])
    lasts = np.append(firsts[1:], steps) - 1
    entry = np.searchsorted(firsts, entry)

    passed = 0
    at_once = max(1, _CELLS // n)
    for start in range(0, firsts.size, at_once):
        some = np.arange(start, min(start + at_once, firsts.size))
        certified = _certified(_table(entry, lost, some), max_loss, confidence, method)
        for gates in range(1, entry.shape[0]) if shorter else ():
            certified &= _certified(_table(entry[:gates], lost[:gates], some), max_loss, confidence, method)
        passed += int(certified.cumprod().sum())
        if not certified.all():
            break

    change, earliest = np.zeros(firsts.size + 1), np.full(n, firsts.size)
    for enters, loss in zip(entry, lost, strict=True):
        # a gate answers from its step on until one before it does
        kept = np.where(enters < earliest, loss, 0)
        change += np.bincount(enters, kept, change.size) - np.bincount(earliest, kept, change.size)
        earliest = np.minimum(earliest, enters)
    losses = change[:-1].cumsum() / n
    accepted = np.bincount(earliest, minlength=change.size)[:-1].cumsum()

    more = None
    if extrapolate:
        reachable = int((losses <= max_loss).cumprod().sum())
        hoped_for = _HOPED_FOR * accepted[reachable - 1] if reachable else 0
        wanted = int(np.searchsorted(accepted, hoped_for))
        if hoped_for and passed > wanted:
            more = 0
        elif hoped_for:
            tried = np.unique(np.linspace(0, wanted, _TRIED_STEPS).round().astype(int))
            least = smallest_sample(max_loss, confidence, method)
            more = _more_needed(_table(entry, lost, tried), max_loss, confidence, method, least, rng)
    if not passed:
        return Descent(None, (0,) * entry.shape[0], 0.0, more)
    by = (entry < passed).argmax(axis=0)[earliest < passed]
    counts = np.bincount(by, minlength=entry.shape[0])
    return Descent(int(lasts[passed - 1]), tuple(counts.tolist()), float(losses[passed - 1]), more)


def checked_terms(max_loss: float, confidence: float, method: Method, seed: int) -> int:
    """Check what is promised; how many questions it takes at least.

    Raises:
        ArgumentError: One of them is out of its range.
    """
    if method not in METHODS:
        raise ArgumentError("method", "one of " + ", ".join(map(repr, METHODS)), repr(method))
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ArgumentError("seed", "an integer of at least 0", repr(seed))
    return smallest_sample(max_loss, confidence, method)


def smallest_sample(max_loss: float, confidence: float, method: Method = "net") -> int:
    """How many calibration questions it takes to certify a threshold at which none of them is lost.

    For ``harm`` this is ``ln(1 - confidence) / ln(1 - max_loss)``, and fewer questions certify nothing. For ``net`` it
    is a little more, as the bets do not stake everything; where the speculator gains on the agent, fewer may do.

    Args:
        max_loss: The limit, a share of all questions, strictly between 0 and 1.
        confidence: How surely it is kept, strictly between 0 and 1.
        method: What counts as lost.

    Returns:
        Questions, >= 1; for ``net`` above a quarter of a million correct to a few digits only.

    Raises:
        ArgumentError: An argument is out of its range.
    """
    for name, value in (("max_loss", max_loss), ("confidence", confidence)):
        if not isinstance(value, Real) or not 0 < value < 1:
            raise ArgumentError(name, "a number strictly between 0 and 1", repr(value))
    if method not in METHODS:
        raise ArgumentError("method", "one of " + ", ".join(map(repr, METHODS)), repr(method))
    goal = -math.log1p(-confidence)
    if method == "harm":
        return max(1, math.ceil(goal / -math.log1p(-max_loss)))
    # the growth of one bet, over the course of many
    course = (np.arange(1000) + 0.5) / 1000
    stakes = np.minimum(np.sqrt(2 * _SIZED_FOR * course), _AT_STAKE / (1 - max_loss))
    n = max(1, math.ceil(goal / float(np.log1p(stakes * max_loss).mean())))

    def enough(size: int) -> bool:
        return bool(_certified(np.zeros((1, size), dtype=np.int8), max_loss, confidence, "net")[0])

    while n <= _CELLS and not enough(n):
        n += 1
    while 1 < n <= _CELLS and enough(n - 1):
        n -= 1
    return n


def _certified(losses: _Losses, max_loss: float, confidence: float, method: Method) -> _Mask:
    """Which rows refute, at level ``1 - confidence``, that their mean loss exceeds ``max_loss``.

    Args:
        losses: Loss of each question at each threshold, ``[steps, n]``, in the order of the bets.
        max_loss: The limit.
        confidence: 1 - level.
        method: Which test.

    Returns:
        ``[steps]``. What is refuted stays so at a higher ``max_loss`` and at a lower ``confidence``.
    """
    totals, n = losses.sum(axis=1), losses.shape[1]
    if method == "harm":
        refuted = _binomial().cdf(totals, n, max_loss) <= 1 - confidence
    else:
        refuted = _wealth(losses, max_loss).max(axis=1) >= -math.log1p(-confidence)
    # a bet won early stands, but nobody should be promised what these very questions break
    return np.asarray(refuted & (totals / n <= max_loss), dtype=np.bool_)


def _wealth(losses: _Losses, max_loss: float) -> _Floats:
    """Logarithm of what a bettor has made after each question by betting that the mean loss is below ``max_loss``.

    ``W_i = W_(i-1) * (1 + b_i * (max_loss - loss_i))`` with the bet ``b_i = sqrt(2 ln(1/0.05) / (n v_i))`` (predictable
    plug-in of Waudby-Smith and Ramdas), cut so that the wealth stays positive. ``v_i`` is the mean square
    of the losses before i and of one 1. While the mean is above ``max_loss`` the expected wealth never grows, so it
    ever reaches ``1 / delta`` with probability ``delta`` at most (Ville).

    Args:
        losses: ``[steps, n]``, in {-1, 0, 1}.
        max_loss: The limit.

    Returns:
        ``ln W``, ``[steps, n]``; never falls when ``max_loss`` is raised.
    """
    n = losses.shape[1]
    squares = np.cumsum(losses != 0, axis=1, dtype=np.float64)
    seen = np.arange(1, n + 1, dtype=np.float64)
    before = np.concatenate([np.ones((losses.shape[0], 1)), 1 + squares[:, :-1]], axis=1)
    bets = np.minimum(np.sqrt(2 * _SIZED_FOR / n * seen / before), _AT_STAKE / (1 - max_loss))
    return np.asarray(np.log1p(bets * (max_loss - losses)).cumsum(axis=1), dtype=np.float64)


def _more_needed(
    losses: _Losses, max_loss: float, confidence: float, method: Method, least: int, rng: np.random.Generator
) -> int | None:
    """Further questions until half the samples drawn from these columns certify every row; None: out of reach."""
    n: int = losses.shape[1]
    size = max(n + 1, least)
    furthest = _FURTHEST * size
    while size <= furthest:
        certified = 0
        for _ in range(_RESAMPLES):
            drawn = rng.integers(0, n, size)
            # the last row accepts most and is the likeliest to fail
            certified += all(_certified(row[None, drawn], max_loss, confidence, method)[0] for row in losses[::-1])
        if 2 * certified > _RESAMPLES:
            return size - n
        size = math.ceil(size * _GROWTH)
    return None


def _table(entry: _Steps, lost: _Losses, steps: _Steps) -> _Losses:
    """Losses at these steps, ``[steps, n]``: those of the first gate that accepts a question by then."""
    losses = np.zeros((steps.size, entry.shape[1]), dtype=np.int8)
    for enters, loss in zip(entry[::-1], lost[::-1], strict=True):
        losses = np.where(enters <= steps[:, None], loss, losses)
    return losses


def _binomial() -> Any:
    """SciPy's binomial distribution, which only ``harm`` needs."""
    try:
        from scipy.stats import binom
    except ModuleNotFoundError as missing:
        raise MissingExtraError("a guarantee on harm", "eval") from missing
    return binom
