"""A threshold with a promise from few labels, or none: what is asked of people, and what is promised without them.

Two answers that agree are right or wrong together, whatever the truth is: their net loss is 0. So with *D = 1 where the
answers differ* the bound of :mod:`~langgraph_speceyes.calibration.guarantee` can be had on D in place of the loss
(``none``: what differs from the agent counts as lost, a bound on the loss too, as D is never below it), or on the loss
itself with labels for answers that differ alone (``disagreements``).

The test goes from the highest threshold downwards and needs, at each, only labels of answers that differ at or above
it. So labels are asked for as the test comes to them. This voids nothing: the thresholds passed are always a beginning
of those that all labels would have passed, and among these all keep their promise but with probability ``delta``,
wherever one stops and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langgraph_speceyes.calibration.depths import DepthsGuarantee
from langgraph_speceyes.calibration.guarantee import (
    GRID,
    Guarantee,
    Method,
    checked_grid,
    checked_scores,
    checked_truths,
    guaranteed_threshold,
    smallest_sample,
)
from langgraph_speceyes.errors import ArgumentError

__all__ = ["LABELS", "Labelled", "Labels", "check_labels", "labelled_threshold"]

Labels = Literal["all", "disagreements", "none"]

#: Which questions have labels: see :func:`labelled_threshold`.
LABELS: tuple[Labels, ...] = get_args(Labels)

_Mask = NDArray[np.bool_]
Known = Sequence[bool | None] | ArrayLike


@dataclass(frozen=True)
class Labelled:
    """A threshold, and the labels it rests on or waits for.

    Attributes:
        guarantee: What is certified with the labels at hand.
        labels: Which kind of labels it rests on.
        needed: Positions of the questions whose labels the next threshold down waits for, the surest answer first;
            empty when no label can change the result any more.
        differing: Questions that may be accepted and whose answers differ; 0 with all labels.
        labelled: Those of them whose labels were looked at.
        by_depth: The thresholds of several depths; None for one.
    """

    guarantee: Guarantee
    labels: Labels
    needed: tuple[int, ...]
    differing: int
    labelled: int
    by_depth: DepthsGuarantee | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record for ``Gate(calibration=...)``."""
        counts = {} if self.labels == "all" else {"differing": self.differing, "labelled": self.labelled}
        made = self.by_depth or self.guarantee
        return {**made.to_dict(), "labels": self.labels, **counts}


def check_labels(labels: object) -> None:
    """Refuse what is none of :data:`LABELS`."""
    if labels not in LABELS:
        raise ArgumentError("labels", "one of " + ", ".join(map(repr, LABELS)), repr(labels))


