"""From a run on calibration questions, or a journal, to a gate: `speceyes calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike

import numpy as np

from langgraph_speceyes.bench.calibrated import AtDepth, Calibrated, Loss, Tried
from langgraph_speceyes.bench.compositions import (
    OPEN,
    Certified,
    Composition,
    Terms,
    available,
    certify,
    chosen,
    halves,
)
from langgraph_speceyes.bench.evidence import Evidence, read_evidence
from langgraph_speceyes.bench.runs import Outcome
from langgraph_speceyes.bench.sweep import Deeper, Table, screened_by, swept, table
from langgraph_speceyes.calibration import LABELS, operating_points
from langgraph_speceyes.calibration.chain import replay
from langgraph_speceyes.calibration.guarantee import METHODS
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import AT_ONE_K, Gate, check_score

JUDGE_THRESHOLD = 0.5
"""Where yes and no are equally likely."""


def calibrate_run(
    source: str | PathLike[str],
    *,
    method: str = "guarantee",
    max_loss: float = 0.01,
    confidence: float = 0.95,
    counted: str = "net",
    labels: str = "all",
    score: str | None = None,
    judge_threshold: float | None = None,
    splits: Sequence[str] | None = None,
    by: str | None = None,
    groups: bool = False,
    choose: bool = False,
) -> Calibrated:
    """A gate for the models of a run, or for those behind a journal.

    A promise needs calibration questions that are independent draws of what the gate will meet, and everything else
    fixed without looking at their outcomes. With `choose` that is so for the composition, too: it is chosen on one half
    of the questions, by image, and certified on the other.

    Args:
        source: The folder of a run of a bypass with `--full`, on calibration questions; or a journal (file or
            ``postgresql://`` URL), of which the records of mode ``"shadow"`` and of the newest record's gate count.
        method: `guarantee`, or `paper` (:func:`fastest`), for a run with all labels.
        max_loss: Most to lose against the agent, a share of all questions; of a guarantee.
        confidence: How surely; of a guarantee.
        counted: What counts as lost, `net` or `harm`; of a guarantee, and the same thing without labels.
        labels: `all`, `disagreements` or `none`; see :func:`~langgraph_speceyes.calibration.labelled_threshold`. The
            labels of a run are its own verdicts, or those of `speceyes label` once there is one.
        score: Which answer score; the default is the run's or journal's.
        judge_threshold: The judge's; the default likewise.
        splits: Only these, of a run.
        by: Column to show losses by.
        groups: Whether each value of that column gets a promise of its own.
        choose: Whether to choose the composition: judge or none, the score, the order, the judge alone; of a run with
            looks also which depths are asked, the first answer among them, and whether their thresholds are found along
            a path or each by itself.

    Raises:
        ArgumentError: The source cannot be used, was made on test questions, or another argument is out of range.
        JournalError: The database is another program's.
        MissingExtraError: `harm` without SciPy.
    """
    if method not in ("guarantee", "paper"):
        raise ArgumentError("method", "guarantee or paper", repr(method))
    terms = terms_of(max_loss, confidence, counted, labels, by if groups else None)
    if groups and by is None:
        raise ArgumentError("by", "a column, whose values get a promise each", "None")
    evidence, composition = prepared(source, score=score, judge_threshold=judge_threshold, splits=splits)
    if method == "paper" and evidence.deeper:
        raise ArgumentError("method", "guarantee, for a run with looks", "'paper'")
    if method == "paper":
        if evidence.is_journal or labels != "all" or groups or choose:
            raise ArgumentError("method", "guarantee, for a journal, other labels, groups or a choice", "'paper'")
        return fastest(evidence.outcomes, evidence.gate, choose_judge=judge_threshold is None)
    tried: tuple[Tried, ...] = ()
    if choose:
        if score is not None:
            raise ArgumentError("score", "None where it is to be chosen", repr(score))
        first, evidence = halves(evidence)
        for half in (first, evidence):
            if not half.ids:
                raise ArgumentError("choose", "questions about more images", "no image in one of the halves")
        composition, tried = choose_composition(first, terms, composition)
    return certified(evidence, composition, terms, by, tried, extrapolate=True)


def terms_of(max_loss: float, confidence: float, counted: str, labels: str, by: str | None) -> Terms:
    """What is to be promised, checked.

    Raises:
        ArgumentError: A name is unknown.
    """
    if counted not in METHODS:
        raise ArgumentError("counted", "one of " + ", ".join(METHODS), repr(counted))
    if labels not in LABELS:
        raise ArgumentError("labels", "one of " + ", ".join(LABELS), repr(labels))
    # without labels nothing is gained, so that both count the same; the exact test accepts more
    return Terms(max_loss, confidence, "harm" if labels == "none" else counted, labels, by)


def prepared(
    source: str | PathLike[str],
    *,
    score: str | None = None,
    judge_threshold: float | None = None,
    splits: Sequence[str] | None = None,
    people: bool = False,
) -> tuple[Evidence, Composition]:
    """The evidence of a run or journal, and the composition that it was recorded with, or that was asked for.

    Raises:
        ArgumentError: The source cannot be used, or lacks the score or the judge.
        JournalError: The database is another program's.
    """
    evidence = read_evidence(source, splits=splits, people=people)
    at = evidence.gate.judge_threshold if judge_threshold is None else judge_threshold
    depths = tuple(range(1 + len(evidence.deeper)))
    if evidence.deeper and not evidence.answered.any():
        # where the first look is always taken nothing is known of the answer without one, nor of a judge
        depths, at = depths[1:], judge_threshold
    evidence = replace(
        evidence, gate=replace(evidence.gate, score=check_score(score or evidence.gate.score), judge_threshold=at)
    )
    _check_score(evidence.gate.score, evidence.columns)
    if evidence.gate.score in AT_ONE_K and len(evidence.ks) > 1:
        raise ArgumentError("k", f"one K for the score {evidence.gate.score!r}", f"scores of K = {list(evidence.ks)}")
    screened_by(evidence.columns, at)
    return evidence, Composition(evidence.gate.score, at, depths)


def choose_composition(half: Evidence, terms: Terms, default: Composition) -> tuple[Composition, tuple[Tried, ...]]:
    """The fastest composition that can be certified on a half, and all that were tried; the default where none can."""
    original = terms
    if terms.labels == "disagreements":
        # no labels are spent on choosing
        terms = replace(terms, labels="none", counted="harm")
    # labels are asked for along a path only
    ways = [one for one in available(half) if one.found == "path" or original.labels != "disagreements"]
    every = [certify(half, one, terms) for one in ways]
    best = chosen(every)
    shown = tuple(
        Tried(one.composition.name, one.threshold, one.accepted, one.loss, one.speedup, one.order, one is best)
        for one in sorted(every, key=lambda one: -one.speedup)
    )
    return best.composition if best else default, shown


def certified(
    evidence: Evidence,
    composition: Composition,
    terms: Terms,
    by: str | None = None,
    tried: tuple[Tried, ...] = (),
    *,
    extrapolate: bool = False,
) -> Calibrated:
    """A gate for one composition, with the promise; None for the gate where nothing can be certified.

    Args:
        evidence: The questions.
        composition: Fixed without looking at their outcomes.
        terms: What is to be promised.
        by: Column to show losses by.
        tried: What was tried on other questions.
        extrapolate: Whether to estimate how many more questions should do.

    Raises:
        ArgumentError: Labels, the score or the column are missing, or a limit is out of range.
        MissingExtraError: `harm` without SciPy.
    """
    if composition.score is not None:
        _check_score(composition.score, evidence.columns)
        for one in evidence.columns.deeper if composition.depths != (0,) else ():
            _check_score(composition.score, one)
    found = certify(evidence, composition, terms, extrapolate=extrapolate)
    return calibrated(evidence, found, terms, by, tried)


def calibrated(
    evidence: Evidence, found: Certified, terms: Terms, by: str | None, tried: tuple[Tried, ...]
) -> Calibrated:
    """The gate of a composition that was certified on some evidence, and how it does there."""
    promises = list(found.parts.values())
    one = promises[0].guarantee
    if len(promises) > 1:
        one = replace(
            one,
            threshold=found.threshold,
            confidence=terms.confidence,
            n=len(evidence.ids),
            accepted=found.accepted,
            loss=found.loss,
            least=sum(part.guarantee.least for part in promises),
            more_needed=None,
        )
    together = promises[0].by_depth if len(promises) == 1 else None
    record = {**replace(promises[0], guarantee=one, by_depth=together).to_dict()}
    if terms.by is not None:
        record["groups"] = {"by": terms.by, **{value: part.to_dict() for value, part in found.parts.items()}}
    known = terms.labels == "all"
    right, composition = found.right(evidence), found.composition
    by_depth = [part.by_depth for part in promises if part.by_depth is not None]
    if len(by_depth) > 1:
        shorter = all(part.shorter for part in by_depth)
        record |= {"thresholds": list(found.by_depth), "found": by_depth[0].found, "shorter": shorter}
    gate = None
    if found.threshold is not None:
        gate = composition.gate(evidence, found.threshold, record, found.by_depth)
    return Calibrated(
        gate=gate,
        guarantee=one,
        questions=len(evidence.ids),
        accepted=found.accepted,
        accuracy=float(right.mean()) if known else None,
        agent_accuracy=float(evidence.columns.agent_right.mean()) if known else None,
        speedup=found.speedup,
        composition=composition.name if evidence.deeper else None,
        depths=_depths(evidence, found),
        labels=terms.labels,
        differing=sum(part.differing for part in promises),
        labelled=sum(part.labelled for part in promises),
        needed=len(found.needed),
        by=by,
        losses=_losses(evidence, found, terms, by),
        tried=tried,
        order=found.order,
        left_out={reason: count for reason, count in evidence.left_out.items() if count},
    )


def _depths(evidence: Evidence, found: Certified) -> tuple[AtDepth, ...]:
    """The gate by depth, where there are looks."""
    if not evidence.deeper or found.threshold is None:
        return ()
    thresholds = found.by_depth or (found.threshold,)
    return tuple(
        AtDepth(
            depth=depth,
            look=evidence.looks[depth - 1] if depth else None,
            threshold=threshold,
            accepted=float((found.places == place).mean()),
            loss=float((found.lost * (found.places == place)).mean()),
        )
        for place, (depth, threshold) in enumerate(zip(found.composition.depths, thresholds, strict=True))
    )


def _losses(evidence: Evidence, found: Certified, terms: Terms, by: str | None) -> tuple[Loss, ...]:
    if by is None:
        return ()
    if by not in evidence.by:
        raise ArgumentError("by", "one of " + ", ".join(evidence.by), repr(by))
    losses = []
    for value in dict.fromkeys(evidence.by[by]):
        rows = np.array([one == value for one in evidence.by[by]])
        promise = found.parts[value].guarantee if terms.by is not None else None
        losses.append(
            Loss(
                value,
                int(rows.sum()),
                float(found.bypass[rows].mean()),
                float((found.bypass * found.lost)[rows].mean()),
                promise is not None and found.threshold is not None,
                promise.threshold if promise else None,
                promise.least if promise else 0,
            )
        )
    return tuple(losses)


def _check_score(score: str, columns: Table | Deeper) -> None:
    if score not in columns.scores:
        raise ArgumentError("score", f"one that was recorded: {', '.join(columns.scores)}", score)


def fastest(outcomes: Sequence[Outcome], gate: Gate, *, choose_judge: bool = True, gated: bool = True) -> Calibrated:
    """The paper's way: the fastest operating point that keeps the agent's accuracy on these questions, in every split.

    Thresholds of gate and judge are tried together; the latency of each pair is
    ``c_J + beta * c_S + (1 - beta * alpha) * L_agent`` of these very runs. Of the points that are within 1 % of the
    fastest, the one with the highest gate threshold is taken. No promise about other questions comes with it.

    The accuracy must be kept in every split: otherwise what is gained in one, where the small model happens to be the
    better one, would be spent on mistakes in another.

    Args:
        outcomes: Of a bypass, run with `--full` on calibration questions.
        gate: Score, K and models; its threshold does not matter.
        choose_judge: Whether to choose the judge's threshold too, or keep the gate's.
        gated: Whether a gate comes behind the judge; without one every speculation passes that has a token.

    Raises:
        ArgumentError: The outcomes lack a side, or the score.
    """
    columns = table(outcomes)
    _check_score(gate.score, columns)
    names = [o["split"] for o in outcomes]
    splits = np.array([[name == split for name in names] for split in dict.fromkeys(names)], dtype=float)
    lost_none = splits @ columns.agent_right
    judges: list[float | None] = [gate.judge_threshold]
    if choose_judge and not np.isnan(columns.judge_s).all():
        known = columns.tool_need[~np.isnan(columns.tool_need)]
        judges = [JUDGE_THRESHOLD, *map(float, operating_points(known))] if known.size else [JUDGE_THRESHOLD]
    found: list[tuple[float, float, float | None]] = []
    thresholds = operating_points(columns.scores[gate.score]) if gated else [OPEN]
    for at in judges:
        tried = replay(
            [columns.scores[gate.score]],
            [columns.speculator_right],
            columns.agent_right,
            [[threshold] for threshold in thresholds],
            depth_s=[columns.speculate_s],
            agent_s=columns.agent_s,
            judge_s=None if at is None else columns.judge_s,
            eligible=[~screened_by(columns, at)],
        )
        keeps = np.all(tried.right @ splits.T >= lost_none, axis=1)
        seconds = tried.seconds.mean(axis=1)
        found += [(float(seconds[k]), float(thresholds[k]), at) for k in np.flatnonzero(keeps)]
    # where not even the highest threshold keeps it, nothing will: a wrong answer has the score 1
    nobody = (1 - 1e-9, gate.judge_threshold) if gated else (OPEN, 1e-9)
    found = found or [(float(columns.agent_s.mean()), *nobody)]
    near = [point for point in found if point[0] <= 1.01 * min(found)[0]]
    _, threshold, at = max(near, key=lambda point: (point[1], -point[0]))
    record = {"method": "paper", "questions": len(columns.agent_s)}
    one = swept(columns, score=gate.score, threshold=threshold, judge_threshold=at)
    return Calibrated(
        gate=replace(gate, threshold=threshold, judge_threshold=at, calibration=record),
        guarantee=None,
        questions=len(columns.agent_s),
        accepted=float(one.bypass.mean()),
        accuracy=float(one.right.mean()),
        agent_accuracy=float(columns.agent_right.mean()),
        speedup=float(columns.agent_s.mean() / one.seconds.mean()) if one.seconds.mean() else 1.0,
    )
