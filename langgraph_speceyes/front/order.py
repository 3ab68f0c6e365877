"""Which of judge and speculator comes first: fixed, or chosen by the latency formula from what queries have cost."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from langgraph_speceyes.choices import OrderChoice
from langgraph_speceyes.state import Decision, DepthDecision

TRIED = ("judge_first", "speculate_first", "parallel")
WINDOW = 200
"""How many of the newest queries a share is taken from; a mean of seconds is taken from fewer."""
WINDOW_S = 50
LEAST = 18
"""Queries that take the orders in turn before anything is chosen."""
EVERY = 20
"""From then on one query in so many takes an order that is not the cheapest, so that a change is noticed; or fewer: no
more than one part in so many of what the queries cost is spent on it."""
DOUBT = 1.5
"""Standard errors by which an order may be cheaper than it seems: as long as that would make it the cheapest, it is
tried."""
OVERRULED, CONFIDENCE = 0.01, 0.95
"""The judge is left out only where it would overrule at most this share of the queries, so surely."""


def fixed_order(order: str) -> OrderChoice:
    """An order that nothing was measured for.

    Args:
        order: A key of the tables in :mod:`~langgraph_speceyes.front.route`.
    """
    return OrderChoice(order=order, explored=False, queries=0, seconds={}, beta=None, alpha=None, agent_seconds=None)


class Estimate(NamedTuple):
    """A mean and its standard error."""

    mean: float
    error: float


class OrderChooser:
    """Chooses the order that costs least (paper, expected latency), giving the same routes.

    With ``beta = P(screened)``, ``a = P(accepted)`` and ``p = P(screened and accepted)`` the front end costs

    * judge first: ``c_J + beta * c_S``,
    * speculator first: ``c_S + a * c_J``,
    * both at once: what it took when they ran at once: ``max(c_J, c_S)`` on two devices, their sum on one,
    * no judge: ``c_S``.

    The agent's part, ``(1 - p) * L_agent``, is the same in all of them. ``c_J`` and ``c_S`` are those of calls that ran
    alone, which the first two orders make; each quantity is taken from the orders that show it without a choice, so no
    call is made that the order itself does not make. The orders are taken in turn at first; after that the cheapest,
    one that may yet turn out to be it, and now and then another.

    Leaving the judge out could change a route: it is considered only after so many queries in a row of which the judge
    would have overruled none that at most 1 % can be of that kind, with 95 % confidence: 299. One that it overrules
    begins the count anew and doubles the confidence that is asked for, so that trying again and again proves nothing.

    Safe to share between threads.

    Args:
        window: How many of the newest queries count.
        keep_judge: Whether the judge must not be left out: a gate that was calibrated behind one needs it.
    """

    def __init__(self, window: int = WINDOW, *, keep_judge: bool = False) -> None:
        def seconds() -> deque[float]:
            return deque(maxlen=min(window, WINDOW_S))

        def outcomes() -> deque[bool]:
            return deque(maxlen=window)

        self.keep_judge = keep_judge
        self._first = {"judge": seconds(), "speculate": seconds()}
        self._second = {"judge": seconds(), "speculate": seconds()}
        self._both, self._agent = seconds(), seconds()
        self._screened, self._accepted, self._accepted_of_screened = outcomes(), outcomes(), outcomes()
        self._clean, self._overruled = 0, 0
        self._tried: Counter[str] = Counter()
        self._looked: Counter[str] = Counter(TRIED)
        self._learned, self._until_other, self._budget = 0, EVERY, 0.0
        self._turn: list[str] = []
        # the same for every graph, so that a run can be repeated
        self._random = Random(0)
        self._lock = threading.Lock()

    def choose(self, *, must_judge: bool = False) -> OrderChoice:
        """The order of the next query, and what it follows from.

        Args:
            must_judge: Whether this query needs the judge whatever it costs, as a follow-up may.
        """
        with self._lock:
            costs = self._costs()
            if self.keep_judge or must_judge or not self._needless():
                costs.pop("no_judge", None)
            if any(self._tried[order] < LEAST // len(TRIED) for order in TRIED) or not costs:
                return self._choice(self._next(), costs, explored=True)
            best = min(costs, key=lambda order: costs[order].mean)
            if other := self._other(costs, best):
                return self._choice(other, costs, explored=True)
            likely = min(costs, key=lambda order: costs[order].mean - DOUBT * costs[order].error)
            return self._choice(likely, costs, explored=likely != best)

    def learn(self, decision: Decision) -> None:
        """Take in what a query cost."""
        seconds, made = decision["seconds"], decision["order"]
        with self._lock:
            if "agent" in seconds:
                self._agent.append(seconds["agent"])
            if made is None:
                return
            order = made["order"]
            self._tried[order] += 1
            # what the order is about is over before the first look; a judge that failed has no tool need
            depths = decision.get("depths")
            first: Decision | DepthDecision = depths[0] if depths else decision
            if first["error"] is not None:
                return
            need, at, accepted = decision["tool_need"], decision["judge_threshold"], first["accepted"]
            screened = need < at if need is not None and at is not None else None
            if order == "judge_first" and screened is not None:
                self._judge_first(seconds, screened, accepted)
            elif order == "speculate_first" and accepted is not None and (screened is not None or not accepted):
                self._speculate_first(seconds, screened, accepted)
            elif order == "parallel" and screened is not None and accepted is not None:
                self._at_once(seconds, screened, accepted)
            elif order == "no_judge" and "speculate" in seconds:
                self._first["speculate"].append(seconds["speculate"])
            else:
                return
            self._learned += 1

    def _judge_first(self, seconds: dict[str, float], screened: bool, accepted: bool | None) -> None:
        self._first["judge"].append(seconds["judge"])
        self._screened.append(screened)
        if screened and accepted is not None:
            self._second["speculate"].append(seconds["speculate"])
            self._accepted_of_screened.append(accepted)

    def _speculate_first(self, seconds: dict[str, float], screened: bool | None, accepted: bool) -> None:
        self._first["speculate"].append(seconds["speculate"])
        self._accepted.append(accepted)
        if accepted:
            self._second["judge"].append(seconds["judge"])
        self._judged(overruled=accepted and not screened)

    def _at_once(self, seconds: dict[str, float], screened: bool, accepted: bool) -> None:
        self._both.append(max(seconds["judge"], seconds["speculate"]))
        self._screened.append(screened)
        self._accepted.append(accepted)
        if screened:
            self._accepted_of_screened.append(accepted)
        self._judged(overruled=accepted and not screened)

    def _judged(self, *, overruled: bool) -> None:
        self._clean = 0 if overruled else self._clean + 1
        self._overruled += overruled

    def _needless(self) -> bool:
        """Whether the judge is known to overrule next to nothing."""
        chance = (1 - CONFIDENCE) / 2.0**self._overruled
        return self._clean * math.log1p(-OVERRULED) <= math.log(chance)

    def _next(self) -> str:
        """Each order once, and then again; in no rhythm, as the questions may have one."""
        if not self._turn:
            self._turn = self._random.sample(TRIED, len(TRIED))
        return self._turn.pop()

    def _other(self, costs: dict[str, Estimate], best: str) -> str | None:
        """Now and then another order; how often is a matter of what it costs."""
        self._until_other -= 1
        self._budget += costs[best].mean / EVERY
        # one that had nothing but trouble would send its queries to the agent
        others = [order for order in TRIED if order != best and order in costs]
        if self._until_other > 0 or not others:
            return None
        other = min(others, key=lambda order: self._looked[order] * costs[order].mean)
        if (extra := costs[other].mean - costs[best].mean) > self._budget:
            return None
        self._until_other = self._random.randrange(EVERY // 2, EVERY + EVERY // 2 + 1)
        self._looked[other] += 1
        self._budget -= extra
        return other

    def _costs(self) -> dict[str, Estimate]:
        """What each order costs in front, as far as it is known."""
        judge, speculate = mean(self._first["judge"]), mean(self._first["speculate"])
        costs = {}
        if judge and speculate and self._screened:
            costs["judge_first"] = _sequence(judge, share(self._screened), mean(self._second["speculate"]) or speculate)
        if judge and speculate and self._accepted:
            costs["speculate_first"] = _sequence(speculate, share(self._accepted), mean(self._second["judge"]) or judge)
        if both := mean(self._both):
            costs["parallel"] = both
        if speculate:
            costs["no_judge"] = speculate
        return costs

    def _choice(self, order: str, costs: dict[str, Estimate], *, explored: bool) -> OrderChoice:
        return OrderChoice(
            order=order,
            explored=explored,
            queries=self._learned,
            seconds={name: cost.mean for name, cost in costs.items()},
            beta=sum(self._screened) / len(self._screened) if self._screened else None,
            alpha=sum(found) / len(found) if (found := self._accepted_of_screened) else None,
            agent_seconds=sum(self._agent) / len(self._agent) if self._agent else None,
        )


def mean(values: Sequence[float] | deque[float]) -> Estimate | None:
    """The mean of what is known, and its standard error; None of nothing."""
    count = len(values)
    if not count:
        return None
    middle = sum(values) / count
    spread = sum((value - middle) ** 2 for value in values) / max(count - 1, 1)
    return Estimate(middle, math.sqrt(spread / count))


def share(values: deque[bool]) -> Estimate:
    """The share of those that are true, and its standard error."""
    count, found = len(values), sum(values)
    # a share of nothing or of all is no certainty
    likely = (found + 1) / (count + 2)
    return Estimate(found / count, math.sqrt(likely * (1 - likely) / count))


def _sequence(first: Estimate, share: Estimate, second: Estimate) -> Estimate:
    """A call, and for a share of the queries another one behind it."""
    variance = first.error**2 + (second.mean * share.error) ** 2 + (share.mean * second.error) ** 2
    return Estimate(first.mean + share.mean * second.mean, math.sqrt(variance))
