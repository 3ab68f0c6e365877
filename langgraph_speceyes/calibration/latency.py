"""What a question is expected to take behind a judge and any number of looks."""

from __future__ import annotations

from collections.abc import Sequence


def expected_latency(judge: float, beta: float, depths: Sequence[tuple[float, float]], agent: float) -> float:
    """``E[L] = c_J + beta V_0 + (1 - beta) V_1`` with ``V_j = c_j + (1 - alpha_j) V_{j+1}``, ``V_{n+1} = L_agent``.

    With depth 0 alone ``V_1`` is ``L_agent``, and this is ``c_J + beta c_S + (1 - beta alpha) L_agent`` (paper,
    section 3). What the judge sends on enters at depth 1, or is the agent's where there is no look.

    Args:
        judge: ``c_J``, seconds of the judgment; 0 without a judge.
        beta: Share of the questions that enter at depth 0; 1 without a judge.
        depths: ``(c_j, alpha_j)`` from depth 0 on: seconds of look, speculation and gate, and the share that the gate
            accepts of the questions that come to this depth.
        agent: ``L_agent``, seconds of the agent over the questions that fall back.

    Returns:
        Seconds. A depth pays where ``alpha_j V_{j+1} > c_j``.
    """
    entered, value = agent, agent
    for cost, alpha in reversed(depths):
        entered, value = value, cost + (1 - alpha) * value
    return judge + beta * value + (1 - beta) * entered
