"""A threshold with a promise: the accuracy lost against the agent stays within a limit, with a stated confidence.

Learn then Test (Angelopoulos et al., arXiv 2110.01052) over a fixed sequence: thresholds set down beforehand are tried
from the safest downwards, each tested at level ``delta = 1 - confidence`` for "the loss here exceeds ``max_loss``", and
the first that cannot be refuted ends it. The whole is wrong only if the first threshold whose loss does exceed the
limit is passed, and that happens with probability ``delta`` at most, however many thresholds are tried.

The test of ``net`` is a bet (Waudby-Smith and Ramdas, arXiv 2010.09686), that of ``harm`` an exact binomial tail. Both
hold at every sample size and whatever the score is worth: a poor score costs acceptance, not the promise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langgraph_speceyes.errors import ArgumentError, MissingExtraError

__all__ = ["GRID", "METHODS", "Guarantee", "Method", "guaranteed_threshold", "smallest_sample"]

Method = Literal["net", "harm"]
_Floats = NDArray[np.float64]
_Mask = NDArray[np.bool_]
_Losses = NDArray[np.int8]

#: What may be counted as lost: see :func:`guaranteed_threshold`.
METHODS: tuple[Method, ...] = get_args(Method)

#: Thresholds to try when no others are given, descending, ``[501]``: even in the logit from 18 to -7, as scores are
#: sigmoids and crowd below 1. They depend on no data.
GRID: _Floats = 1 / (1 + np.exp(-np.linspace(18, -7, 501)))
GRID.flags.writeable = False

# The bets are sized for this level whatever is asked for, so that what a lower confidence refuses no higher one passes.
_SIZED_FOR = math.log(1 / 0.05)

# Largest share of the wealth that one lost question may take: below 1, so that none is ruin.
_AT_STAKE = 0.8

# The estimate of `more_needed`: how much of the operating point is hoped for, and how hard it is looked for.
_HOPED_FOR = 0.9
_RESAMPLES = 9
_TRIED_THRESHOLDS = 8
_GROWTH = 1.3
_FURTHEST = 20

_CELLS = 250_000  # losses tested at once, and the largest sample that is gone through bet by bet to count it


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A threshold, what is promised for it and what it rests on.

    Attributes:
        threshold: The lowest certified threshold, strictly between 0 and 1; None when none is, and every question
            must go to the agent.
        max_loss: The promised limit, as a share of all questions (0.02: two points of accuracy).
        confidence: Probability, over draws of the calibration questions, that the limit is kept.
        method: What counts as lost, ``net`` or ``harm``.
        n: Calibration questions.
        accepted: Share of them that the threshold accepts; 0 without a threshold, and 0 with one that all scores miss.
        loss: Share of them lost at the threshold, counted as ``method`` says; below 0 where the speculator gains.
        least: Calibration questions it takes to certify anything when none is lost (:func:`smallest_sample`).
        more_needed: Roughly how many further calibration questions would do for nine tenths of what could be accepted
            if these questions were the whole population; 0 when that is certified already, None when it is out of
            reach or was not asked for. See :func:`guaranteed_threshold` for what it assumes.
        seed: Seed of the order of the bets and of that estimate.
    """

    threshold: float | None
    max_loss: float
    confidence: float
    method: Method
    n: int
    accepted: float
    loss: float
    least: int
    more_needed: int | None
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """The record for ``Gate(calibration=...)``: plain values, laid out as the paper's way writes them."""
        values = asdict(self)
        return {"method": "guarantee", "counted": values.pop("method"), "questions": values.pop("n"), **values}


