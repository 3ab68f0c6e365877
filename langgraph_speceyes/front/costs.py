"""What questions cost in money, at the prices that a caller gives."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any

from langgraph_speceyes.options import Price, Prices
from langgraph_speceyes.state import Cost, Decision

MILLION = 1_000_000
_MODELS = {"judge": "judge", "speculate": "speculator", "agent": "agent", "hedge": "agent"}
"""Whose price a phase has."""


class Costs:
    """Puts prices on decisions, and remembers what the agent's runs cost in this process.

    Args:
        prices: Prices by model; none puts none.
    """

    def __init__(self, prices: Prices | None = None) -> None:
        self.prices = prices
        self._runs, self._sum, self._lock = 0, 0.0, threading.Lock()

    def priced(self, decision: Decision) -> Decision:
        """The decision with its cost; the agent's own is learned from."""
        if self.prices is None:
            return decision
        tokens = dict(decision["tokens"])
        hedge = decision["hedge"]
        if hedge and hedge["cancelled"]:
            # thrown away, and paid for
            tokens["hedge"] = hedge["tokens"]
        spent = {phase: self._cost(phase, used, decision) for phase, used in tokens.items()}
        known = [cost for cost in spent.values() if cost is not None]
        total = math.fsum(known) if len(known) == len(spent) else None
        alone = self._alone(spent["agent"]) if "agent" in spent else self.mean
        return {**decision, "cost": Cost(spent=spent, total=total, agent_alone=alone)}

    @property
    def mean(self) -> float | None:
        """Mean cost of the agent's runs so far; None before the first one."""
        with self._lock:
            return self._sum / self._runs if self._runs else None

    def _alone(self, own: float | None) -> float | None:
        if own is not None:
            with self._lock:
                self._runs, self._sum = self._runs + 1, self._sum + own
        return own

    def _cost(self, phase: str, tokens: Mapping[str, int], decision: Decision) -> float | None:
        prices: Mapping[str, Any] = self.prices or {}
        price: Price | None = prices.get(_MODELS[phase.partition("_")[0]])
        if price is None or (not any(tokens.values()) and _silent(phase, decision)):
            return None
        return (tokens["input"] * price["input"] + tokens["output"] * price["output"]) / MILLION


def _silent(phase: str, decision: Decision) -> bool:
    """Whether no tokens mean that nobody said how many there were.

    Judge and speculator make one call, which costs nothing where a cache answers it; one that failed may have cost
    something. An agent that worked has called a model, be it on another server.
    """
    if phase == "hedge":
        return False
    return phase == "agent" or decision["error"] is not None
