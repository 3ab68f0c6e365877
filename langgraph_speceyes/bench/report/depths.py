"""Questions by depth: where they were answered, how well, and what the formula makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from langgraph_speceyes.bench.report.data import NOTHING, Loaded, judges_second
from langgraph_speceyes.bench.routes import answered_at, deepest, depth_cost, passed, phases_cost, reached
from langgraph_speceyes.bench.runs import DepthPart, Outcome
from langgraph_speceyes.bench.statistics import Estimate, auroc, bootstrapped, share
from langgraph_speceyes.calibration.latency import expected_latency

ALL = "all questions"


@dataclass(frozen=True)
class Level:
    """One depth.

    Attributes:
        depth: From 0.
        look: The look's name; None at depth 0.
        came: Questions that came to it.
        accepted: Share of these that its gate accepted (``alpha_j``).
        answered: Share of all questions whose answer is from here.
        right: Share right among the answers from here.
        cost_s: ``c_j``, mean seconds of look, speculation and gate over the questions that came to it, with what the
            graph takes between them.
        predicted_s: ``V_j``, seconds from here on by the formula, with the means of one half of the questions; None
            where nothing was measured.
        measured_s: Mean seconds from here on of the questions of the other half that came to it; None where none did.
        saved_s: ``alpha_j V_{j+1} - c_j``, what the depth saves a question that comes to it; below 0 it does not pay.
            None where no question came to all that follows, so that its cost is not known.
        every_right: Share right of its answers to all questions; no figure without `--full`.
        every_auroc: How often a right one of these has the higher score.
    """

    depth: int
    look: str | None
    came: int
    accepted: Estimate
    answered: Estimate
    right: Estimate
    cost_s: float
    predicted_s: float | None
    measured_s: float | None
    saved_s: float | None
    every_right: Estimate
    every_auroc: Estimate


@dataclass(frozen=True)
class SplitDepths:
    """A split, or all questions.

    Attributes:
        name: The split's.
        n: Questions that were decided on.
        beta: Share of them that entered at depth 0.
        judge_s: ``c_J``, mean seconds of intake and judgment, which every question pays, the graph's with them.
        agent: Share of them that were the agent's in the end.
        agent_right: Share right among these.
        fell_back: How many.
        agent_s: ``L_agent``, mean seconds of the agent behind the bypass over these; None where none fell back.
        predicted_s: ``c_J + beta V_0 + (1 - beta) V_1``, with the means of one half of the questions.
        measured_s: Mean latency of the other half.
        levels: By depth.
    """

    name: str
    n: int
    beta: Estimate
    judge_s: float
    agent: Estimate
    agent_right: Estimate
    fell_back: int
    agent_s: float | None
    predicted_s: float
    measured_s: float
    levels: list[Level]


@dataclass(frozen=True)
class Depths:
    """A method with looks.

    Attributes:
        run: The run's name.
        method: The method.
        splits: All questions first where there are several splits, then each.
    """

    run: str
    method: str
    splits: list[SplitDepths]


def depths(run: Loaded) -> list[Depths]:
    """The methods of a run that took looks, judge first."""
    found = []
    for method in run.bypasses:
        mine = [o for o in run.of(method) if "depths" in o and "total" in o["seconds"]]
        if not mine or judges_second(mine):
            continue
        splits = {name: [o for o in mine if o["split"] == name] for name in dict.fromkeys(o["split"] for o in mine)}
        parts = ({ALL: mine} if len(splits) > 1 else {}) | splits
        most = deepest(mine)
        found.append(Depths(run.name, method, [split_depths(name, rows, most) for name, rows in parts.items()]))
    return found


def split_depths(name: str, outcomes: Sequence[Outcome], most: int) -> SplitDepths:
    """The figures of some questions.

    Args:
        name: What they are called.
        outcomes: Of a method with looks, each with its seconds.
        most: The deepest depth.
    """
    whole = _means(outcomes, most)
    back = [o for o in outcomes if answered_at(o) is None]
    came = [[o for o in outcomes if reached(o, depth)] for depth in range(most + 1)]
    # the formula has its means from one half and is held against the other: from the same it would be exact
    order = np.random.default_rng(0).permutation(len(outcomes))
    one, other = ([outcomes[k] for k in rows] for rows in np.array_split(order, 2))
    fitted, held = _means(one, most, whole), other or one
    measured = [[_rest(o, depth) for o in held if reached(o, depth)] for depth in range(most + 1)]
    known = [bool(back) and all(came[depth + 1 :]) for depth in range(most + 1)]
    levels = [
        _level(depth, outcomes, rows, whole, fitted.rest_s(depth), measured[depth], known[depth])
        for depth, rows in enumerate(came)
    ]
    return SplitDepths(
        name,
        len(outcomes),
        whole.beta,
        whole.judge_s,
        share([answered_at(o) is None for o in outcomes]),
        share([o["right"] for o in back]),
        len(back),
        whole.agent_s if back else None,
        fitted.expected_s(),
        _mean([o["seconds"]["total"] for o in held]),
        levels,
    )


@dataclass(frozen=True)
class _Means:
    """What the formula takes."""

    judge_s: float
    beta: Estimate
    accepted: list[Estimate]
    costs: list[float]
    agent_s: float

    def rest_s(self, depth: int) -> float:
        """``V_j``; past the last depth the agent's."""
        steps = [(cost, alpha.value or 0.0) for cost, alpha in zip(self.costs, self.accepted, strict=True)]
        return expected_latency(0.0, 1.0, steps[depth:], self.agent_s)

    def expected_s(self) -> float:
        """``E[L]``."""
        beta = self.beta.value or 0.0
        return self.judge_s + beta * self.rest_s(0) + (1 - beta) * self.rest_s(1)


