"""Which of judge and speculator comes first: fixed, or chosen by the latency formula from what queries have cost."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from langgraph_speceyes.state import Decision, OrderChoice

WINDOW = 100
LEAST = 16
"""Queries that are looked at from both sides before anything is chosen."""
EVERY = 20
"""From then on one query in so many is looked at from both sides, so that a change is noticed."""


class _Seen(NamedTuple):
    judge_s: float
    speculate_s: float
    screened: bool
    accepted: bool


class OrderChooser:
    """Chooses the order that costs least (paper, expected latency), giving the same routes.

    With ``beta = P(screened)``, ``a = P(accepted)`` and ``p = P(screened and accepted)`` the front end costs

    * judge first: ``c_J + beta * c_S``,
    * speculator first: ``c_S + a * c_J``,
    * both at once: ``max(c_J, c_S)``, as measured when they ran at once,
    * no judge: ``c_S``, considered only while the judge has overruled no accepted speculation (``a = p``): then it
      changes no route and only costs.

    The agent's part, ``(1 - p) * L_agent``, is the same in all of them. All quantities come from queries that ran both
    at once: the first sixteen, and one in twenty after that. Safe to share between threads.

    Args:
        window: How many of the newest such queries count.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._seen: deque[_Seen] = deque(maxlen=window)
        self._agent: deque[float] = deque(maxlen=window)
        self._asked = 0
        self._lock = threading.Lock()

    def choose(self) -> OrderChoice:
        """The order of the next query, and what it follows from."""
        with self._lock:
            self._asked += 1
            choice = self._best()
            if len(self._seen) < LEAST or self._asked % EVERY == 0:
                return OrderChoice({**choice, "order": "parallel", "explored": True})
            return choice

    def learn(self, decision: Decision) -> None:
        """Take in what a query cost."""
        seconds, made = decision["seconds"], decision["order"]
        with self._lock:
            if "agent" in seconds:
                self._agent.append(seconds["agent"])
            if made is None or made["order"] != "parallel" or decision["error"] is not None:
                return
            need, at = decision["tool_need"], decision["judge_threshold"]
            if need is not None and at is not None and decision["accepted"] is not None:
                seen = _Seen(seconds["judge"], seconds["speculate"], need < at, decision["accepted"])
                self._seen.append(seen)

    def _best(self) -> OrderChoice:
        count = len(self._seen)
        agent = sum(self._agent) / len(self._agent) if self._agent else None
        if not count:
            return OrderChoice(
                order="parallel", explored=True, queries=0, seconds={}, beta=None, alpha=None, agent_seconds=agent
            )
        judge, speculate = (sum(one[i] for one in self._seen) / count for i in (0, 1))
        beta = sum(one.screened for one in self._seen) / count
        accepted = sum(one.accepted for one in self._seen) / count
        both = sum(one.screened and one.accepted for one in self._seen) / count
        costs = {
            "judge_first": judge + beta * speculate,
            "speculate_first": speculate + accepted * judge,
            "parallel": sum(max(one.judge_s, one.speculate_s) for one in self._seen) / count,
        }
        if accepted == both:
            costs["no_judge"] = speculate
        return OrderChoice(
            order=min(costs, key=lambda name: costs[name]),
            explored=False,
            queries=count,
            seconds=costs,
            beta=beta,
            alpha=both / beta if beta else None,
            agent_seconds=agent,
        )
