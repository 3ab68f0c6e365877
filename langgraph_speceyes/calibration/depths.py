"""One promise over several gates: a threshold for each depth of speculation, and a limit on what they lose together.

A question goes to the first depth it is eligible for, from there to the next where the gate rejects, and after the last
to the agent. What is lost on it is what the first gate that accepts it loses, so the gates share one budget. Two ways
to the thresholds, each with the promise of :mod:`~langgraph_speceyes.calibration.guarantee` on the total:

* :func:`guaranteed_thresholds`, along one path: vectors of thresholds, set down beforehand, are tried from the safest
  down. *Proof.* At a vector that is fixed, the losses of the questions are independent draws in {-1, 0, 1}, whatever
  the number of gates, so a single test is wrong with probability ``delta`` at most. To return a vector that loses more
  than the limit, the first such vector of the path must have passed: one fixed test. That the loss rises along the path
  is not needed (nor so: a lower threshold takes a question from a depth that has it right to an earlier that has not).
* :func:`separate_thresholds`, each depth by itself with its share of the limit and of ``delta``. *Proof.* At any
  vector, depth d loses at most ``L_d(t_d) = E[1{s_d >= t_d} l_d]``, where ``l_d`` is its loss on a question, and 0 in
  place of a gain on one that an earlier depth may have taken. ``L_d`` depends on no other threshold; each stays within
  its share but with probability ``delta / depths``, so all do but with ``delta``, and so does the sum.

The path spends the whole limit where it is needed and pays for the number of depths nothing; what it cannot do is give
one depth a threshold apart from the others'.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from langgraph_speceyes.calibration.chain import Scores, answered, first_accepting, outcomes
from langgraph_speceyes.calibration.guarantee import (
    GRID,
    checked_grid,
    entries,
    losses,
)
from langgraph_speceyes.calibration.paths import checked_path, common_path
from langgraph_speceyes.calibration.sequence import Descent, Method, checked_terms, descend
from langgraph_speceyes.errors import ArgumentError

__all__ = [
    "DepthsGuarantee",
    "guaranteed_thresholds",
    "separate_thresholds",
]


@dataclass(frozen=True, slots=True)
class DepthsGuarantee:
    """A threshold for each depth, what is promised for them together and what it rests on.

    Attributes:
        thresholds: The threshold of each depth, ``[depths]``, strictly between 0 and 1; None for a gate that must stay
            shut. Along a path all are None or none is.
        found: ``path`` or ``separate``.
        max_loss: The promised limit, a share of all questions.
        confidence: Probability, over draws of the calibration questions, that the limit is kept.
        method: What counts as lost, ``net`` or ``harm``.
        n: Calibration questions.
        accepted: Share of them that each depth answers, ``[depths]``; their sum is what does not reach the agent.
        loss: Share of them lost at these thresholds, counted as ``method`` says.
        shorter: Whether the limit is kept as surely where the last depths are left out, whichever number of them.
        least: Calibration questions it takes to certify anything when none is lost.
        more_needed: Roughly how many further questions would do for nine tenths of what the path could accept if these
            questions were the whole population; 0 when that is certified already, None when it is out of reach or
            was not asked for, and where depths are calibrated separately.
        seed: Seed of the order of the bets and of that estimate.
    """

    thresholds: tuple[float | None, ...]
    found: Literal["path", "separate"]
    max_loss: float
    confidence: float
    method: Method
    n: int
    accepted: tuple[float, ...]
    loss: float
    shorter: bool
    least: int
    more_needed: int | None
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """The record for ``Gate(calibration=...)``: plain values, laid out as that of one depth."""
        values = asdict(self)
        lists = {name: list(values.pop(name)) for name in ("thresholds", "accepted")}
        counted, questions = values.pop("method"), values.pop("n")
        return {"method": "guarantee", "counted": counted, "questions": questions, **lists, **values}


def guaranteed_thresholds(
    scores: Scores,
    speculator_right: ArrayLike,
    agent_right: ArrayLike,
    *,
    max_loss: float,
    confidence: float = 0.9,
    method: Method = "net",
    eligible: ArrayLike | None = None,
    path: ArrayLike | None = None,
    seed: int = 0,
    extrapolate: bool = True,
    shorter: bool = False,
) -> DepthsGuarantee:
    """The furthest step of a path at which what all depths lose together is certified to be at most ``max_loss``.

    What counts as lost and what is promised is said at
    :func:`~langgraph_speceyes.calibration.guarantee.guaranteed_threshold`, which this is with one depth. `path` belongs
    to what must be fixed without looking at the questions' outcomes.

    Without labels: whether each depth's answer agrees with the agent's as `speculator_right`, and ones as
    `agent_right`. An answer other than the agent's then counts as lost, which is never less than what is.

    Args:
        scores: Answer scores of each depth, ``[depths, n]``, 0 to 1; 0 or None where it gave none, never accepted.
        speculator_right: Whether the answer of that depth is right, ``[depths, n]``.
        agent_right: Whether the agent is right on the same questions, ``[n]``.
        max_loss: The limit, a share of all questions, strictly between 0 and 1.
        confidence: How surely it is kept, strictly between 0 and 1.
        method: What counts as lost; ``harm`` needs SciPy.
        eligible: Which questions may be answered at each depth, ``[depths, n]``: what the judge sends straight to depth
            1 is not eligible for depth 0. All without it.
        path: Vectors of thresholds, ``[steps, depths]``, strictly between 0 and 1, in any order, of any two of which
            one is nowhere above the other; :func:`~langgraph_speceyes.calibration.paths.common_path` without it.
        seed: Seed of the order in which ``net`` bets on the questions.
        extrapolate: Whether to estimate ``more_needed``.
        shorter: Whether the chains without the last depths are tested at every step along with the whole, so that the
            limit holds for each of them with the same confidence. With ``harm`` it does so anyway, as nothing that they
            lose is not lost by the whole; a net loss may be paid for by gains of the depths that are left out.

    Returns:
        The thresholds and what they rest on. Raising ``confidence`` or lowering ``max_loss`` lowers none of them.

    Raises:
        ArgumentError: Arrays are empty or of unequal shape, or another argument is out of its range; the error names
            it.
        MissingExtraError: ``harm`` without SciPy.
    """
    least = checked_terms(max_loss, confidence, method, seed)
    s, small, large = outcomes(scores, speculator_right, agent_right, eligible)
    depths, n = s.shape
    vectors = common_path(depths) if path is None else checked_path(path, depths)
    found = descend(
        np.stack([entries(row, column) for row, column in zip(s, vectors.T, strict=True)]),
        losses(small, large, method),
        vectors.shape[0],
        max_loss=max_loss,
        confidence=confidence,
        method=method,
        seed=seed,
        extrapolate=extrapolate,
        shorter=shorter and method == "net",
    )
    return DepthsGuarantee(
        thresholds=(None,) * depths if found.last is None else tuple(vectors[found.last].tolist()),
        found="path",
        max_loss=float(max_loss),
        confidence=float(confidence),
        method=method,
        n=n,
        accepted=tuple(count / n for count in found.accepted),
        loss=found.loss,
        shorter=shorter or method == "harm" or depths == 1,
        least=least,
        more_needed=found.more_needed,
        seed=seed,
    )


def separate_thresholds(
    scores: Scores,
    speculator_right: ArrayLike,
    agent_right: ArrayLike,
    *,
    max_loss: float,
    confidence: float = 0.9,
    method: Method = "net",
    eligible: ArrayLike | None = None,
    shares: ArrayLike | None = None,
    grid: ArrayLike = GRID,
    seed: int = 0,
) -> DepthsGuarantee:
    """The lowest threshold of each depth by itself, within its share of the limit and of what confidence leaves.

    The same promise on the total as :func:`guaranteed_thresholds`, whose arguments are these, at thresholds that owe
    nothing to each other.

    Args:
        scores: Answer scores of each depth, ``[depths, n]``.
        speculator_right: Whether the answer of that depth is right, ``[depths, n]``.
        agent_right: Whether the agent is right, ``[n]``.
        max_loss: The limit on the total.
        confidence: How surely it is kept.
        method: What counts as lost. With ``net`` gains count where no earlier depth can have answered.
        eligible: Which questions may be answered at each depth, ``[depths, n]``; all without it.
        shares: Parts of `max_loss` that the depths may lose, ``[depths]``, above 0, in all at most 1 and fixed
            beforehand; equal ones without it.
        grid: Thresholds to try at each depth, ``[m]``.
        seed: Seed of the order of the bets.

    Returns:
        The thresholds and what they rest on.

    Raises:
        ArgumentError: An argument is out of its range; the error names it.
        MissingExtraError: ``harm`` without SciPy.
    """
    checked_terms(max_loss, confidence, method, seed)
    s, small, large = outcomes(scores, speculator_right, agent_right, eligible)
    depths, n = s.shape
    parts = np.full(depths, 1 / depths) if shares is None else np.asarray(shares, dtype=np.float64)
    if parts.shape != (depths,) or not np.all(parts > 0) or parts.sum() > 1 + 1e-12:
        raise ArgumentError("shares", f"{depths} numbers above 0, in all at most 1", repr(shares))
    thresholds = checked_grid(grid)
    limits = (max_loss * parts).tolist()
    surely = confidence if depths == 1 else 1 - (1 - confidence) / depths
    lost = losses(small, large, method)
    # what an earlier depth may have taken, at whatever threshold, is no gain of this one
    taken = np.logical_or.accumulate(s >= thresholds[-1], axis=0)[:-1]
    bounds = np.concatenate([lost[:1], np.where(taken, np.maximum(lost[1:], 0), lost[1:])])
    entry = np.stack([entries(row, thresholds) for row in s])
    found: list[Descent] = [
        descend(
            entry[[d]],
            bounds[[d]],
            thresholds.size,
            max_loss=limits[d],
            confidence=surely,
            method=method,
            seed=seed,
            extrapolate=False,
        )
        for d in range(depths)
    ]
    at = tuple(None if one.last is None else float(thresholds[one.last]) for one in found)
    depth = first_accepting(s, np.array([[np.inf if t is None else t for t in at]]))[0]
    counts = np.bincount(depth, minlength=depths + 1)[:-1]
    return DepthsGuarantee(
        thresholds=at,
        found="separate",
        max_loss=float(max_loss),
        confidence=float(confidence),
        method=method,
        n=n,
        accepted=tuple((counts / n).tolist()),
        loss=float(answered(lost, np.zeros(n, dtype=np.int8), depth).sum() / n),
        shorter=True,
        least=min(checked_terms(limit, surely, method, seed) for limit in limits),
        more_needed=None,
        seed=seed,
    )
