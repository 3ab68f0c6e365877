"""The demo: embedded questions through the agent alone and through the bypass, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable

from langgraph_speceyes.errors import SpecEyesError
from langgraph_speceyes.images import clear_cache
from langgraph_speceyes.phases.fallback import tool_calls
from langgraph_speceyes.state import Decision
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.questions import SPLITS, Question, questions

AGENT, SPECEYES = "agent", "speceyes"


@dataclass(frozen=True)
class Run:
    """One question through one method.

    Attributes:
        question: What was asked.
        answer: What came back.
        right: Whether it is the answer.
        seconds: Wall time of the whole graph run.
        calls: Tool calls.
        decision: The bypass's record; None for the agent alone.
    """

    question: Question
    answer: str
    right: bool
    seconds: float
    calls: list[dict[str, Any]]
    decision: Decision | None


def demo_questions(count: int) -> list[Question]:
    """A mix from the test part: the splits in turn."""
    each = [questions(split, "test", -(-count // len(SPLITS))) for split in SPLITS]
    return [question for row in zip(*each, strict=True) for question in row][:count]


def side_by_side(
    asked: list[Question], agent: Runnable[Any, Any], speceyes: Runnable[Any, Any], folder: Path
) -> Iterator[tuple[str, Run]]:
    """Run every question through both graphs, each first every other time, one at a time.

    A question of the calibration part goes through both before the clock starts: the OCR engine is loaded once, and
    neither should pay for it.

    Args:
        asked: The questions.
        agent: The compiled agent.
        speceyes: The compiled bypass in front of the same agent.
        folder: Where the scenes are written as PNG files, which both read.

    Yields:
        The method's name and its run, as they end.
    """
    methods: list[tuple[str, Callable[[Question, HumanMessage], Run]]] = [
        (AGENT, lambda q, m: _run(agent, q, m)),
        (SPECEYES, lambda q, m: _run(speceyes, q, m)),
    ]
    (warming,) = questions("reading", "calibration", 1)
    for k, question in enumerate([warming, *asked]):
        message = written(question, folder)
        for name, run in methods if k % 2 == 0 else methods[::-1]:
            # neither may profit from the image that the other has decoded
            clear_cache()
            outcome = run(question, message)
            if question is not warming:
                yield name, outcome


def _run(graph: Runnable[Any, Any], question: Question, message: HumanMessage) -> Run:
    began = time.perf_counter()
    result = graph.invoke({"messages": [message]})
    seconds = time.perf_counter() - began
    answer = result["messages"][-1].text
    decision: Decision | None = result.get("decision")
    calls = decision["tool_calls"] if decision else tool_calls(result["messages"], result.get("steps"))
    return Run(question, answer, question.is_right(answer), seconds, calls, decision)


def summary(agent: list[Run], speceyes: list[Run]) -> dict[str, Any]:
    """The demo's figures, all of them measured.

    Args:
        agent: Runs of the agent alone.
        speceyes: Runs of the bypass on the same questions.

    Returns:
        Accuracy, mean and 95th-percentile latency and tool steps of both; speed-up; screening ratio (beta) and
        acceptance rate (alpha); routes; and the latency ``c_J + beta * c_S + (1 - beta * alpha) * L_agent`` that the
        paper predicts from the measured costs.

    Raises:
        SpecEyesError: No question was run.
    """
    decisions = [run.decision for run in speceyes if run.decision is not None]
    if not decisions or not agent:
        raise SpecEyesError("no question was run")
    screened = [d for d in decisions if d["decided_by"] == "judge"]
    gated = [d for d in decisions if d["decided_by"] != "judge"]
    accepted = [d for d in gated if d["route"] == "bypass"]
    beta, alpha = len(gated) / len(decisions), len(accepted) / len(gated) if gated else 0.0
    cost_judge = _mean([d["seconds"].get("judge", 0.0) for d in decisions])
    cost_speculate = _mean([d["seconds"].get("speculate", 0.0) + d["seconds"].get("gate", 0.0) for d in gated])
    one, two = _figures(agent), _figures(speceyes)
    made = [call["tool"] or "unreadable" for run in speceyes for call in run.calls]
    return {
        "queries": len(decisions),
        "agent": one,
        "speceyes": two,
        "speedup": one["latency_mean_s"] / two["latency_mean_s"],
        "beta": beta,
        "alpha": alpha,
        "routes": {"screened": len(screened), "bypass": len(accepted), "rejected": len(gated) - len(accepted)},
        "tool_calls": {name: made.count(name) for name in sorted(set(made))},
        "predicted_latency_s": cost_judge + beta * cost_speculate + (1 - beta * alpha) * one["latency_mean_s"],
        "threshold": decisions[0]["threshold"],
        "score": decisions[0]["score_name"],
    }


def _figures(runs: list[Run]) -> dict[str, float]:
    return {
        "accuracy": _mean([run.right for run in runs]),
        "latency_mean_s": _mean([run.seconds for run in runs]),
        "latency_p95_s": float(np.percentile([run.seconds for run in runs], 95)),
        "tool_steps_mean": _mean([len(run.calls) for run in runs]),
    }


def _mean(values: list[Any]) -> float:
    return float(np.mean(values)) if values else 0.0
