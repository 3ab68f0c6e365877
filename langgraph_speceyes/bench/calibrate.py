"""From a run on calibration questions to a gate: `speceyes calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import Any

import numpy as np

from langgraph_speceyes.bench.runs import Outcome, Part, read_runs
from langgraph_speceyes.bench.sweep import Table, screened_by, sweepable, swept, table
from langgraph_speceyes.calibration import operating_points
from langgraph_speceyes.calibration.guarantee import METHODS, Guarantee, guaranteed_threshold
from langgraph_speceyes.calibration.guarantee import Method as Counted
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import Gate, check_score

JUDGE_THRESHOLD = 0.5
"""Where yes and no are equally likely."""


@dataclass(frozen=True)
class Calibrated:
    """A gate and how it would have done on the questions it was found on.

    Attributes:
        gate: The gate; None when no threshold keeps the promise.
        guarantee: What is promised; None by the paper's way, which promises nothing.
        questions: How many it rests on.
        accepted: Share the speculator would have answered.
        accuracy: Share right at the gate.
        agent_accuracy: The agent's share right on the same questions.
        speedup: Mean latency of the agent over that of the bypass, by the run's own times.
    """

    gate: Gate | None
    guarantee: Guarantee | None
    questions: int
    accepted: float
    accuracy: float
    agent_accuracy: float
    speedup: float

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "threshold": self.gate.threshold if self.gate else None,
            "score": self.gate.score if self.gate else None,
            "judge_threshold": self.gate.judge_threshold if self.gate else None,
            "guarantee": self.guarantee.to_dict() if self.guarantee else None,
            "questions": self.questions,
            "accepted": self.accepted,
            "accuracy": self.accuracy,
            "agent_accuracy": self.agent_accuracy,
            "speedup": self.speedup,
        }


def calibrate_run(
    folder: str | PathLike[str],
    *,
    method: str = "guarantee",
    max_loss: float = 0.01,
    confidence: float = 0.95,
    counted: str = "net",
    score: str | None = None,
    judge_threshold: float | None = None,
    splits: Sequence[str] | None = None,
) -> Calibrated:
    """A gate for the models of a run.

    Args:
        folder: The run: a bypass with `--full`, on calibration questions.
        method: `guarantee` (:func:`guaranteed`) or `paper` (:func:`fastest`).
        max_loss: Most accuracy to lose against the agent; of a guarantee.
        confidence: How surely; of a guarantee.
        counted: What counts as lost, `net` or `harm`; of a guarantee.
        score: Which answer score; the default is the run's.
        judge_threshold: The judge's; the default is the run's.
        splits: Only these.

    Raises:
        ArgumentError: The run cannot be used, was made on test questions, or another argument is out of range.
        MissingExtraError: `harm` without SciPy.
    """
    if method not in ("guarantee", "paper"):
        raise ArgumentError("method", "guarantee or paper", repr(method))
    ((manifest, outcomes),) = read_runs([folder])
    if manifest["benchmark"].get("part") == "test":
        raise ArgumentError("run", "calibration questions", f"the test part in {fspath(folder)}")
    bypasses = list(dict.fromkeys(o["method"] for o in outcomes if o["route"] is not None))
    if not bypasses:
        raise ArgumentError("run", "the outcomes of a bypass", f"methods {', '.join(manifest['methods'])}")
    rows = [o for o in outcomes if o["method"] == bypasses[0] and (splits is None or o["split"] in splits)]
    missing = [split for split in splits or () if split not in {o["split"] for o in outcomes}]
    if missing:
        raise ArgumentError("split", "splits of the run", missing[0])
    ids = {name: (model or {}).get("id") for name, model in manifest["models"].items() if name != "agent"}
    judges = {o["judge_threshold"] for o in rows}
    at = judge_threshold if judge_threshold is not None else next(iter(judges)) if len(judges) == 1 else None
    gate = Gate(
        score=check_score(score or manifest["gate"]["score"]),
        k=_k(rows, manifest["gate"]["k"]),
        speculator=ids.get("speculator"),
        agent=ids.get("large"),
        judge_threshold=at,
        prompts=manifest.get("prompts"),
        max_answer_tokens=manifest.get("max_answer_tokens"),
    )
    if method == "paper":
        return fastest(rows, gate, choose_judge=judge_threshold is None)
    if counted not in METHODS:
        raise ArgumentError("counted", "one of " + ", ".join(METHODS), repr(counted))
    return guaranteed(rows, gate, max_loss=max_loss, confidence=confidence, counted=counted)


def guaranteed(
    outcomes: Sequence[Outcome],
    gate: Gate,
    *,
    max_loss: float,
    confidence: float,
    counted: Counted = "net",
    seed: int = 0,
) -> Calibrated:
    """The lowest threshold with a promise (:func:`~langgraph_speceyes.calibration.guarantee.guaranteed_threshold`).

    The judge's threshold must be fixed before: it is the gate's.

    Args:
        outcomes: Of a bypass, run with `--full` on calibration questions.
        gate: Score, K, models and the judge's threshold; its own threshold does not matter.
        max_loss: Most accuracy to lose against the agent, a share of all questions.
        confidence: How surely.
        counted: What counts as lost, `net` or `harm`.
        seed: Of the order in which questions are tested.

    Raises:
        ArgumentError: The outcomes lack a side, or an argument is out of range.
        MissingExtraError: `harm` without SciPy.
    """
    columns = _columns(outcomes, gate)
    screened = screened_by(columns, gate.judge_threshold)
    promise = guaranteed_threshold(
        np.where(screened, 0.0, columns.scores[gate.score]),
        columns.speculator_right,
        columns.agent_right,
        max_loss=max_loss,
        confidence=confidence,
        method=counted,
        eligible=~screened,
        seed=seed,
    )
    found = None
    if promise.threshold is not None:
        found = replace(gate, threshold=promise.threshold, calibration=promise.to_dict())
    return _tried(columns, found, promise)


def fastest(outcomes: Sequence[Outcome], gate: Gate, *, choose_judge: bool = True) -> Calibrated:
    """The paper's way: the fastest operating point that keeps the agent's accuracy on these questions, in every split.

    Thresholds of gate and judge are tried together; the latency of each pair is
    ``c_J + beta * c_S + (1 - beta * alpha) * L_agent`` of these very runs. Of the points that are within 1 % of the
    fastest, the one with the highest gate threshold is taken. No promise about other questions comes with it.

    The accuracy must be kept in every split: otherwise what is gained in one, where the small model happens to be the
    better one, would be spent on mistakes in another.

    Args:
        outcomes: Of a bypass, run with `--full` on calibration questions.
        gate: Score, K and models; its threshold does not matter.
        choose_judge: Whether to choose the judge's threshold too, or keep the gate's.

    Raises:
        ArgumentError: The outcomes lack a side.
    """
    columns = _columns(outcomes, gate)
    names = [o["split"] for o in outcomes]
    splits = np.array([[name == split for name in names] for split in dict.fromkeys(names)], dtype=float)
    lost_none = splits @ columns.agent_right
    judges: list[float | None] = [gate.judge_threshold]
    if choose_judge and not np.isnan(columns.judge_s).all():
        known = columns.tool_need[~np.isnan(columns.tool_need)]
        judges = [JUDGE_THRESHOLD, *map(float, operating_points(known))] if known.size else [JUDGE_THRESHOLD]
    found: list[tuple[float, float, float | None]] = []
    for at in judges:
        for threshold in operating_points(columns.scores[gate.score]):
            one = swept(columns, score=gate.score, threshold=float(threshold), judge_threshold=at)
            if np.all(splits @ one.right >= lost_none):
                found.append((float(one.seconds.mean()), float(threshold), at))
    # where not even the highest threshold keeps it, nothing will: a wrong answer has the score 1
    found = found or [(float(columns.agent_s.mean()), 1 - 1e-9, gate.judge_threshold)]
    near = [point for point in found if point[0] <= 1.01 * min(found)[0]]
    _, threshold, at = max(near, key=lambda point: (point[1], -point[0]))
    record = {"method": "paper", "questions": len(columns.agent_s)}
    return _tried(columns, replace(gate, threshold=threshold, judge_threshold=at, calibration=record), None)


def _k(outcomes: Sequence[Outcome], default: int) -> int:
    """Candidates a token that the scores rest on."""
    found = {part.get("k") for o in outcomes if (part := o["speculator"])} - {None}
    return found.pop() or default if len(found) == 1 else default


def _columns(outcomes: Sequence[Outcome], gate: Gate) -> Table:
    outcomes = [_failed(o) if o["error"] is not None and o["route"] is None else o for o in outcomes]
    kept = sweepable(outcomes)
    left_out = len(outcomes) - len(kept)
    if not kept or left_out:
        raise ArgumentError(
            "run",
            "a bypass whose every question has both sides (speceyes eval --method speceyes --full)",
            f"{left_out} of {len(outcomes)} outcomes without",
        )
    for k in {part.get("k") for o in kept if (part := o["speculator"]) and part.get("scores")}:
        gate.check_candidates(k or 0)
    columns = table(kept)
    if gate.score not in columns.scores:
        raise ArgumentError("score", f"one that the run holds: {', '.join(columns.scores)}", gate.score)
    return columns


def _failed(outcome: Outcome) -> Outcome:
    """A question that failed, or a row that could not be used: answered by neither, wrong whatever the gate does."""
    seconds = outcome["seconds"].get("total", 0.0)
    nothing = Part(answer="", right=False, seconds=seconds, error=outcome["error"], tokens={})
    return {**outcome, "route": "fallback", "speculator": {**nothing, "seconds": 0.0}, "agent": nothing}


def _tried(columns: Table, gate: Gate | None, promise: Guarantee | None) -> Calibrated:
    agent = columns.agent_s
    if gate is None:
        right, bypass, seconds = columns.agent_right, np.zeros_like(columns.agent_right), agent
    else:
        one = swept(columns, score=gate.score, threshold=gate.threshold, judge_threshold=gate.judge_threshold)
        right, bypass, seconds = one.right, one.bypass, one.seconds
    return Calibrated(
        gate=gate,
        guarantee=promise,
        questions=len(agent),
        accepted=float(bypass.mean()),
        accuracy=float(right.mean()),
        agent_accuracy=float(columns.agent_right.mean()),
        speedup=float(agent.mean() / seconds.mean()) if seconds.mean() else 1.0,
    )
