"""What the embedded pair does on the test part, split by split: `speceyes testbed check`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from langgraph_speceyes.bench.demo import Run, side_by_side
from langgraph_speceyes.bench.statistics import Estimate, auroc, bootstrapped, ratio_of_means, share
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import SCORES
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.measure import JUDGE_THRESHOLD
from langgraph_speceyes.testbed.pair import MAX_STEPS, Pair
from langgraph_speceyes.testbed.questions import SPLITS, Part, Question, Split, questions

# every speculation passes, so that those the judge keeps from the gate are known too
_OPEN = 1e-12


class Answered(TypedDict):
    """A question through the agent alone, or through the bypass."""

    answer: str
    right: bool
    seconds: float
    tools: list[str]


class Checked(TypedDict):
    """A question through the agent alone, through the bypass, and through the speculator whatever the judge says."""

    id: str
    split: Split
    family: str
    size: str
    question: str
    expected: str
    agent: Answered
    speceyes: Answered
    route: str
    decided_by: str
    tool_need: float | None
    speculation: str
    speculator_right: bool
    scores: dict[str, float]
    error: str | None


def check(
    pair: Pair,
    count: int,
    folder: Path,
    *,
    part: Part = "test",
    seed: int = 0,
    splits: Sequence[Split] = SPLITS,
    known: Collection[str] = (),
) -> Iterator[Checked]:
    """Run the first questions of every split, one at a time, agent and bypass taking turns at going first.

    Args:
        pair: The pair with its calibrated gate.
        count: Questions a split.
        folder: Where images are written, one at a time.
        part: Which scenes.
        seed: Another number draws another part of the same kind.
        splits: Which splits.
        known: Ids of questions that need not be run again.

    Yields:
        Each question's outcome, as it ends.
    """
    agent, speceyes = pair.agent().compile(), pair.speceyes().compile()
    alone = pair.speceyes(judge=None, gate=replace(pair.gate, threshold=_OPEN, judge_threshold=None)).compile()
    asked = [q for split in splits for q in questions(split, part, count, seed) if q.id not in known]
    runs: list[Run] = []
    for _, run in side_by_side(asked, agent, speceyes, folder):
        runs.append(run)
        if len(runs) == 2:
            one, two = runs if runs[0].decision is None else runs[::-1]
            assert two.decision is not None, "the bypass always says what it decided"
            speculated = two.decision
            if not speculated["scores"]:
                speculated = alone.invoke({"messages": [written(run.question, folder)]})["decision"]
            scores = {str(name): score for name, score in (speculated["scores"] or {}).items()}
            yield _checked(run.question, one, two, speculated["speculation"] or "", scores)
            runs = []
            for image in folder.glob("*.png"):
                image.unlink()


def _checked(question: Question, agent: Run, speceyes: Run, speculation: str, scores: dict[str, float]) -> Checked:
    decision = speceyes.decision
    assert decision is not None
    return Checked(
        id=question.id,
        split=question.split,
        family=question.family,
        size=question.size,
        question=question.text,
        expected=question.answer,
        agent=_answered(agent),
        speceyes=_answered(speceyes),
        route=decision["route"],
        decided_by=decision["decided_by"],
        tool_need=decision["tool_need"],
        speculation=speculation,
        speculator_right=question.is_right(speculation),
        scores=scores,
        error=decision["error"],
    )


def _answered(run: Run) -> Answered:
    tools = [str(call["tool"]) for call in run.calls]
    return Answered(answer=run.answer, right=run.right, seconds=run.seconds, tools=tools)


def outcomes(file: Path) -> list[Checked]:
    """The outcomes that a run before has written, one a line; a line that was broken off is taken out of the file.

    Raises:
        ArgumentError: The file holds something else.
    """
    if not file.exists():
        return []
    found, text = [], file.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        # a run that was killed while it wrote
        file.write_text(whole)
    for line in whole.splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ArgumentError("out", "a file of outcomes, one JSON object a line", f"{file}: {line[:60]}") from error
    return found


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
    found: dict[str, dict[str, Estimate]] = {}
    for split in SPLITS:
        rows = [c for c in checked if c["split"] == split]
        if rows:
            found[split] = _figures(rows)
    found["overall"] = _figures(checked) | {"speedup": _mean_speedup(checked)}
    return {
        split: {name: e.value for name, e in figures.items()}
        | {"intervals": {name: [e.low, e.high] for name, e in figures.items() if name != "n"}}
        for split, figures in found.items()
    }


def _figures(rows: Sequence[Checked]) -> dict[str, Estimate]:
    small = [c for c in rows if c["size"] == "small"]
    gated = [c for c in rows if c["decided_by"] != "judge"]
    seconds = [[c["agent"]["seconds"] for c in rows], [c["speceyes"]["seconds"] for c in rows]]
    figures = {
        "speculator_visible": share([c["speculator_right"] for c in rows if c["size"] == "large"]),
        "speculator_small": share([c["speculator_right"] for c in small]),
        "agent_small": share([c["agent"]["right"] for c in small]),
        "agent": share([c["agent"]["right"] for c in rows]),
        "within_5_steps": share([bool(c["agent"]["answer"]) and len(c["agent"]["tools"]) <= MAX_STEPS for c in rows]),
        "judge_right": share([_tool_free(c) == (c["size"] == "large") for c in rows]),
        "judge_tool_free_on_small": share([_tool_free(c) for c in small]),
        "speceyes": share([c["speceyes"]["right"] for c in rows]),
        "speedup": bootstrapped(ratio_of_means, *seconds),
        "beta": share([c["decided_by"] != "judge" for c in rows]),
        "alpha": share([c["route"] == "bypass" for c in gated]),
        "depth_mean": bootstrapped(_mean, [len(c["agent"]["tools"]) for c in rows]),
        "depth_small": bootstrapped(_mean, [len(c["agent"]["tools"]) for c in small]),
        "latency_agent_s": bootstrapped(_mean, seconds[0]),
        "latency_speceyes_s": bootstrapped(_mean, seconds[1]),
    }
    right = [c["speculator_right"] for c in rows]
    for name in SCORES:
        figures[f"auroc_{name}"] = bootstrapped(auroc, [c["scores"].get(name, 0.0) for c in rows], right)
    return figures | {"n": Estimate(len(rows), None, None, len(rows))}


def _tool_free(checked: Checked) -> bool:
    """Whether the judge's token says that no tools are needed: the likelier of yes and no."""
    need = checked["tool_need"]
    return need is not None and need < JUDGE_THRESHOLD


def _mean(values: Any) -> float:
    return float(np.mean(values))


def _mean_speedup(rows: Sequence[Checked]) -> Estimate:
    splits = np.array([SPLITS.index(c["split"]) for c in rows])

    def mean(split: Any, agent: Any, speceyes: Any) -> float:
        return _mean([ratio_of_means(agent[split == s], speceyes[split == s]) for s in np.unique(split)])

    seconds = [[c[name]["seconds"] for c in rows] for name in ("agent", "speceyes")]
    return bootstrapped(mean, splits, *seconds)
