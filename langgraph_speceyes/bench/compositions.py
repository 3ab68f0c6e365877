"""Ways to put judge and gate together, what each would have done on recorded questions, and which one to take."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from langgraph_speceyes.bench.composition import OPEN, Composition, Steps, Terms, steps_of
from langgraph_speceyes.bench.evidence import Evidence
from langgraph_speceyes.bench.sweep import Floats, Mask
from langgraph_speceyes.calibration import Labelled, Labels, labelled_threshold, labelled_thresholds
from langgraph_speceyes.calibration.chain import answered, first_accepting
from langgraph_speceyes.calibration.depth_labels import Found
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import AT_ONE_K
from langgraph_speceyes.state import Order

__all__ = [
    "OPEN",
    "Certified",
    "Composition",
    "Steps",
    "Terms",
    "answered_depths",
    "available",
    "certify",
    "chosen",
    "halves",
    "losses",
    "steps_of",
]


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
        needed: Positions of the answers whose labels would take it further: those of the first depth are 0 to n - 1,
            those of the next n to 2 n - 1.
        by: Place among the composition's depths of the one that answers, ``[n]``; their number for the agent. None
            where `bypass` says it all.
        by_depth: Thresholds of the depths; empty for one.
    """

    composition: Composition
    threshold: float | None
    parts: dict[str, Labelled]
    bypass: Mask
    lost: Floats
    speedup: float
    order: Order | None
    needed: tuple[int, ...]
    by: Steps | None = None
    by_depth: tuple[float, ...] = ()

    @property
    def places(self) -> Steps:
        """`by`, wherever it is known from."""
        return steps_of(self.bypass) if self.by is None else self.by

    def right(self, evidence: Evidence) -> Mask:
        """Whether the answer is right, ``[n]``."""
        by_number = (evidence.columns.speculator_right, *(one.right for one in evidence.columns.deeper))
        right = np.stack([by_number[depth] for depth in self.composition.depths])
        return answered(right, evidence.columns.agent_right, self.places)

    def same(self, evidence: Evidence) -> Mask:
        """Whether it is what the agent says, ``[n]``, whoever gives it."""
        return answered(_agreeing(evidence, self.composition.depths), np.ones_like(self.bypass), self.places)

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
    asked = answered_depths(evidence)
    found = [Composition(score, None) for score in scores if 0 in asked]
    if judged:
        found += [Composition(score, at) for score in scores if at is not None and 0 in asked]
        found.append(Composition(None, None))
    for count in range(1, 1 + len(asked)):
        for depths in combinations(asked, count):
            # a judge has a say about depth 0 only; one depth needs no way to share
            judges = [None, at] if judged and at is not None and 0 in depths else [None]
            ways: tuple[Found, ...] = ("path", "separate") if count > 1 else ("path",)
            if depths != (0,):
                found += [Composition(score, j, depths, way) for j in judges for score in scores for way in ways]
    return found


def answered_depths(evidence: Evidence) -> tuple[int, ...]:
    """The depths with an answer: one without a single answer says nothing about a threshold."""
    answered_at = (evidence.answered, *(one.answered for one in evidence.deeper))
    return tuple(depth for depth, answers in enumerate(answered_at) if answers.any())


def certify(evidence: Evidence, composition: Composition, terms: Terms, *, extrapolate: bool = False) -> Certified:
    """The lowest threshold with the promise; where groups have one each, the highest of theirs.

    Each group's test goes down one grid, and all thresholds it passed keep its promise together. So the highest of the
    groups' thresholds is among those that each has passed.

    Raises:
        ArgumentError: Labels or the column are missing, or a limit is out of range.
        MissingExtraError: `harm` without SciPy.
    """
    if composition.depths != (0,):
        return _certify_depths(evidence, composition, terms, extrapolate=extrapolate)
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
    seconds, order = composition.seconds(evidence, steps_of(bypass), threshold)
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