def labelled_threshold(
    scores: ArrayLike | Sequence[float | None],
    *,
    labels: Labels,
    agree: Known | None = None,
    speculator_right: Known | None = None,
    agent_right: Known | None = None,
    passed_over: ArrayLike | None = None,
    eligible: ArrayLike | None = None,
    max_loss: float,
    confidence: float = 0.9,
    method: Method = "net",
    grid: ArrayLike = GRID,
    seed: int = 0,
    extrapolate: bool = True,
) -> Labelled:
    """The lowest threshold that is certified with the labels at hand, and the labels that would take it further.

    * ``all``: every question has both labels; :func:`~langgraph_speceyes.calibration.guarantee.guaranteed_threshold`.
    * ``disagreements``: the same promise, on accuracy, from labels of answers that differ. An answer nobody can tell
      (`passed_over`) counts as lost. The test stops where a label is missing; with ``harm`` only where it would also
      fail with that answer counted as lost.
    * ``none``: a promise on differing from the agent, which is one on accuracy too, but spends its limit on the agent's
      own mistakes and on answers that say the same in other words. `method` chooses the test alone, as nothing can be
      gained; ``harm``'s is exact and accepts a little more.

    Args:
        scores: Answer scores, ``[n]``, 0 to 1; None for a question without a speculation.
        labels: Which of these.
        agree: Whether the answers agree, ``[n]``; None is undecided and counts as differing. Not used with ``all``.
        speculator_right: Whether the speculation is right, ``[n]``; None where there is no label.
        agent_right: Whether the agent is right, ``[n]``; None where there is no label.
        passed_over: Questions that were looked at and left without a label, ``[n]``; none without it.
        eligible: Which questions the judge let through, ``[n]``; all without it.
        max_loss: The limit, a share of all questions.
        confidence: How surely it is kept.
        method: What counts as lost, ``net`` or ``harm``.
        grid: Thresholds to try.
        seed: Seed of the order of the bets.
        extrapolate: Whether to estimate how many more questions it takes.

    Returns:
        The threshold and what is missing; call again with more labels.

    Raises:
        ArgumentError: A column is missing or has another length, or another argument is out of range.
        MissingExtraError: ``harm`` without SciPy.
    """
    check_labels(labels)
    s = checked_scores(scores)
    let_through = np.ones(s.size, dtype=bool) if eligible is None else checked_truths("eligible", eligible, s.size)
    s = np.where(let_through, s, 0.0)
    thresholds = checked_grid(grid)

    def tested(small: _Mask, large: _Mask, grid: NDArray[np.float64], extrapolate: bool) -> Guarantee:
        limits = {"max_loss": max_loss, "confidence": confidence}
        return guaranteed_threshold(
            s, small, large, **limits, method=method, grid=grid, seed=seed, extrapolate=extrapolate
        )

    right_s, labels_s = known_truths("speculator_right", speculator_right, s.size)
    right_a, labels_a = known_truths("agent_right", agent_right, s.size)
    has_both = labels_s & labels_a
    if labels == "all":
        if not has_both.all():
            raise ArgumentError(
                "speculator_right", "labels of both answers to every question", f"{has_both.sum()} of them"
            )
        return Labelled(tested(right_s, right_a, thresholds, extrapolate), labels, (), 0, 0)
    if agree is None:
        raise ArgumentError("agree", "whether the answers agree, for each question", "None")
    same, _ = known_truths("agree", agree, s.size)
    differs = ~same & (s >= thresholds[-1])
    # what agrees is not lost, what differs is, until a label says otherwise
    small, large = same, np.ones(s.size, dtype=bool)
    if labels == "none":
        return Labelled(tested(small, large, thresholds, extrapolate), labels, (), int(differs.sum()), 0)

    small, large = np.where(~same & has_both, right_s, small), np.where(~same & has_both, right_a, large)
    if passed_over is not None:
        has_both = has_both | checked_truths("passed_over", passed_over, s.size)
    missing = differs & ~has_both
    labelled = int((differs & has_both).sum())
    # with `harm` a loss less never fails what a loss more passed, so that missing labels may count as lost at first
    known = thresholds if method == "harm" else thresholds[thresholds > np.max(s, where=missing, initial=0.0)]
    found = tested(small, large, known, extrapolate) if known.size else None
    passed = found.threshold if found else None
    below = thresholds if passed is None else thresholds[thresholds < passed]
    needed: tuple[int, ...] = ()
    if below.size and (method == "harm" or known.size == 0 or passed == known[-1]):
        wanted = missing & (s >= below[0])
        # at the best they are all gained: where that does not help, nothing does
        best = tested(small | wanted, large & ~wanted, thresholds[thresholds >= below[0]], False)
        if best.threshold == below[0]:
            needed = tuple(int(k) for k in np.argsort(-s, kind="stable") if wanted[k])
    if found is None:
        least = smallest_sample(max_loss, confidence, method)
        found = Guarantee(None, max_loss, confidence, method, s.size, 0.0, 0.0, least, None, seed)
    return Labelled(found, labels, needed, int(differs.sum()), labelled)


def known_truths(argument: str, values: Known | None, n: int) -> tuple[_Mask, _Mask]:
    """Truth values ``[n]``, false where they are None, and where they are not None."""
    if values is None:
        return np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    given = np.asarray(values, dtype=object)
    known = np.array([value is not None for value in given.ravel()], dtype=bool).reshape(given.shape)
    truths = [False if value is None else value for value in given.ravel()]
    return checked_truths(argument, np.array(truths).reshape(given.shape), n), known
