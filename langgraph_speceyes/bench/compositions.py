"""Ways to put judge and gate together, what each would have done on recorded questions, and which one to take."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from langgraph_speceyes.bench.evidence import Evidence
from langgraph_speceyes.bench.sweep import Floats, Mask, screened_by
from langgraph_speceyes.calibration import Labelled, Labels, labelled_threshold
from langgraph_speceyes.calibration.guarantee import Method
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import AT_ONE_K, Gate, check_score
from langgraph_speceyes.state import Order

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
    """

    score: str | None
    judge_threshold: float | None

    @property
    def name(self) -> str:
        """What tables call it."""
        if self.score is None:
            return "judge alone"
        if self.judge_threshold is not None:
            return f"judge, then {self.score}"
        return "plain cascade (log)" if self.score == "log" else self.score

    def compared(self, evidence: Evidence) -> Floats:
        """What is compared with the threshold, ``[n]``, 0 for what cannot be accepted."""
        columns = evidence.columns
        if self.score is None:
            return np.where(evidence.answered & ~np.isnan(columns.tool_need), 1 - columns.tool_need, 0.0)
        passed = evidence.answered & ~screened_by(columns, self.judge_threshold)
        return np.where(passed, columns.scores[self.score], 0.0)

    def gate(self, gate: Gate, threshold: float, record: dict[str, Any]) -> Gate:
        """The gate with a threshold that was found for it."""
        if self.score is None:
            # 1 - p >= threshold passes; the judge keeps what is at its own threshold or above
            at = float(np.nextafter(1 - threshold, 2))
            return replace(gate, threshold=OPEN, judge_threshold=at, calibration=record)
        return replace(
            gate,
            score=check_score(self.score),
            threshold=threshold,
            judge_threshold=self.judge_threshold,
            calibration=record,
        )

    def phases(
        self, evidence: Evidence, bypass: Mask, threshold: float | None, order: Order | None
    ) -> tuple[Mask, Mask]:
        """Which questions judge and speculator see, ``[n]`` each.

        Args:
            evidence: The questions.
            bypass: Those whose speculation is the answer.
            threshold: Of what is compared; None accepts nothing.
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

    def seconds(self, evidence: Evidence, bypass: Mask, threshold: float | None) -> tuple[Floats, Order | None]:
        """Seconds a question, ``[n]``, in the order of the phases that is faster; None without a judge."""
        columns = evidence.columns
        judge_s, agent_s = np.nan_to_num(columns.judge_s), ~bypass * columns.agent_s
        orders: tuple[Order | None, ...] = ("judge_first", "speculate_first")
        if self.score is not None and self.judge_threshold is None:
            orders = (None,)
        found: list[tuple[Floats, Order | None]] = []
        for order in orders:
            judged, speculated = self.phases(evidence, bypass, threshold, order)
            found.append((judged * judge_s + speculated * columns.speculate_s + agent_s, order))
        return min(found, key=lambda one: float(one[0].mean()))


@dataclass(frozen=True)
class Certified:
    """A threshold for one composition, and what it does on the questions it was found on.

    Attributes:
        composition: Which.
        threshold: Of what the composition compares; None where nothing is certified.
        parts: The promise for each value of the column, or one over all questions under "".
        bypass: Which questions it accepts, ``[n]``.
        lost: Loss of each question if accepted, ``[n]``, in {-1, 0, 1}, as the labels count it.
        speedup: Mean seconds of the agent over those of the composition.
        order: The faster order of the phases; None without a judge.
        needed: Positions of the questions whose labels would take it further.
    """

    composition: Composition
    threshold: float | None
    parts: dict[str, Labelled]
    bypass: Mask
    lost: Floats
    speedup: float
    order: Order | None
    needed: tuple[int, ...]

    @property
    def accepted(self) -> float:
        """Share of the questions it accepts."""
        return float(self.bypass.mean())

    @property
    def loss(self) -> float:
        """Share of them it loses."""
        return float((self.bypass * self.lost).mean())


def available(evidence: Evidence) -> list[Composition]:
    """All compositions that the evidence can tell about: each score with the judge and without, and the judge alone."""
    at = evidence.gate.judge_threshold
    judged = not np.isnan(evidence.columns.judge_s).all()
    scores = [s for s in evidence.columns.scores if s not in AT_ONE_K or len(evidence.ks) < 2]
    found = [Composition(score, None) for score in scores]
    if judged:
        found += [Composition(score, at) for score in scores if at is not None]
        found.append(Composition(None, None))
    return found


def certify(evidence: Evidence, composition: Composition, terms: Terms, *, extrapolate: bool = False) -> Certified:
    """The lowest threshold with the promise; where groups have one each, the highest of theirs.

    Each group's test goes down one grid, and all thresholds it passed keep its promise together. So the highest of the
    groups' thresholds is among those that each has passed.

    Raises:
        ArgumentError: Labels or the column are missing, or a limit is out of range.
        MissingExtraError: `harm` without SciPy.
    """
    compared = composition.compared(evidence)
    small, large = _labels(evidence, terms.labels)
    groups = _groups(evidence, terms.by)
    # delta is shared among the groups
    confidence = 1 - (1 - terms.confidence) / len(groups) if len(groups) > 1 else terms.confidence
    parts: dict[str, Labelled] = {}
    needed: list[int] = []
    for value, rows in groups.items():
        parts[value] = labelled_threshold(
            compared[rows],
            labels=terms.labels,
            agree=[evidence.agree[k] for k in rows],
            speculator_right=[small[k] for k in rows],
            agent_right=[large[k] for k in rows],
            passed_over=evidence.passed_over[rows],
            max_loss=terms.max_loss,
            confidence=confidence,
            method=terms.counted,
            seed=terms.seed,
            extrapolate=extrapolate,
        )
        needed += [rows[k] for k in parts[value].needed]
    found = [part.guarantee.threshold for part in parts.values()]
    threshold = None if None in found else max(t for t in found if t is not None)
    bypass = compared >= (2.0 if threshold is None else threshold)
    seconds, order = composition.seconds(evidence, bypass, threshold)
    agent = evidence.columns.agent_s
    return Certified(
        composition,
        threshold,
        parts,
        bypass,
        losses(evidence, terms),
        float(agent.mean() / seconds.mean()) if threshold is not None and seconds.mean() else 1.0,
        order,
        tuple(sorted(needed, key=lambda k: -compared[k])),
    )


def halves(evidence: Evidence) -> tuple[Evidence, Evidence]:
    """Two halves, drawn by a digest of each question's image, so that no image is in both."""
    first = np.array([hashlib.sha256(f"calibrate {key}".encode()).digest()[0] % 2 == 0 for key in evidence.images])
    return evidence.part(first), evidence.part(~first)


