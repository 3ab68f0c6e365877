"""A way to put judge, depths and gate together: what it compares, what it asks, and what that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langgraph_speceyes.bench.evidence import Evidence
from langgraph_speceyes.bench.sweep import Floats, Mask, screened_by
from langgraph_speceyes.calibration import Labels
from langgraph_speceyes.calibration.depth_labels import Found
from langgraph_speceyes.calibration.guarantee import Method
from langgraph_speceyes.scoring import Gate, check_score
from langgraph_speceyes.state import Order

Steps = NDArray[np.intp]

# every speculation passes that has a token
OPEN = 1e-12


@dataclass(frozen=True)
class Terms:
    """What is to be promised, and on what.

    Attributes:
        max_loss: Most that may be lost against the agent, a share of all questions.
        confidence: How surely.
        counted: What counts as lost, `net` or `harm`.
        labels: Which questions have labels.
        by: A column whose every value gets a promise of its own; None for one over all questions.
        seed: Of the order of the bets.
    """

    max_loss: float
    confidence: float
    counted: Method
    labels: Labels
    by: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Composition:
    """One way.

    Attributes:
        score: The answer score that the gate compares; None where the judge alone decides.
        judge_threshold: The judge's; None without a judge, and where it is what calibration is to find.
        depths: The answers that are asked for one after the other: 0 is the one without a look.
        found: How thresholds of several depths are found: along a path, or each depth by itself.
    """

    score: str | None
    judge_threshold: float | None
    depths: tuple[int, ...] = (0,)
    found: Found = "path"

    @property
    def name(self) -> str:
        """What tables call it."""
        if self.depths != (0,):
            parts = ["judge"] if self.judge_threshold is not None else []
            parts += [f"depth {depth}" for depth in self.depths]
            way = "" if self.found == "path" else ", each by itself"
            return f"{', '.join(parts)}{' at once' if parts == ['depth 1'] else ''} ({self.score}{way})"
        if self.score is None:
            return "judge alone"
        if self.judge_threshold is not None:
            return f"judge, then {self.score}"
        return "plain cascade (log)" if self.score == "log" else self.score

    def compared(self, evidence: Evidence) -> Floats:
        """What is compared with the threshold of the first depth, ``[n]``, 0 for what cannot be accepted."""
        columns = evidence.columns
        if self.score is None:
            return np.where(evidence.answered & ~np.isnan(columns.tool_need), 1 - columns.tool_need, 0.0)
        passed = evidence.answered & ~screened_by(columns, self.judge_threshold)
        return np.where(passed, columns.scores[self.score], 0.0)

    def scores(self, evidence: Evidence) -> Floats:
        """What is compared at each depth, ``[depths, n]``, 0 for what cannot be accepted."""
        assert self.score is not None, "the judge alone knows no depths"
        deeper = zip(evidence.columns.deeper, evidence.deeper, strict=True)
        by_depth = [self.compared(evidence), *(np.where(b.answered, a.scores[self.score], 0.0) for a, b in deeper)]
        return np.stack([by_depth[depth] for depth in self.depths])

    def gate(
        self, evidence: Evidence, threshold: float, record: dict[str, Any], by_depth: Sequence[float] = ()
    ) -> Gate:
        """The gate with thresholds that were found for it."""
        gate = replace(evidence.gate, calibration=record)
        if self.score is None:
            # 1 - p >= threshold passes; the judge keeps what is at its own threshold or above
            at = float(np.nextafter(1 - threshold, 2))
            gate = replace(gate, threshold=OPEN, judge_threshold=at)
        else:
            score = check_score(self.score)
            gate = replace(gate, score=score, threshold=threshold, judge_threshold=self.judge_threshold)
        if not evidence.looks:
            return gate
        return replace(
            gate,
            depths=tuple(t for depth, t in zip(self.depths, by_depth, strict=False) if depth > 0),
            looks=tuple(evidence.looks[depth - 1] for depth in self.depths if depth > 0),
            first_look="rejected" if 0 in self.depths else "always",
            calibration={**record, "composition": self.name},
        )

    def phases(
        self, evidence: Evidence, bypass: Mask, threshold: float | None, order: Order | None
    ) -> tuple[Mask, Mask]:
        """Which questions judge and first depth see, ``[n]`` each.

        Args:
            evidence: The questions.
            bypass: Those whose speculation is the answer.
            threshold: Of what is compared first; None accepts nothing.
            order: Of judge and speculator; None without a judge.
        """
        every = np.ones_like(bypass)
        if order is None:
            return ~every, every
        if order == "judge_first":
            passed = bypass if self.score is None else ~screened_by(evidence.columns, self.judge_threshold)
            return every, passed
        if self.score is None:
            return every, every
        return evidence.columns.scores[self.score] >= (2.0 if threshold is None else threshold), every

    def asked(
        self, evidence: Evidence, by: Steps, threshold: float | None, order: Order | None
    ) -> tuple[Mask, list[Mask]]:
        """Which questions the judge sees, and which each depth, ``[n]`` each.

        Args:
            evidence: The questions.
            by: Place among `depths` of the one that answers, ``[n]``; their number for the agent.
            threshold: As in :meth:`phases`.
            order: Likewise.
        """
        judged, first = self.phases(evidence, by < len(self.depths), threshold, order)
        return judged, [first, *(by >= place for place in range(1, len(self.depths)))]

    def seconds(self, evidence: Evidence, by: Steps | Mask, threshold: float | None) -> tuple[Floats, Order | None]:
        """Seconds a question, ``[n]``, in the order of the phases that is faster; None without a judge.

        Args:
            evidence: The questions.
            by: As in :meth:`asked`; with one depth also whether it answers.
            threshold: As in :meth:`phases`.
        """
        places: Steps = steps_of(by) if by.dtype == np.bool_ else by  # type: ignore[arg-type, assignment]
        columns = evidence.columns
        judge_s, agent_s = np.nan_to_num(columns.judge_s), (places == len(self.depths)) * columns.agent_s
        orders: tuple[Order | None, ...] = ("judge_first", "speculate_first")
        if self.score is not None and self.judge_threshold is None:
            orders = (None,)
        found: list[tuple[Floats, Order | None]] = []
        for order in orders:
            judged, asked = self.asked(evidence, places, threshold, order)
            seconds, read = judged * judge_s, np.zeros_like(judged)
            for depth, here in zip(self.depths, asked, strict=True):
                seconds = seconds + here * self._cost(evidence, depth, read)
                read = read | here
            found.append((seconds + agent_s, order))
        return min(found, key=lambda one: float(one[0].mean()))

    @staticmethod
    def _cost(evidence: Evidence, depth: int, read: Mask) -> Floats:
        """Seconds of a depth; another has read the beginning of the same prompt where `read` says so, ``[n]``."""
        if not depth:
            return evidence.columns.speculate_s
        deeper = evidence.columns.deeper[depth - 1]
        return np.where(read, deeper.seconds, deeper.entered_s)


def steps_of(bypass: Mask) -> Steps:
    """Who answers where there is one depth, ``[n]``: 0 for it, 1 for the agent."""
    return np.asarray(~bypass, dtype=np.intp)