def guaranteed_threshold(
    scores: ArrayLike | Sequence[float | None],
    speculator_right: ArrayLike,
    agent_right: ArrayLike,
    *,
    max_loss: float,
    confidence: float = 0.9,
    method: Method = "net",
    eligible: ArrayLike | None = None,
    grid: ArrayLike = GRID,
    seed: int = 0,
    extrapolate: bool = True,
) -> Guarantee:
    """The lowest threshold at which the accuracy lost against the agent is certified to be at most ``max_loss``.

    Lost at a threshold t, as a mean over all questions, accepted or not:

    * ``net``: ``1[s >= t] * (agent_right - speculator_right)``, so that answers only the speculator has right make up
      for others: the difference in accuracy.
    * ``harm``: ``1[s >= t] * agent_right * (1 - speculator_right)``: only what the bypass spoils. Never below ``net``.

    The promise is that the true mean loss at the threshold returned exceeds ``max_loss`` in a share of at most
    ``1 - confidence`` of all calibrations (not: of the questions to come given this one). It needs questions that are
    independent draws from what the gate will meet, and everything else fixed without looking at their outcomes: models,
    score, K, the judge's threshold behind ``eligible``, ``grid``, ``seed``, ``method``, both limits. Calling again with
    another of these and keeping the better result voids it. Questions in an order of their own (sorted, or kind after
    kind) are covered as well, by the shuffle, if the seed is one that nobody chose for its result; a fixed number of
    each kind in place of free draws varies less, but ``net`` has no proof for it.

    ``more_needed`` draws larger samples with replacement from the questions at hand and asks from which size on half of
    them certify the wanted threshold, up to 20 times as large. It takes the observed loss for the true one, chance
    included: with few or no losses seen it is too hopeful, after unlucky ones too gloomy. From 300 questions with
    made-up scores, about half to nearly all of the estimates were within a factor of three of the truth. It is no part
    of the promise. To add questions until the result pleases is choosing by outcome: take a fresh set.

    Args:
        scores: Answer scores, ``[n]``, 0 to 1; 0 or None for a question that was not speculated, never accepted.
        speculator_right: Whether the speculation is right, ``[n]``.
        agent_right: Whether the agent is right on the same questions, ``[n]``.
        max_loss: The limit, a share of all questions, strictly between 0 and 1.
        confidence: How surely it is kept, strictly between 0 and 1.
        method: What counts as lost; ``harm`` needs SciPy.
        eligible: Which questions the judge let through, ``[n]``; the others go to the agent. All without it.
        grid: Thresholds to try, ``[m]``, strictly between 0 and 1, in any order. A score below the lowest is never
            accepted.
        seed: Seed of the order in which ``net`` bets on the questions; the result is a function of the data and it.
        extrapolate: Whether to estimate ``more_needed``.

    Returns:
        The threshold and what it rests on. Raising ``confidence`` or lowering ``max_loss`` never lowers the threshold.

    Raises:
        ArgumentError: Arrays are empty or of unequal length, scores are NaN or outside [0, 1], outcomes are no truth
            values, or another argument is out of its range; the error names it.
        MissingExtraError: ``harm`` without SciPy.
    """
    if method not in METHODS:
        raise ArgumentError("method", "one of " + ", ".join(map(repr, METHODS)), repr(method))
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ArgumentError("seed", "an integer of at least 0", repr(seed))
    least = smallest_sample(max_loss, confidence, method)
    s = checked_scores(scores)
    small = checked_truths("speculator_right", speculator_right, s.size)
    large = checked_truths("agent_right", agent_right, s.size)
    let_through = np.ones(s.size, dtype=bool) if eligible is None else checked_truths("eligible", eligible, s.size)
    thresholds = checked_grid(grid)

    lost = large.astype(np.int8) - small.astype(np.int8)
    if method == "harm":
        lost = np.maximum(lost, 0)
    rng = np.random.default_rng(seed)
    order = rng.permutation(s.size)
    s, lost = np.where(let_through, s, 0.0)[order], lost[order]

    # thresholds with no score between them accept the same questions: one test does for all of them
    counts = s.size - np.searchsorted(np.sort(s), thresholds)
    accepted, firsts = np.unique(counts, return_index=True)
    lasts = np.append(firsts[1:], thresholds.size) - 1
    # at which of these steps down a question is first accepted
    entry = np.searchsorted(-thresholds[firsts], -s)

    passed = 0
    at_once = max(1, _CELLS // s.size)
    for start in range(0, accepted.size, at_once):
        steps = np.arange(start, min(start + at_once, accepted.size))
        certified = _certified(_table(entry, lost, steps), max_loss, confidence, method)
        passed += int(certified.cumprod().sum())
        if not certified.all():
            break
    losses = np.bincount(entry, lost, accepted.size + 1)[:-1].cumsum() / s.size
    more = None
    if extrapolate:
        reachable = int((losses <= max_loss).cumprod().sum())
        hoped_for = _HOPED_FOR * accepted[reachable - 1] if reachable else 0
        wanted = int(np.searchsorted(accepted, hoped_for))
        if hoped_for and passed > wanted:
            more = 0
        elif hoped_for:
            tried = np.unique(np.linspace(0, wanted, _TRIED_THRESHOLDS).round().astype(int))
            table = _table(entry, lost, tried)
            more = _more_needed(table, max_loss, confidence, method, least, rng)
    return Guarantee(
        threshold=float(thresholds[lasts[passed - 1]]) if passed else None,
        max_loss=float(max_loss),
        confidence=float(confidence),
        method=method,
        n=s.size,
        accepted=float(accepted[passed - 1] / s.size) if passed else 0.0,
        loss=float(losses[passed - 1]) if passed else 0.0,
        least=least,
        more_needed=more,
        seed=seed,
    )


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


def _table(entry: NDArray[np.intp], lost: _Losses, steps: NDArray[np.intp]) -> _Losses:
    """Losses at these steps, ``[steps, n]``: those of the questions accepted by then."""
    return np.where(entry <= steps[:, None], lost, np.int8(0))


def checked_scores(scores: ArrayLike | Sequence[float | None]) -> _Floats:
    """Scores ``[n]`` with 0 for None; a NaN is somebody's mistake and no missing score."""
    given = np.asarray(scores)
    if given.dtype == object:
        given = np.array([0.0 if score is None else score for score in given.ravel()]).reshape(given.shape)
    if given.ndim != 1 or given.size == 0:
        raise ArgumentError("scores", "an array [n] of at least one score", f"shape {given.shape}")
    if given.dtype.kind not in "fiu":
        raise ArgumentError("scores", "numbers from 0 to 1, or None", f"an array of {given.dtype}")
    s = given.astype(np.float64)
    if not np.all((s >= 0) & (s <= 1)):
        raise ArgumentError("scores", "numbers from 0 to 1, or None", f"{s.min()} to {s.max()}")
    return s


def checked_truths(argument: str, values: ArrayLike, n: int) -> _Mask:
    """Truth values ``[n]``; 0 and 1 will do, a NaN or a text is not quietly true."""
    given = np.asarray(values)
    if given.shape != (n,):
        raise ArgumentError(argument, f"as many values as scores, {n}", f"shape {given.shape}")
    if given.dtype.kind not in "bfiu" or not np.all((given == 0) | (given == 1)):
        raise ArgumentError(argument, "truth values", f"others, in an array of {given.dtype}")
    return given.astype(np.bool_)


def checked_grid(grid: ArrayLike) -> _Floats:
    """Thresholds from the safest downwards."""
    thresholds = np.unique(np.asarray(grid, dtype=np.float64))[::-1]
    if thresholds.size == 0:
        raise ArgumentError("grid", "at least one threshold", "none")
    if not np.all((thresholds > 0) & (thresholds < 1)):
        raise ArgumentError("grid", "numbers strictly between 0 and 1", f"{thresholds[-1]} to {thresholds[0]}")
    return thresholds


def _binomial() -> Any:
    """SciPy's binomial distribution, which only ``harm`` needs."""
    try:
        from scipy.stats import binom
    except ModuleNotFoundError as missing:
        raise MissingExtraError("a guarantee on harm", "eval") from missing
    return binom
