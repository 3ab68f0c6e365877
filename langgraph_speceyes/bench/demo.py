"""The demo: embedded questions through the agent alone and through the bypass, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langgraph_speceyes.bench.benchmark import Row
from langgraph_speceyes.bench.datasets import embedded
from langgraph_speceyes.bench.methods import METHODS, Models
from langgraph_speceyes.bench.routes import answered_at, deepest, depth_cost, passed, phases_cost, reached
from langgraph_speceyes.bench.runner import evaluate
from langgraph_speceyes.bench.runs import Outcome
from langgraph_speceyes.calibration.latency import expected_latency
from langgraph_speceyes.errors import SpecEyesError
from langgraph_speceyes.testbed.questions import SPLITS

AGENT, SPECEYES = "agent", "speceyes"


def side_by_side(models: Models, count: int, folder: Path) -> AsyncIterator[Outcome]:
    """Run questions of the test part, the splits in turn, through both, one at a time.

    A question of the calibration part goes through both before the clock starts: the OCR engine is loaded once, and
    neither should pay for it.

    Args:
        models: The embedded pair.
        count: Questions.
        folder: Where the scenes are written as PNG files, which both read.

    Yields:
        Each question's outcome through one of the two, as it ends.
    """

    def rows() -> Iterator[Row]:
        each = -(-count // len(SPLITS))
        drawn = [embedded(folder, splits=[split], count=each) for split in SPLITS]
        for k in range(count):
            yield next(drawn[k % len(drawn)])

    methods = {name: METHODS[name](models) for name in (AGENT, SPECEYES)}
    (warming,) = embedded(folder, splits=["reading"], part="calibration", count=1)
    return evaluate(rows, methods, warm_up=warming)


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The demo's figures, all of them measured.

    Args:
        outcomes: Of the agent alone and of the bypass on the same questions.

    Returns:
        Accuracy, mean and 95th-percentile latency and tool steps of both; speed-up; screening ratio (beta) and
        acceptance rate (alpha); routes; and the latency ``c_J + beta * c_S + (1 - beta * alpha) * L_agent`` that the
        paper predicts from the measured costs: intake and the time between phases are among them, and ``L_agent`` is
        the agent's over the questions that fell back.

    Raises:
        SpecEyesError: No question was run.
    """
    agent, speceyes = ([o for o in outcomes if o["method"] == name] for name in (AGENT, SPECEYES))
    if not agent or not speceyes:
        raise SpecEyesError("no question was run")
    gated = [o for o in speceyes if passed(o)]
    beta = len(gated) / len(speceyes)
    cost_judge = _mean([phases_cost(o, "intake", "judge") for o in speceyes])
    depths = []
    for depth in range(deepest(speceyes) + 1):
        came = [o for o in speceyes if reached(o, depth)]
        accepted = [answered_at(o) == depth for o in came]
        depths.append((_mean([depth_cost(o, depth) for o in came]), _mean(accepted)))
    alpha, bypassed = depths[0][1], [o for o in speceyes if o["route"] == "bypass"]
    back = {o["id"] for o in speceyes if o["route"] == "fallback"}
    behind = [o["seconds"]["total"] for o in agent if not back or o["id"] in back]
    one, two = _figures(agent), _figures(speceyes)
    return {
        "queries": len(speceyes),
        "agent": one,
        "speceyes": two,
        "speedup": one["latency_mean_s"] / two["latency_mean_s"],
        "beta": beta,
        "alpha": alpha,
        "routes": {
            "screened": sum(not passed(o) and o["route"] == "fallback" for o in speceyes),
            "bypass": len(bypassed),
            "after_look": sum((answered_at(o) or 0) > 0 for o in bypassed),
            "rejected": sum(passed(o) and o["route"] == "fallback" for o in speceyes),
        },
        "tool_calls": dict(sorted(Counter(tool for o in speceyes for tool in _tools(o)).items())),
        "predicted_latency_s": expected_latency(cost_judge, beta, depths, _mean(behind)),
        "threshold": speceyes[0]["threshold"],
        "score": speceyes[0]["score"],
    }


def _figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    seconds = [o["seconds"]["total"] for o in outcomes]
    return {
        "accuracy": _mean([o["right"] for o in outcomes]),
        "latency_mean_s": _mean(seconds),
        "latency_p95_s": float(np.percentile(seconds, 95)),
        "tool_steps_mean": _mean([len(_tools(o)) for o in outcomes]),
    }


def _tools(outcome: Outcome) -> list[str]:
    return outcome["agent"].get("tools", []) if outcome["agent"] else []


def _mean(values: list[Any]) -> float:
    return float(np.mean(values)) if values else 0.0