def _means(outcomes: Sequence[Outcome], most: int, default: _Means | None = None) -> _Means:
    """Of some questions; `default` has the costs of depths that none came to, and of an agent none fell back to."""
    came = [[o for o in outcomes if reached(o, depth)] for depth in range(most + 1)]
    accepted = [share([answered_at(o) == depth for o in rows]) for depth, rows in enumerate(came)]
    costs = [_mean([depth_cost(o, depth) for o in rows]) for depth, rows in enumerate(came)]
    back = [o for o in outcomes if answered_at(o) is None]
    # where nobody falls back it does not matter what the agent takes
    agent_s = _mean([phases_cost(o, "agent") for o in back])
    if default is not None:
        accepted = [mine if rows else its for mine, its, rows in zip(accepted, default.accepted, came, strict=True)]
        costs = [mine if rows else its for mine, its, rows in zip(costs, default.costs, came, strict=True)]
        agent_s = agent_s if back else default.agent_s
    judge_s = _mean([phases_cost(o, "intake", "judge") for o in outcomes])
    return _Means(judge_s, share([passed(o) for o in outcomes]), accepted, costs, agent_s)


def _level(
    depth: int,
    outcomes: Sequence[Outcome],
    came: Sequence[Outcome],
    whole: _Means,
    predicted_s: float,
    measured: Sequence[float],
    follows: bool,
) -> Level:
    here = [o for o in came if answered_at(o) == depth]
    parts = [part for o in outcomes if depth < len(o.get("depths", [])) and (part := o["depths"][depth]) is not None]
    every = len(parts) == len(outcomes)
    accepted, cost = whole.accepted[depth], whole.costs[depth]
    return Level(
        depth,
        next((part["look"] for part in parts), None),
        len(came),
        accepted,
        share([answered_at(o) == depth for o in outcomes]),
        share([o["right"] for o in here]),
        cost,
        predicted_s if measured else None,
        _mean(measured) if measured else None,
        (accepted.value or 0.0) * whole.rest_s(depth + 1) - cost if came and follows else None,
        share([part["right"] for part in parts]) if every else NOTHING,
        _auroc(outcomes, parts) if every else NOTHING,
    )


def _rest(outcome: Outcome, depth: int) -> float:
    """Seconds from a depth on."""
    before = sum(depth_cost(outcome, earlier) for earlier in range(depth))
    return outcome["seconds"]["total"] - phases_cost(outcome, "intake", "judge") - before


def _auroc(outcomes: Sequence[Outcome], parts: Sequence[DepthPart]) -> Estimate:
    scores = [p.get("scores", {}).get(o["score"] or "", 0.0) for o, p in zip(outcomes, parts, strict=True)]
    return bootstrapped(auroc, scores, [part["right"] for part in parts])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
