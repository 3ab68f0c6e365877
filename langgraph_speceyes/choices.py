"""What is chosen for a query before it is asked: the order of judge and speculator, and the depths."""

from __future__ import annotations

from typing_extensions import TypedDict


class OrderChoice(TypedDict):
    """How judge and speculator were put in order for one query, and what that follows from.

    Attributes:
        order: ``"judge_first"``, ``"speculate_first"``, ``"parallel"`` or ``"no_judge"``.
        explored: Whether this order was taken to learn about it, whatever costs least.
        queries: How many queries the figures are from.
        seconds: Expected cost of the front end by order; empty where nothing is known, or the order is fixed.
        beta: Screening ratio; None where not known.
        alpha: Acceptance rate; None where not known.
        agent_seconds: Mean latency of the agent; None where not known.
    """

    order: str
    explored: bool
    queries: int
    seconds: dict[str, float]
    beta: float | None
    alpha: float | None
    agent_seconds: float | None


class DepthChoice(TypedDict):
    """Which depths a question may not come to, and what that follows from.

    Attributes:
        left_out: The depths that are not asked, from 0.
        explored: Whether depths that do not seem to pay are asked all the same, to learn about them.
        questions: How many questions the figures are from; 0 where the choice is fixed.
        seconds: ``c_j``, mean seconds of look, speculation and gate by depth, as far as known.
        alpha: ``alpha_j``, share accepted of the questions that came to a depth, by depth, as far as known.
        behind: ``V_{j+1}``, seconds expected behind a depth, by depth, as far as known.
    """

    left_out: list[int]
    explored: bool
    questions: int
    seconds: dict[str, float]
    alpha: dict[str, float]
    behind: dict[str, float]
