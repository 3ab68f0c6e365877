"""A decision as LangSmith feedback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph_speceyes.tracing.notes import PREFIX


def feedback(decision: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Turn a decision into feedback scores, whose means over many runs are the paper's quantities.

    The mean of ``speceyes_screened`` is the screening ratio beta, that of ``speceyes_accepted`` (given only where the
    gate was asked) the acceptance rate alpha, that of ``speceyes_bypass`` the share of queries that skip the agent.

    Args:
        decision: `result["decision"]`.

    Returns:
        Keyword arguments, one dictionary for each ``langsmith.Client.create_feedback(run_id, **one)``.
    """
    need, at = decision["tool_need"], decision["judge_threshold"]
    screened = None if at is None else need is not None and need < at
    scores: dict[str, float | bool | None] = {
        "bypass": decision["route"] == "bypass",
        "screened": screened,
        "accepted": decision["accepted"],
        "score": decision["score"],
        "tool_need": need,
        "tool_steps": decision["tool_steps"],
    }
    found = [{"key": PREFIX + name, "score": float(s)} for name, s in scores.items() if s is not None and s == s]
    return [*found, {"key": f"{PREFIX}decided_by", "value": decision["decided_by"]}]
