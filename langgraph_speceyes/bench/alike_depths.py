"""Thresholds for a bypass with looks by the paper's rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from langgraph_speceyes.bench.calibrate import JUDGE_THRESHOLD
from langgraph_speceyes.bench.calibrated import Calibrated
from langgraph_speceyes.bench.runs import Outcome
from langgraph_speceyes.bench.sweep import Swept, Table, swept, table
from langgraph_speceyes.calibration import operating_points
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import Gate


def fastest_depths(outcomes: Sequence[Outcome], gate: Gate, *, choose_judge: bool) -> Calibrated:
    """The paper's way (:func:`~langgraph_speceyes.bench.calibrate.fastest`) with one threshold for all depths.

    Args:
        outcomes: Of the bypass with looks, run with both sides on calibration questions.
        gate: Score, K and models.
        choose_judge: Whether to choose the judge's threshold too, or keep the gate's.

    Raises:
        ArgumentError: The outcomes lack a side, a depth or the score.
    """
    columns = table(outcomes)
    names = [o["split"] for o in outcomes]
    splits = np.array([[name == split for name in names] for split in dict.fromkeys(names)], dtype=float)
    lost_none = splits @ columns.agent_right
    judges: list[float | None] = [gate.judge_threshold]
    known = columns.tool_need[~np.isnan(columns.tool_need)]
    if choose_judge and known.size:
        judges = [JUDGE_THRESHOLD, *map(float, operating_points(known))]
    looks = len(columns.deeper)
    best: tuple[Swept, float, float | None] | None = None
    for at in judges:
        for threshold in map(float, operating_points(np.concatenate(_scores(columns, gate.score)))):
            one = swept(columns, score=gate.score, threshold=threshold, judge_threshold=at, depths=[threshold] * looks)
            if not np.all(splits @ one.right >= lost_none):
                continue
            if best is None or one.seconds.mean() < best[0].seconds.mean():
                best = one, threshold, at
    if best is None:
        return _calibrated(columns, None, None)
    one, threshold, at = best
    record = {"method": "paper", "questions": len(columns.agent_s)}
    fitted = replace(gate, threshold=threshold, depths=(threshold,) * looks, judge_threshold=at, calibration=record)
    return _calibrated(columns, fitted, one)


def _scores(columns: Table, score: str) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    by_depth = [columns.scores, *(one.scores for one in columns.deeper)]
    if not all(score in scores for scores in by_depth):
        raise ArgumentError("score", f"one that was recorded: {', '.join(columns.scores)}", score)
    return [scores[score] for scores in by_depth]


def _calibrated(columns: Table, gate: Gate | None, one: Swept | None) -> Calibrated:
    """A gate and what it does on these questions; where nothing is certified everything is the agent's."""
    right = columns.agent_right if one is None else one.right
    faster = 1.0 if one is None or not one.seconds.mean() else float(columns.agent_s.mean() / one.seconds.mean())
    return Calibrated(
        gate=gate,
        guarantee=None,
        questions=len(columns.agent_s),
        accepted=0.0 if one is None else float(one.bypass.mean()),
        accuracy=float(right.mean()),
        agent_accuracy=float(columns.agent_right.mean()),
        speedup=faster,
    )
