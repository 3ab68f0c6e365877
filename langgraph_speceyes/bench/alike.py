"""The same rule for the bypass, with looks and without, the plain cascade and the judge alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from langgraph_speceyes.bench.alike_depths import fastest_depths
from langgraph_speceyes.bench.calibrate import JUDGE_THRESHOLD, certified, fastest
from langgraph_speceyes.bench.calibrated import Calibrated
from langgraph_speceyes.bench.compositions import Composition, Terms
from langgraph_speceyes.bench.evidence import evidence_of
from langgraph_speceyes.bench.routes import deepest
from langgraph_speceyes.bench.runs import Outcome
from langgraph_speceyes.calibration import smallest_sample
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import Gate

RULES = ("guarantee", "paper")
WITHOUT_LOOKS = "speceyes:looks=0"
MAX_LOSS, CONFIDENCE = 0.02, 0.9
"""What is promised of each method where there are enough questions."""


@dataclass(frozen=True)
class Alike:
    """Methods with thresholds from the same questions by the same rule.

    Attributes:
        rule: `guarantee` or `paper`.
        says: The rule in words.
        found: By method, `speceyes`, `judge-only` (where there is a judge) and `cascade`; where there are looks
            `speceyes:looks=0` beside them.
    """

    rule: str
    says: str
    found: dict[str, Calibrated]


def calibrate_alike(
    outcomes: Sequence[Outcome],
    gate: Gate,
    *,
    judging: bool,
    rule: str | None = None,
    max_loss: float = MAX_LOSS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    looks: Sequence[str] = (),
) -> Alike:
    """Thresholds for all three from one run of the bypass.

    By `guarantee` the judge's threshold in front of the gate is fixed beforehand: the gate's own, or where yes and no
    are equally likely. That of the judge alone is what its promise is about. By `paper` the bypass chooses both.

    Args:
        outcomes: Of the bypass, run with both sides on calibration questions.
        gate: Score, K, models and the judge's threshold of the bypass.
        judging: Whether the bypass has a judge.
        rule: One of :data:`RULES`; without it the guarantee, or where there are too few questions for any, the paper's.
        max_loss: Most accuracy to lose against the agent; of a guarantee.
        confidence: How surely; of a guarantee.
        seed: Of the order in which questions are tested; of a guarantee.
        looks: What tells the looks of the bypass apart (:func:`~langgraph_speceyes.looks.look_id`).

    Raises:
        ArgumentError: The outcomes lack a side or a score, or an argument is out of range.
    """
    least = smallest_sample(max_loss, confidence)
    if rule is None:
        rule = "guarantee" if len(outcomes) >= least else "paper"
    if rule not in RULES:
        raise ArgumentError("rule", " or ".join(RULES), repr(rule))
    at = (JUDGE_THRESHOLD if gate.judge_threshold is None else gate.judge_threshold) if judging else None
    bypass = replace(gate.of_looks(0), judge_threshold=at, calibration=None)
    found: dict[str, Calibrated] = {}
    without = "speceyes"
    if deepest(outcomes):
        without = WITHOUT_LOOKS
        if rule == "paper":
            found["speceyes"] = fastest_depths(outcomes, bypass, choose_judge=judging)
    if rule == "paper":
        found[without] = fastest(outcomes, bypass, choose_judge=judging)
        if judging:
            found["judge-only"] = fastest(outcomes, bypass, gated=False)
        found["cascade"] = fastest(outcomes, replace(bypass, score="log", judge_threshold=None), choose_judge=False)
        says = f"the fastest thresholds that keep the agent's accuracy in every split of {len(outcomes)} questions"
        return Alike(rule, f"{says}, without a promise about others", found)
    evidence = evidence_of(outcomes, bypass, Path(), looks=looks)
    terms = Terms(max_loss, confidence, "net", "all", seed=seed)
    ways = {without: Composition(gate.score, at), "judge-only": Composition(None, None)}
    if evidence.deeper:
        ways = {"speceyes": Composition(gate.score, at, tuple(range(1 + len(evidence.deeper))))} | ways
    for name, way in {**ways, "cascade": Composition("log", None)}.items():
        if judging or name != "judge-only":
            found[name] = certified(evidence, way, terms)
    says = f"thresholds that lose at most {max_loss:.0%} of accuracy with {confidence:.0%} confidence"
    return Alike(rule, f"{says}, from {len(outcomes)} questions", found)