def _certify_depths(
    evidence: Evidence, composition: Composition, terms: Terms, *, extrapolate: bool = False
) -> Certified:
    """The same for several depths: the highest threshold of the groups at each depth.

    A depth that has no threshold by itself is left out. That is no other composition than the one which was certified:
    what each depth may lose by itself does not depend on the others.
    """
    scores, agree = composition.scores(evidence), _agreeing(evidence, composition.depths)
    small, large, over = _depth_labels(evidence, composition.depths, terms.labels)
    groups = _groups(evidence, terms.by)
    confidence = 1 - (1 - terms.confidence) / len(groups) if len(groups) > 1 else terms.confidence
    parts: dict[str, Labelled] = {}
    needed: list[int] = []
    n = len(evidence.ids)
    for value, rows in groups.items():
        parts[value] = labelled_thresholds(
            scores[:, rows],
            labels=terms.labels,
            agree=list(agree[:, rows]),
            speculator_right=[[column[k] for k in rows] for column in small],
            agent_right=[large[k] for k in rows],
            passed_over=over[:, rows],
            max_loss=terms.max_loss,
            confidence=confidence,
            method=terms.counted,
            found="path" if terms.labels == "disagreements" else composition.found,
            seed=terms.seed,
            extrapolate=extrapolate,
        )
        needed += [at // len(rows) * n + rows[at % len(rows)] for at in parts[value].needed]
    each = [part.by_depth.thresholds if part.by_depth else (None,) * len(scores) for part in parts.values()]
    highest = [
        None if None in column else max(t for t in column if t is not None) for column in zip(*each, strict=True)
    ]
    kept = [place for place, threshold in enumerate(highest) if threshold is not None]
    if kept and len(kept) < len(highest):
        composition = replace(composition, depths=tuple(composition.depths[place] for place in kept))
        scores = scores[kept]
    thresholds = [threshold for threshold in highest if threshold is not None]
    by = first_accepting(scores, np.array(thresholds)) if kept else np.full(n, len(scores))
    if composition.depths[0] > 0 and composition.judge_threshold is not None:
        composition = replace(composition, judge_threshold=None)
    seconds, order = composition.seconds(evidence, by, thresholds[0] if kept else None)
    lost = np.stack([losses(evidence, terms, depth) for depth in composition.depths])
    agent = evidence.columns.agent_s
    return Certified(
        composition,
        thresholds[0] if kept else None,
        parts,
        by < len(scores),
        answered(lost, np.zeros(n), by),
        float(agent.mean() / seconds.mean()) if kept and seconds.mean() else 1.0,
        order,
        tuple(sorted(needed, key=lambda at: -scores.ravel()[at])) if len(kept) in (0, len(highest)) else (),
        by,
        tuple(thresholds),
    )


def _agreeing(evidence: Evidence, depths: Sequence[int]) -> Mask:
    """Whether the answer at each depth agrees with the agent's, ``[depths, n]``."""
    by_number = (evidence.agree, *(one.agree for one in evidence.deeper))
    return np.array([[one is True for one in by_number[depth]] for depth in depths], dtype=bool)


def _depth_labels(
    evidence: Evidence, depths: Sequence[int], labels: Labels
) -> tuple[list[Sequence[bool | None]], Sequence[bool | None], Mask]:
    """Labels of each depth's answers and of the agent's, and which answers were passed over."""
    small, large = _labels(evidence, labels)
    deeper: list[Sequence[bool | None]] = [one.right for one in evidence.deeper]
    if labels == "all" and not evidence.is_journal:
        deeper = [one.right.tolist() for one in evidence.columns.deeper]
    over = (evidence.passed_over, *(one.passed_over for one in evidence.deeper))
    return [(small, *deeper)[depth] for depth in depths], large, np.stack([over[depth] for depth in depths])


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


def losses(evidence: Evidence, terms: Terms, depth: int = 0) -> Floats:
    """Loss of each question, if accepted at a depth, ``[n]``; what differs and has no label is lost."""
    (small,), large, _ = _depth_labels(evidence, [depth], terms.labels)
    lost = (~_agreeing(evidence, [depth])[0]).astype(float)
    if terms.labels != "none":
        for k, (s, a) in enumerate(zip(small, large, strict=True)):
            if s is not None and a is not None and (terms.labels == "all" or lost[k]):
                lost[k] = float(a) - float(s)
    found: Floats = np.maximum(lost, 0) if terms.counted == "harm" else lost
    return found