def chosen(tried: Sequence[Certified]) -> Certified | None:
    """The fastest of those that have a threshold; None where none has."""
    certified = [one for one in tried if one.threshold is not None]
    return max(certified, key=lambda one: one.speedup, default=None)


def _groups(evidence: Evidence, by: str | None) -> dict[str, list[int]]:
    if by is None:
        return {"": list(range(len(evidence.ids)))}
    if by not in evidence.by:
        raise ArgumentError("by", "one of " + ", ".join(evidence.by), repr(by))
    groups: dict[str, list[int]] = {}
    for k, value in enumerate(evidence.by[by]):
        groups.setdefault(value, []).append(k)
    return groups


def _labels(evidence: Evidence, labels: Labels) -> tuple[Sequence[bool | None], Sequence[bool | None]]:
    if labels == "all" and not evidence.is_journal:
        # a run's own verdicts
        columns = evidence.columns
        return columns.speculator_right.tolist(), columns.agent_right.tolist()
    return evidence.speculator_right, evidence.agent_right


def losses(evidence: Evidence, terms: Terms) -> Floats:
    """Loss of each question, if accepted, ``[n]``; what differs and has no label is lost."""
    small, large = _labels(evidence, terms.labels)
    lost = np.array([agree is not True for agree in evidence.agree], dtype=float)
    if terms.labels != "none":
        for k, (s, a) in enumerate(zip(small, large, strict=True)):
            if s is not None and a is not None and (terms.labels == "all" or lost[k]):
                lost[k] = float(a) - float(s)
    return np.maximum(lost, 0) if terms.counted == "harm" else lost
