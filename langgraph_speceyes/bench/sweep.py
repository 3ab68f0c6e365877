"""What other scores, thresholds, judge settings or depths would have done, from a run made with `--full`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from langgraph_speceyes.bench.routes import deepest
from langgraph_speceyes.bench.runs import DepthPart, Outcome, Part
from langgraph_speceyes.calibration.chain import answered, first_accepting
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import check_score

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Deeper:
    """A depth from 1 on as columns, ``[n]`` each.

    Attributes:
        scores: Each answer score by name; 0 where there was no scored answer.
        right: Whether its answer is right.
        seconds: ``c_j``, of look, speculation and gate behind the depth before.
        entered_s: The same where questions enter at this depth.
    """

    scores: dict[str, Floats]
    right: Mask
    seconds: Floats
    entered_s: Floats

    def part(self, keep: Sequence[int]) -> Deeper:
        """Some of the questions, by position."""
        at = list(keep)
        scores = {name: values[at] for name, values in self.scores.items()}
        return Deeper(scores, self.right[at], self.seconds[at], self.entered_s[at])


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
        deeper: The depths from 1 on, of a run with looks.
    """

    scores: dict[str, Floats]
    tool_need: Floats
    speculator_right: Mask
    agent_right: Mask
    judge_s: Floats
    speculate_s: Floats
    agent_s: Floats
    deeper: tuple[Deeper, ...] = field(default=())

    def part(self, keep: Sequence[int]) -> Table:
        """Some of the questions, by position."""
        at = list(keep)
        columns = ("tool_need", "speculator_right", "agent_right", "judge_s", "speculate_s", "agent_s")
        return Table(
            scores={name: values[at] for name, values in self.scores.items()},
            **{name: getattr(self, name)[at] for name in columns},
            deeper=tuple(one.part(at) for one in self.deeper),
        )


@dataclass(frozen=True)
class Swept:
    """What would have happened to each question, ``[n]`` each.

    Attributes:
        bypass: Whether the speculator's answer would have been returned.
        right: Whether the answer would have been right.
        seconds: How long it would have taken: ``c_J``, ``c_j`` of each depth, ``L_agent`` of what would have run.
        depth: The depth that would have answered; the number of depths for the agent.
    """

    bypass: Mask
    right: Mask
    seconds: Floats
    depth: NDArray[np.intp]


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
    need = [o["tool_need"] for o in outcomes]
    deeper = [[_at(o, depth) for o in outcomes] for depth in range(1, deepest(outcomes) + 1)]
    # a look that never shows anything leaves a depth without a single answer
    asked: list[Part] = [*small, *chain.from_iterable(deeper)]
    names = sorted({name for part in asked for name in part.get("scores", {})})
    return Table(
        scores=_scores(small, names),
        tool_need=np.array([np.nan if value is None else value for value in need]),
        speculator_right=np.array([part["right"] for part in small]),
        agent_right=np.array([part["right"] for part in large]),
        judge_s=np.array([o["seconds"].get("judge", np.nan) for o in outcomes]),
        speculate_s=np.array([part["seconds"] for part in small]),
        agent_s=np.array([part["seconds"] for part in large]),
        deeper=tuple(_deeper(parts, names) for parts in deeper),
    )


def _scores(parts: Sequence[Part], names: Sequence[str]) -> dict[str, Floats]:
    return {
        name: np.nan_to_num(np.array([part.get("scores", {}).get(name, 0.0) for part in parts]), nan=0.0)
        for name in names
    }


def _at(outcome: Outcome, depth: int) -> DepthPart:
    depths = outcome.get("depths", [])
    if depth >= len(depths) or (part := depths[depth]) is None:
        raise ArgumentError("run", "every depth of every question (speceyes eval --full)", f"{outcome['id']} without")
    return part


def _deeper(parts: Sequence[DepthPart], names: Sequence[str]) -> Deeper:
    return Deeper(
        scores=_scores(parts, names),
        right=np.array([part["right"] for part in parts]),
        seconds=np.array([part["seconds"] for part in parts]),
        entered_s=np.array([part.get("entered_s", part["seconds"]) for part in parts]),
    )


def sweep(
    outcomes: Sequence[Outcome],
    *,
    score: str,
    threshold: float | None,
    judge_threshold: float | None,
    depths: Sequence[float | None] = (),
) -> Swept:
    """Decide every question anew, judge first.

    Args:
        outcomes: What :func:`sweepable` returned, ``[n]``.
        score: Which answer score the gate compares.
        threshold: The gate's (tau); None takes no answer from the whole image: questions enter at depth 1.
        judge_threshold: From which probability of tool need on a question is sent on, to depth 1 or where there is none
            to the agent; None has no judge. A judge that could not tell sends it there too.
        depths: Thresholds of the depths from 1 on, as far as they are used; None for a gate that stays shut, whose
            depth is paid all the same.

    Raises:
        ArgumentError: A side or depth is missing, the score is unknown, or there is no judgment to set a threshold for.
    """
    columns = table(outcomes)
    return swept(columns, score=score, threshold=threshold, judge_threshold=judge_threshold, depths=depths)


def swept(
    columns: Table,
    *,
    score: str,
    threshold: float | None,
    judge_threshold: float | None,
    depths: Sequence[float | None] = (),
) -> Swept:
    """The same from columns; see :func:`sweep`."""
    check_score(score)
    if len(depths) > len(columns.deeper):
        raise ArgumentError("depths", f"at most {len(columns.deeper)} thresholds, one a look", len(depths))
    screened = screened_by(columns, judge_threshold)
    deeper, nothing = columns.deeper[: len(depths)], np.zeros_like(columns.agent_s)
    # an answer without tokens has score 0, which no threshold of a gate accepts
    scores = np.stack([by_name.get(score, nothing) for by_name in (columns.scores, *(one.scores for one in deeper))])
    eligible = np.ones(scores.shape, dtype=np.bool_)
    eligible[0] = ~screened if threshold is not None else False
    at = np.array([np.nan if one is None else one for one in (threshold, *depths)])
    depth = first_accepting(np.where(eligible, scores, -np.inf), at)
    seconds = nothing if judge_threshold is None else np.nan_to_num(columns.judge_s)
    costs = [columns.speculate_s, *(one.seconds for one in deeper)]
    if deeper:
        # who was not asked before has read nothing of the prompt
        costs[1] = np.where(eligible[0], costs[1], deeper[0].entered_s)
    for number, cost in enumerate(costs):
        seconds = seconds + (eligible[number] & (depth >= number)) * cost
    bypass = depth < len(scores)
    right = np.stack([columns.speculator_right, *(one.right for one in deeper)])
    return Swept(
        bypass=bypass,
        right=answered(right, columns.agent_right, depth),
        seconds=seconds + ~bypass * columns.agent_s,
        depth=depth,
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
