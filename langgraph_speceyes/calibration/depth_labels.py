"""Thresholds for several depths with one promise, from labels for all answers, for some or for none.

What :mod:`~langgraph_speceyes.calibration.labels` says of one answer holds for each depth's: one that agrees with the
agent's loses nothing, whatever the truth is, and one that differs loses at most 1.

* ``none`` holds along a path and for each depth by itself.
* ``disagreements`` holds along a path: labels are asked for as the test comes to them, down one sequence. Where each
  depth has a sequence of its own, answers without a label count as lost (``harm``) or end the test (``net``), and
  nobody is told which label comes next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langgraph_speceyes.calibration.chain import Scores, masks, rows
from langgraph_speceyes.calibration.depths import DepthsGuarantee, guaranteed_thresholds, separate_thresholds
from langgraph_speceyes.calibration.guarantee import GRID, Guarantee, Method, smallest_sample
from langgraph_speceyes.calibration.labels import Known, Labelled, Labels, check_labels, known_truths
from langgraph_speceyes.calibration.paths import common_path
from langgraph_speceyes.errors import ArgumentError

__all__ = ["Found", "labelled_thresholds"]

Found = Literal["path", "separate"]

_Mask = NDArray[np.bool_]
_Floats = NDArray[np.float64]


def labelled_thresholds(
    scores: Scores,
    *,
    labels: Labels,
    agree: Sequence[Known] | None = None,
    speculator_right: Sequence[Known] | None = None,
    agent_right: Known | None = None,
    passed_over: ArrayLike | None = None,
    eligible: ArrayLike | None = None,
    max_loss: float,
    confidence: float = 0.9,
    method: Method = "net",
    found: Found = "path",
    seed: int = 0,
    extrapolate: bool = True,
) -> Labelled:
    """The lowest thresholds that are certified with the labels at hand, and the labels that would take them further.

    Along a path all depths have one threshold, and every shorter chain is tested with the whole
    (:func:`~langgraph_speceyes.calibration.depths.guaranteed_thresholds`, `shorter`).

    Args:
        scores: Answer scores of each depth, ``[depths, n]``, 0 to 1; None where it gave none.
        labels: Which answers have labels; see :func:`~langgraph_speceyes.calibration.labelled_threshold`.
        agree: Whether each depth's answer agrees with the agent's, ``[depths, n]``; None is undecided. Not used with
            ``all``.
        speculator_right: Whether each depth's answer is right, ``[depths, n]``; None where there is no label.
        agent_right: Whether the agent is right, ``[n]``; None where there is no label.
        passed_over: Answers that were looked at and left without a label, ``[depths, n]``; none without it.
        eligible: Which questions may be answered at each depth, ``[depths, n]``; all without it.
        max_loss: The limit on what the depths lose together, a share of all questions.
        confidence: How surely it is kept.
        method: What counts as lost, ``net`` or ``harm``.
        found: Along a path, or each depth by itself.
        seed: Seed of the order of the bets.
        extrapolate: Whether to estimate how many more questions it takes; along a path.

    Returns:
        The thresholds, in `by_depth`, with `guarantee` for all of them together: its threshold is that of the first
        depth that has one. Positions in `needed` count through the depths: ``depth * n + question``.

    Raises:
        ArgumentError: A column is missing or has another length, or another argument is out of range.
        MissingExtraError: ``harm`` without SciPy.
    """
    check_labels(labels)
    s = rows(scores)
    depths, n = s.shape
    if eligible is not None:
        s = np.where(masks("eligible", eligible, s.shape), s, 0.0)

    def tested(small: _Mask, large: _Mask, path: _Floats, grid: _Floats, extrapolate: bool) -> DepthsGuarantee:
        if found == "separate":
            return separate_thresholds(
                s,
                small,
                large,
                max_loss=max_loss,
                confidence=confidence,
                method=method,
                grid=grid,
                seed=seed,
            )
        return guaranteed_thresholds(
            s,
            small,
            large,
            max_loss=max_loss,
            confidence=confidence,
            method=method,
            path=path,
            seed=seed,
            extrapolate=extrapolate,
            shorter=True,
        )

    path = common_path(depths)
    truths = [known_truths("speculator_right", column, n) for column in _columns(speculator_right, depths)]
    right_s, labels_s = (np.stack([pair[k] for pair in truths]) for k in (0, 1))
    right_a, labels_a = known_truths("agent_right", agent_right, n)
    has_both = labels_s & labels_a
    if labels == "all":
        if not has_both.all():
            raise ArgumentError("speculator_right", "labels of every depth's answer", f"{has_both.sum()} of them")
        return _labelled(tested(right_s, right_a, path, GRID, extrapolate), labels)
    if agree is None:
        raise ArgumentError("agree", "whether each depth's answer agrees with the agent's", "None")
    same = np.stack([known_truths("agree", column, n)[0] for column in _columns(agree, depths)])
    differs = ~same & (s >= path[-1, 0])
    if labels == "none":
        return _labelled(tested(same, np.ones(n, bool), path, GRID, extrapolate), labels, int(differs.sum()))

    # the agent is taken to be right where nobody says otherwise; what agrees with it is as right as it is
    large = np.where(labels_a, right_a, True)
    small = np.where(same, large, np.where(has_both, right_s, False))
    looked = has_both if passed_over is None else has_both | masks("passed_over", passed_over, s.shape)
    missing, labelled = differs & ~looked, int((differs & looked).sum())
    above = np.max(s, where=missing, initial=0.0)
    known = path if method == "harm" else path[path[:, 0] > above]
    # without a step whose labels are all there nothing is certified
    certified = tested(small, large, known, known[:, 0], extrapolate) if known.size else None
    passed = None if certified is None else certified.thresholds[0]
    below = path if passed is None else path[path[:, 0] < passed]
    needed: tuple[int, ...] = ()
    goes_on = method == "harm" or certified is None or passed == known[-1, 0]
    if found == "path" and below.size and goes_on:
        wanted = missing & (s >= below[0, 0])
        # at the best they are all gained: where that does not help, nothing does
        best = tested(small | wanted, large & ~wanted.any(axis=0), path[path[:, 0] >= below[0, 0]], GRID, False)
        if best.thresholds[0] == below[0, 0]:
            needed = tuple(int(k) for k in np.argsort(-s.ravel(), kind="stable") if wanted.ravel()[k])
    differing = int(differs.sum())
    if certified is None:
        return Labelled(_nothing(n, max_loss, confidence, method, seed), labels, needed, differing, labelled)
    return _labelled(certified, labels, differing, labelled, needed)


def _labelled(
    found: DepthsGuarantee, labels: Labels, differing: int = 0, labelled: int = 0, needed: tuple[int, ...] = ()
) -> Labelled:
    first = next((threshold for threshold in found.thresholds if threshold is not None), None)
    together = Guarantee(
        threshold=first,
        max_loss=found.max_loss,
        confidence=found.confidence,
        method=found.method,
        n=found.n,
        accepted=sum(found.accepted),
        loss=found.loss,
        least=found.least,
        more_needed=found.more_needed,
        seed=found.seed,
    )
    return Labelled(together, labels, needed, differing, labelled, found)


def _nothing(n: int, max_loss: float, confidence: float, method: Method, seed: int) -> Guarantee:
    least = smallest_sample(max_loss, confidence, method)
    return Guarantee(None, max_loss, confidence, method, n, 0.0, 0.0, least, None, seed)


def _columns(values: Sequence[Known] | None, depths: int) -> Sequence[Known | None]:
    if values is None:
        return [None] * depths
    if len(values) != depths:
        raise ArgumentError("speculator_right", f"a column for each of {depths} depths", len(values))
    return list(values)
