"""What the embedded pair does on the test part, split by split: `speceyes testbed check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from langgraph_speceyes.bench.demo import Run, side_by_side
from langgraph_speceyes.bench.statistics import Estimate, auroc, bootstrapped, ratio_of_means, share
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.measure import JUDGE_THRESHOLD
from langgraph_speceyes.testbed.pair import MAX_STEPS, Pair
from langgraph_speceyes.testbed.questions import SPLITS, Question, questions

SCORES = ("min", "mean", "log", "bottom")
# every speculation passes, so that those the judge keeps from the gate are known too
_OPEN = 1e-12


@dataclass(frozen=True)
class Checked:
    """One question through the agent alone, through the bypass, and through the speculator whatever the judge says."""

    question: Question
    agent: Run
    speceyes: Run
    speculation: str
    scores: dict[str, float]

    @property
    def speculator_right(self) -> bool:
        """Whether the speculator alone would have been right."""
        return self.question.is_right(self.speculation)

    @property
    def tool_free(self) -> bool:
        """Whether the judge's token says that no tools are needed: the likelier of yes and no."""
        need = self.speceyes.decision["tool_need"] if self.speceyes.decision else None
        return need is not None and need < JUDGE_THRESHOLD


def check(pair: Pair, count: int, folder: Path, *, part: Any = "test", seed: int = 0) -> Iterator[Checked]:
    """Run the first questions of every split, one at a time, agent and bypass taking turns at going first.

    Args:
        pair: The pair with its calibrated gate.
        count: Questions a split.
        folder: Where images are written, one at a time.
        part: Which scenes.
        seed: Another number draws another part of the same kind.

    Yields:
        Each question's outcome, as it ends.
    """
    agent, speceyes = pair.agent().compile(), pair.speceyes().compile()
    alone = pair.speceyes(judge=None, gate=replace(pair.gate, threshold=_OPEN, judge_threshold=None)).compile()
    asked = [q for split in SPLITS for q in questions(split, part, count, seed)]
    runs: list[Run] = []
    for _, run in side_by_side(asked, agent, speceyes, folder):
        runs.append(run)
        if len(runs) == 2:
            one, two = runs if runs[0].decision is None else runs[::-1]
            speculated = two.decision
            if speculated is None or not speculated["scores"]:
                speculated = alone.invoke({"messages": [written(run.question, folder)]})["decision"]
            scores = {str(name): score for name, score in (speculated["scores"] or {}).items()}
            yield Checked(run.question, one, two, speculated["speculation"] or "", scores)
            runs = []
            for image in folder.glob("*.png"):
                image.unlink()


def report(checked: Sequence[Checked]) -> dict[str, dict[str, Any]]:
    """The pair's figures by split, and over all of them.

    Shares carry Wilson's 95 % interval, the others a percentile bootstrap over questions. A figure without questions to
    rest on (such as the speculator's accuracy on visible labels) is None. `overall` pools the questions, but for its
    speed-up, which is the mean of the splits'.

    Args:
        checked: Outcomes of :func:`check`.

    Returns:
        One object a split, and `overall`: every figure under its name, `intervals` with low and high of each, `n`.
    """
    found: dict[str, dict[str, Estimate]] = {
        split: _figures([c for c in checked if c.question.split == split]) for split in SPLITS
    }
    found = {split: figures for split, figures in found.items() if figures["n"].value}
    overall = _figures(checked)
    overall["speedup"] = _mean_speedup(checked)
    found["overall"] = overall
    return {
        split: {name: e.value for name, e in figures.items()}
        | {"intervals": {name: [e.low, e.high] for name, e in figures.items() if name != "n"}}
        for split, figures in found.items()
    }


def _figures(rows: Sequence[Checked]) -> dict[str, Estimate]:
    small = [c for c in rows if c.question.size == "small"]
    visible = [c for c in rows if c.question.size == "large"]
    right = [c.speculator_right for c in rows]
    gated = [c for c in rows if c.speceyes.decision and c.speceyes.decision["decided_by"] != "judge"]
    seconds = [[c.agent.seconds for c in rows], [c.speceyes.seconds for c in rows]]
    figures = {
        "speculator_visible": share([c.speculator_right for c in visible]),
        "speculator_small": share([c.speculator_right for c in small]),
        "agent_small": share([c.agent.right for c in small]),
        "agent": share([c.agent.right for c in rows]),
        "within_5_steps": share([bool(c.agent.answer) and len(c.agent.calls) <= MAX_STEPS for c in rows]),
        "judge_right": share([c.tool_free == (c.question.size == "large") for c in rows]),
        "judge_tool_free_on_small": share([c.tool_free for c in small]),
        "speceyes": share([c.speceyes.right for c in rows]),
        "speedup": bootstrapped(ratio_of_means, *seconds),
        "beta": share([c in gated for c in rows]),
        "alpha": share([c.speceyes.decision is not None and c.speceyes.decision["route"] == "bypass" for c in gated]),
        "depth_mean": bootstrapped(_mean, [len(c.agent.calls) for c in rows]),
        "depth_small": bootstrapped(_mean, [len(c.agent.calls) for c in small]),
        "latency_agent_s": bootstrapped(_mean, seconds[0]),
        "latency_speceyes_s": bootstrapped(_mean, seconds[1]),
    }
    for name in SCORES:
        figures[f"auroc_{name}"] = bootstrapped(auroc, [c.scores.get(name, 0.0) for c in rows], right)
    return figures | {"n": Estimate(len(rows), None, None, len(rows))}


def _mean(values: Any) -> float:
    return float(np.mean(values))


def _mean_speedup(rows: Sequence[Checked]) -> Estimate:
    splits = np.array([SPLITS.index(c.question.split) for c in rows])

    def mean(split: Any, agent: Any, speceyes: Any) -> float:
        return _mean([ratio_of_means(agent[split == s], speceyes[split == s]) for s in np.unique(split)])

    return bootstrapped(mean, splits, [c.agent.seconds for c in rows], [c.speceyes.seconds for c in rows])


def record(checked: Checked) -> dict[str, Any]:
    """One question's outcome as a line of JSON could hold it."""
    q, decision = checked.question, checked.speceyes.decision
    return {
        "id": q.id,
        "family": q.family,
        "size": q.size,
        "question": q.text,
        "expected": q.answer,
        "speculation": checked.speculation,
        "speculator_right": checked.speculator_right,
        "scores": checked.scores,
        "agent": checked.agent.answer,
        "agent_right": checked.agent.right,
        "agent_tools": [call["tool"] for call in checked.agent.calls],
        "agent_seconds": checked.agent.seconds,
        "speceyes": checked.speceyes.answer,
        "speceyes_right": checked.speceyes.right,
        "speceyes_seconds": checked.speceyes.seconds,
        "decision": decision and {k: decision[k] for k in ("route", "decided_by", "tool_need", "seconds", "error")},
    }
