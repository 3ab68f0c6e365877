"""What the embedded pair does, split by split: `speceyes testbed check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from langgraph_speceyes.bench.calibrate import JUDGE_THRESHOLD
from langgraph_speceyes.bench.routes import answered_at, deepest, passed
from langgraph_speceyes.bench.runs import Outcome, Part
from langgraph_speceyes.bench.statistics import (
    Estimate,
    Floats,
    auroc,
    bootstrapped,
    mean_speedup,
    share,
    sums,
    total_speedup,
)
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import SCORES
from langgraph_speceyes.testbed.pair import MAX_STEPS
from langgraph_speceyes.testbed.questions import SPLITS, Question
from langgraph_speceyes.testbed.world import Size

METHODS = ("agent", "speceyes")
"""What a check runs, with `--full`: the agent alone, the bypass, and the speculator whatever the judge says."""


@dataclass(frozen=True)
class Checked:
    """A question and what came of it.

    Attributes:
        question: The question.
        alone: Through the agent alone.
        outcome: Through the bypass.
        agent: What the agent alone said.
        speculator: What the speculator said, also where the judge kept the question from it.
    """

    question: Question
    alone: Outcome
    outcome: Outcome
    agent: Part
    speculator: Part


def paired(outcomes: Sequence[Outcome], asked: Sequence[Question]) -> list[Checked]:
    """Put together what belongs to a question.

    Args:
        outcomes: Of a run of both methods of :data:`METHODS` on embedded questions, with `--full`.
        asked: The questions; those the run has no pair of outcomes for are left out.

    Raises:
        ArgumentError: An outcome lacks the agent's or the speculator's part.
    """
    known = {(o["method"], o["id"]): o for o in outcomes}
    found = []
    for question in asked:
        alone, outcome = (known.get((method, question.id)) for method in METHODS)
        if alone is None or outcome is None:
            continue
        agent, speculator = alone["agent"], outcome["speculator"]
        if agent is None or speculator is None:
            raise ArgumentError("out", "a run with both sides of every question", f"{question.id} without one")
        found.append(Checked(question, alone, outcome, agent, speculator))
    return found


def report(checked: Sequence[Checked]) -> dict[str, dict[str, Any]]:
    """The pair's figures by split, and over all of them.

    Shares carry Wilson's 95 % interval, the others a percentile bootstrap over questions. A figure without questions to
    rest on (such as the speculator's accuracy on visible labels) is None. `overall` pools the questions: its `speedup`
    is that of total time; `speedup_mean` is the unweighted mean of the splits' speed-ups, which only `overall` has.

    Args:
        checked: Questions with their outcomes.

    Returns:
        One object a split, and `overall`: every figure under its name, `intervals` with low and high of each, `n`.
    """
    found: dict[str, dict[str, Estimate]] = {}
    for split in SPLITS:
        rows = [c for c in checked if c.question.split == split]
        if rows:
            found[split] = _figures(rows)
    found["overall"] = _figures(checked)
    if checked:
        each = [_seconds([c for c in checked if c.question.split == split]) for split in found if split != "overall"]
        found["overall"]["speedup_mean"] = mean_speedup(each)
    return {
        split: {name: e.value for name, e in figures.items()}
        | {"intervals": {name: [e.low, e.high] for name, e in figures.items() if name != "n"}}
        for split, figures in found.items()
    }


def _figures(rows: Sequence[Checked]) -> dict[str, Estimate]:
    large = [c for c in rows if c.question.size == "large"]
    small = [c for c in rows if c.question.size != "large"]
    gated = [c for c in rows if passed(c.outcome)]
    seconds = _seconds(rows)
    figures = {
        "speculator_visible": share([c.speculator["right"] for c in large]),
        "speculator_small": share([c.speculator["right"] for c in small]),
        "agent_small": share([c.agent["right"] for c in small]),
        "agent": share([c.agent["right"] for c in rows]),
        "within_5_steps": share([bool(c.agent["answer"]) and _depth(c) <= MAX_STEPS for c in rows]),
        "judge_right": share([_tool_free(c) == (c.question.size == "large") for c in rows]),
        "judge_tool_free_on_small": share([_tool_free(c) for c in small]),
        "speceyes": share([c.outcome["right"] for c in rows]),
        "speedup": total_speedup([seconds]),
        "speedup_mean": Estimate(None, None, None, 0),
        "beta": share([passed(c.outcome) for c in rows]),
        "alpha": share([answered_at(c.outcome) == 0 for c in gated]),
        "depth_mean": bootstrapped(_mean, [_depth(c) for c in rows]),
        "depth_small": bootstrapped(_mean, [_depth(c) for c in small]),
        "latency_agent_s": bootstrapped(_mean, seconds[:, 1]),
        "latency_speceyes_s": bootstrapped(_mean, seconds[:, 0]),
    }
    right = [c.speculator["right"] for c in rows]
    for name in SCORES:
        scores = [c.speculator.get("scores", {}).get(name, 0.0) for c in rows]
        figures[f"auroc_{name}"] = bootstrapped(auroc, scores, right)
    if any("depths" in c.outcome for c in rows):
        figures["after_look"] = share([bool(answered_at(c.outcome)) for c in rows])
        for depth in range(1, deepest([c.outcome for c in rows]) + 1):
            figures |= _at_depth(rows, depth)
    return figures | {"n": Estimate(len(rows), None, None, len(rows))}


def _at_depth(rows: Sequence[Checked], depth: int) -> dict[str, Estimate]:
    """What the speculator said after a look, of all questions that the look gave something for."""
    parts = ((c.question.size, c.outcome["depths"][depth]) for c in rows)
    asked = [(size, part) for size, part in parts if part and part.get("scores")]
    right = {size: [part["right"] for other, part in asked if other == size] for size in get_args(Size)}
    found = {f"depth_{depth}_{size}": share(values) for size, values in right.items()}
    scores = [part["scores"]["odds"] for _, part in asked]
    found[f"depth_{depth}_auroc_odds"] = bootstrapped(auroc, scores, [part["right"] for _, part in asked])
    return found


def _seconds(rows: Sequence[Checked]) -> Floats:
    """Seconds of the bypass and of the agent, as the report's table takes them."""
    return sums([[c.outcome["seconds"]["total"] for c in rows], [c.alone["seconds"]["total"] for c in rows]])


def _depth(checked: Checked) -> int:
    return len(checked.agent.get("tools", []))


def _tool_free(checked: Checked) -> bool:
    """Whether the judge's token says that no tools are needed: the likelier of yes and no."""
    need = checked.outcome["tool_need"]
    return need is not None and need < JUDGE_THRESHOLD


def _mean(values: Any) -> float:
    return float(np.mean(values))
