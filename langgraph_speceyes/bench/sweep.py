"""What another score, threshold or judge setting would have done, from a run made with `--full`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from langgraph_speceyes.bench.runs import Outcome, Part
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import check_score

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Table:
    """The outcomes of a bypass as columns, ``[n]`` each, in their order.

    Attributes:
        scores: Each answer score by name; 0 where there was no scored answer or it cannot be known.
        tool_need: The judge's probability that tools are needed; NaN where it was not asked or could not tell.
        speculator_right: Whether the speculation is right.
        agent_right: Whether the agent is right.
        judge_s: Seconds of the judgment; NaN where there was none.
        speculate_s: Seconds of speculation and gate.
        agent_s: Seconds of the agent.
    """

    scores: dict[str, Floats]
    tool_need: Floats
    speculator_right: Mask
    agent_right: Mask
    judge_s: Floats
    speculate_s: Floats
    agent_s: Floats


@dataclass(frozen=True)
class Swept:
    """What would have happened to each question, ``[n]`` each.

    Attributes:
        bypass: Whether the speculator's answer would have been returned.
        right: Whether the answer would have been right.
        seconds: How long it would have taken: ``c_J + c_S + L_agent`` of the phases that would have run.
    """

    bypass: Mask
    right: Mask
    seconds: Floats


def sweepable(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes of bypass methods for which both sides are known; rows that could not be read are none."""
    return [o for o in outcomes if o["speculator"] is not None and o["agent"] is not None and o["route"] is not None]


def table(outcomes: Sequence[Outcome]) -> Table:
    """The columns of outcomes that :func:`sweepable` returned.

    Raises:
        ArgumentError: There is none, or one lacks a side.
    """
    if not outcomes or len(sweepable(outcomes)) < len(outcomes):
        raise ArgumentError("run", "outcomes of a bypass with both sides (speceyes eval --full)", "none, or one side")
    small = [_side(o["speculator"]) for o in outcomes]
    large = [_side(o["agent"]) for o in outcomes]
    names = sorted({name for part in small for name in part.get("scores", {})})
    need = [o["tool_need"] for o in outcomes]
    return Table(
        scores={
            name: np.nan_to_num(np.array([part.get("scores", {}).get(name, 0.0) for part in small]), nan=0.0)
            for name in names
        },
        tool_need=np.array([np.nan if value is None else value for value in need]),
        speculator_right=np.array([part["right"] for part in small]),
        agent_right=np.array([part["right"] for part in large]),
        judge_s=np.array([o["seconds"].get("judge", np.nan) for o in outcomes]),
        speculate_s=np.array([part["seconds"] for part in small]),
        agent_s=np.array([part["seconds"] for part in large]),
    )


def sweep(outcomes: Sequence[Outcome], *, score: str, threshold: float, judge_threshold: float | None) -> Swept:
    """Decide every question anew, judge first.

    Args:
        outcomes: What :func:`sweepable` returned, ``[n]``.
        score: Which answer score the gate compares.
        threshold: The gate's (tau).
        judge_threshold: From which probability of tool need on a question goes straight to the agent; None has no
            judge. A judge that could not tell sends it there too.

    Raises:
        ArgumentError: A side is missing, the score is unknown, or there is no judgment to set a threshold for.
    """
    return swept(table(outcomes), score=score, threshold=threshold, judge_threshold=judge_threshold)


def swept(columns: Table, *, score: str, threshold: float, judge_threshold: float | None) -> Swept:
    """The same from columns; see :func:`sweep`."""
    check_score(score)
    screened = screened_by(columns, judge_threshold)
    judge_s = np.zeros_like(columns.agent_s) if judge_threshold is None else np.nan_to_num(columns.judge_s)
    scores = columns.scores.get(score, np.zeros_like(columns.agent_s))
    # an answer without tokens has score 0, which no threshold of a gate accepts
    bypass = ~screened & (scores >= threshold)
    return Swept(
        bypass=bypass,
        right=np.where(bypass, columns.speculator_right, columns.agent_right),
        seconds=judge_s + ~screened * columns.speculate_s + ~bypass * columns.agent_s,
    )


def screened_by(columns: Table, judge_threshold: float | None) -> Mask:
    """Which questions a judge with this threshold keeps from the speculator, ``[n]``.

    Raises:
        ArgumentError: There is a threshold and no judgment.
    """
    if judge_threshold is None:
        return np.zeros(columns.tool_need.shape, dtype=np.bool_)
    if np.isnan(columns.judge_s).all():
        raise ArgumentError("judge_threshold", "None for a run without a judge", judge_threshold)
    return ~(columns.tool_need < judge_threshold)


def _side(part: Part | None) -> Part:
    assert part is not None, "sweepable leaves out what lacks a side"
    return part
