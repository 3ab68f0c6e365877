"""Gates one after the other: which of them answers, and what other thresholds would have done, on recorded outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langgraph_speceyes.calibration.guarantee import checked_scores, checked_truths
from langgraph_speceyes.errors import ArgumentError

__all__ = ["Replay", "Scores", "answered", "first_accepting", "masks", "outcomes", "replay", "rows"]

_Floats = NDArray[np.float64]
_Mask = NDArray[np.bool_]
_Steps = NDArray[np.intp]
_T = TypeVar("_T", bound=np.generic)
Scores = ArrayLike | Sequence[ArrayLike | Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Replay:
    """What would have happened to each question, ``[..., n]`` each; the leading axes are those of the thresholds.

    Attributes:
        depth: The depth that would have answered; the number of depths for the agent.
        bypass: Whether a speculation would have been returned.
        right: Whether the answer would have been right.
        seconds: How long it would have taken: ``c_J``, ``c_d`` of each depth that would have run, ``L_agent`` if it
            came to that. NaN where a part of it is not known.
    """

    depth: _Steps
    bypass: _Mask
    right: _Mask
    seconds: _Floats


def replay(
    scores: Scores,
    speculator_right: ArrayLike,
    agent_right: ArrayLike,
    thresholds: ArrayLike | Sequence[float | None],
    *,
    depth_s: ArrayLike,
    agent_s: ArrayLike,
    judge_s: ArrayLike | None = None,
    eligible: ArrayLike | None = None,
) -> Replay:
    """Decide every question anew, at one vector of thresholds or at many.

    Args:
        scores: Answer scores of each depth, ``[depths, n]``, 0 to 1; 0 or None where it gave none, never accepted.
        speculator_right: Whether the answer of that depth is right, ``[depths, n]``.
        agent_right: Whether the agent is right, ``[n]``.
        thresholds: A threshold for each depth, ``[..., depths]``, strictly between 0 and 1; NaN or None for a gate that
            stays shut, whose depth runs all the same.
        depth_s: Seconds of each depth, its look, speculation and gate, ``[depths, n]``. What would not have run may be
            NaN.
        agent_s: Seconds of the agent, ``[n]``.
        judge_s: Seconds of the judgment, ``[n]``; NaN where there was none. No judge without it.
        eligible: Which questions may be answered at each depth, ``[depths, n]``; the others do not run there.

    Returns:
        What would have happened, ``[..., n]``.

    Raises:
        ArgumentError: An argument has another shape or is out of its range; the error names it.
    """
    s, small, large = outcomes(scores, speculator_right, agent_right, eligible)
    depths, n = s.shape
    let_through = np.ones(s.shape, dtype=bool) if eligible is None else masks("eligible", eligible, s.shape)
    at = np.asarray(thresholds, dtype=np.float64)  # None becomes NaN
    if at.ndim == 0 or at.shape[-1] != depths:
        raise ArgumentError("thresholds", f"an array [..., {depths}]", f"shape {at.shape}")
    if not np.all(np.isnan(at) | ((at > 0) & (at < 1))):
        raise ArgumentError("thresholds", "numbers strictly between 0 and 1, NaN or None", repr(thresholds))
    phases, agent = _seconds("depth_s", depth_s, s.shape), _seconds("agent_s", agent_s, (n,))
    judge = np.zeros(n) if judge_s is None else np.nan_to_num(_seconds("judge_s", judge_s, (n,)))

    depth = first_accepting(s, at)
    seconds = np.broadcast_to(judge, depth.shape).copy()
    for d in range(depths):
        seconds += np.where(let_through[d] & (depth >= d), phases[d], 0.0)
    bypass = depth < depths
    seconds += np.where(bypass, 0.0, agent)
    return Replay(depth=depth, bypass=bypass, right=answered(small, large, depth), seconds=seconds)


def first_accepting(scores: _Floats, thresholds: _Floats) -> _Steps:
    """The first depth that accepts each question, ``[..., n]``; the number of depths where none does."""
    depths = scores.shape[0]
    first = np.full((*thresholds.shape[:-1], scores.shape[1]), depths)
    for d in reversed(range(depths)):
        first = np.where(scores[d] >= thresholds[..., d, None], d, first)
    return first


def answered(by_depth: NDArray[_T], by_agent: NDArray[_T], depth: _Steps) -> NDArray[_T]:
    """The value of whoever answers each question, ``[..., n]``."""
    values = np.concatenate([by_depth, by_agent[None]])
    return values[depth, np.arange(by_agent.size)]


def outcomes(
    scores: Scores, speculator_right: ArrayLike, agent_right: ArrayLike, eligible: ArrayLike | None
) -> tuple[_Floats, _Mask, _Mask]:
    """Scores ``[depths, n]``, 0 where not eligible; truths of the depths ``[depths, n]`` and of the agent ``[n]``."""
    s = rows(scores)
    small = masks("speculator_right", speculator_right, s.shape)
    large = checked_truths("agent_right", agent_right, s.shape[1])
    if eligible is not None:
        s = np.where(masks("eligible", eligible, s.shape), s, 0.0)
    return s, small, large


def rows(scores: Scores) -> _Floats:
    """Scores ``[depths, n]``, 0 for None."""
    try:
        given = list(scores)  # type: ignore[arg-type]
    except TypeError:
        given = []
    if not given:
        raise ArgumentError("scores", "an array [depths, n] of at least one depth", repr(scores))
    found = [checked_scores(row) for row in given]
    if len({row.size for row in found}) > 1:
        raise ArgumentError("scores", "as many scores at each depth", repr([row.size for row in found]))
    return np.stack(found)


def masks(argument: str, values: ArrayLike, shape: tuple[int, ...]) -> _Mask:
    """Truth values ``[depths, n]``."""
    try:
        given = np.asarray(values)
    except ValueError:  # rows of unequal length
        given = np.empty(0)
    if given.shape != shape:
        raise ArgumentError(argument, f"truth values of the scores' shape, {shape}", f"shape {given.shape}")
    return np.stack([checked_truths(argument, row, shape[1]) for row in given])


def _seconds(argument: str, values: ArrayLike, shape: tuple[int, ...]) -> _Floats:
    given = np.asarray(values, dtype=np.float64)
    if given.shape != shape:
        raise ArgumentError(argument, f"seconds, an array {shape}", f"shape {given.shape}")
    if np.any(given < 0):
        raise ArgumentError(argument, "seconds of at least 0", f"{np.nanmin(given):g}")
    return given
