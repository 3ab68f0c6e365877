"""A threshold with a promise: the accuracy lost against the agent stays within a limit, with a stated confidence.

Learn then Test (Angelopoulos et al., arXiv 2110.01052) over a fixed sequence: thresholds set down beforehand are tried
from the safest downwards, each tested at level ``delta = 1 - confidence`` for "the loss here exceeds ``max_loss``", and
the first that cannot be refuted ends it. The whole is wrong only if the first threshold whose loss does exceed the
limit is passed, and that happens with probability ``delta`` at most, however many thresholds are tried.

The test of ``net`` is a bet (Waudby-Smith and Ramdas, arXiv 2010.09686), that of ``harm`` an exact binomial tail. Both
hold at every sample size and whatever the score is worth: a poor score costs acceptance, not the promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langgraph_speceyes.calibration.sequence import METHODS, Method, checked_terms, descend, smallest_sample
from langgraph_speceyes.errors import ArgumentError

__all__ = ["GRID", "METHODS", "Guarantee", "Method", "guaranteed_threshold", "smallest_sample"]

_Floats = NDArray[np.float64]
_Mask = NDArray[np.bool_]

#: Thresholds to try when no others are given, descending, ``[501]``: even in the logit from 18 to -7, as scores are
#: sigmoids and crowd below 1. They depend on no data.
GRID: _Floats = 1 / (1 + np.exp(-np.linspace(18, -7, 501)))
GRID.flags.writeable = False


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
    least = checked_terms(max_loss, confidence, method, seed)
    s = checked_scores(scores)
    small = checked_truths("speculator_right", speculator_right, s.size)
    large = checked_truths("agent_right", agent_right, s.size)
    let_through = np.ones(s.size, dtype=bool) if eligible is None else checked_truths("eligible", eligible, s.size)
    thresholds = checked_grid(grid)
    found = descend(
        entries(np.where(let_through, s, 0.0), thresholds)[None],
        losses(small, large, method)[None],
        thresholds.size,
        max_loss=max_loss,
        confidence=confidence,
        method=method,
        seed=seed,
        extrapolate=extrapolate,
    )
    return Guarantee(
        threshold=None if found.last is None else float(thresholds[found.last]),
        max_loss=float(max_loss),
        confidence=float(confidence),
        method=method,
        n=s.size,
        accepted=found.accepted[0] / s.size,
        loss=found.loss,
        least=least,
        more_needed=found.more_needed,
        seed=seed,
    )


def entries(scores: _Floats, thresholds: _Floats) -> NDArray[np.intp]:
    """The first of thresholds ``[m]``, descending, that accepts each score of ``[n]``; m where none does."""
    return np.searchsorted(-thresholds, -scores)


def losses(speculator_right: _Mask, agent_right: _Mask, method: Method) -> NDArray[np.int8]:
    """What is lost when the speculator answers, of the masks' shape, in {-1, 0, 1}; for ``harm`` in {0, 1}."""
    lost = agent_right.astype(np.int8) - speculator_right.astype(np.int8)
    return np.maximum(lost, 0) if method == "harm" else lost


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
