"""What the pair does on every question of a part: judge, speculator and agent, whatever the gate would say."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from langchain_core.messages import HumanMessage

from langgraph_speceyes.calibration import operating_point
from langgraph_speceyes.funnel import create_funnel
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.pair import AGENT_NAME, SPECULATOR_NAME, Pair
from langgraph_speceyes.testbed.questions import SPLITS, Part, Question, questions

# no score reaches it and no judgment exceeds it: every query passes through every phase
_CLOSED = 1 - 1e-12
JUDGE_THRESHOLD = 0.5


class Measured(TypedDict):
    """One question through all phases."""

    id: str
    split: str
    size: str
    tool_need: float
    score: float
    scores: dict[str, float]
    speculation: str
    speculator_right: bool
    answer: str
    agent_right: bool
    tools: list[str]
    seconds: dict[str, float]
    error: str | None


async def measure(pair: Pair, part: Part, count: int, *, at_once: int = 16) -> list[Measured]:
    """Run the first questions of every split through judge, speculator and agent.

    Args:
        pair: The pair; its gate's threshold does not matter.
        part: Which scenes.
        count: Questions a split.
        at_once: Queries under way together.

    Returns:
        One record a question. A query that failed counts as wrong and carries its error.
    """
    asked = [q for split in SPLITS for q in questions(split, part, count)]
    one = pair.speceyes(gate=replace(pair.gate, threshold=_CLOSED, calibration=None), judge_threshold=_CLOSED)
    funnel = create_funnel(one).compile()
    found: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="speceyes-") as folder:
        for first in range(0, len(asked), 64):
            chunk = asked[first : first + 64]
            messages = await asyncio.to_thread(_written, chunk, Path(folder))
            result = await funnel.ainvoke({"queries": messages}, {"max_concurrency": at_once})
            found += [_record(q, o) for q, o in zip(chunk, result["outcomes"], strict=True)]
            for image in Path(folder).glob("*.png"):
                image.unlink()
    return found


def _written(asked: Sequence[Question], folder: Path) -> list[list[HumanMessage]]:
    return [[written(question, folder)] for question in asked]


def _record(question: Question, outcome: dict[str, Any]) -> Measured:
    decision, answer = outcome["decision"] or {}, outcome["answer"] or ""
    speculation = decision.get("speculation") or ""
    need = decision.get("tool_need")
    return Measured(
        id=question.id,
        split=question.split,
        size=question.size,
        tool_need=1.0 if need is None else need,
        score=decision.get("score") or 0.0,
        scores=decision.get("scores") or {},
        speculation=speculation,
        speculator_right=question.is_right(speculation),
        answer=answer,
        agent_right=question.is_right(answer),
        tools=[call["tool"] for call in decision.get("tool_calls", [])],
        seconds=decision.get("seconds", {}),
        error=outcome["error"] or decision.get("error"),
    )


def calibrated(measured: Sequence[Measured], gate: Gate) -> Gate:
    """The gate and the judge's threshold at the paper's operating point: the fastest that keeps the agent's accuracy.

    First the gate's threshold, over all questions, also those the judge would screen out: the gate then holds by
    itself. Then the judge's, by the latency ``c_J + beta * c_S + (1 - beta * alpha) * L_agent`` with the costs of these
    very runs.

    Args:
        measured: Records of the calibration part.
        gate: Score and K.

    Returns:
        The gate for the embedded pair, saying what it was calibrated on.
    """
    score = np.array([m["scores"].get(gate.score, 0.0) for m in measured])
    small, large = (np.array([m[key] for m in measured]) for key in ("speculator_right", "agent_right"))
    threshold = operating_point(score, small, large)
    need = np.array([m["tool_need"] for m in measured])
    cost = {
        phase: np.array([m["seconds"].get(phase, 0.0) for m in measured]) for phase in ("judge", "speculate", "agent")
    }

    def latency(at: float) -> float:
        speculated = need < at
        accepted = speculated & (score >= threshold)
        if np.where(accepted, small, large).mean() < large.mean():
            return float("inf")
        return float((cost["judge"] + speculated * cost["speculate"] + ~accepted * cost["agent"]).mean())

    known = np.unique(need)
    tried = [JUDGE_THRESHOLD, *(float(t) for t in (known[1:] + known[:-1]) / 2 if 0 < t < 1)]
    return Gate(
        score=gate.score,
        threshold=threshold,
        k=gate.k,
        speculator=SPECULATOR_NAME,
        agent=AGENT_NAME,
        judge_threshold=min(tried, key=latency),
        calibration={"method": "paper", "part": "calibration", "questions": len(measured)},
    )


def report(measured: Sequence[Measured]) -> dict[str, dict[str, float]]:
    """Shares by split and size: what calibration shows."""
    found: dict[str, dict[str, float]] = {}
    for name in sorted({f"{m['split']} {m['size']}" for m in measured}):
        rows = [m for m in measured if f"{m['split']} {m['size']}" == name]
        need = rows[0]["size"] == "small"
        found[name] = {
            "questions": len(rows),
            "speculator": _share([m["speculator_right"] for m in rows]),
            "agent": _share([m["agent_right"] for m in rows]),
            "judge_right": _share([(m["tool_need"] >= JUDGE_THRESHOLD) == need for m in rows]),
            "tool_steps_mean": float(np.mean([len(m["tools"]) for m in rows])),
            "errors": _share([m["error"] is not None for m in rows]),
        }
    return found


def _share(values: Sequence[bool]) -> float:
    return round(float(np.mean(values)), 4)
