"""Advice from one's own traffic: `speceyes advise`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import Any

import numpy as np

from langgraph_speceyes.bench.advice.against import Facts, facts
from langgraph_speceyes.bench.advice.costs import tokens_of
from langgraph_speceyes.bench.advice.depths import unpaid
from langgraph_speceyes.bench.advice.figures import Figures, figures
from langgraph_speceyes.bench.advice.live import Live, live
from langgraph_speceyes.bench.advice.steps import SHADOW, next_steps
from langgraph_speceyes.bench.advice.verdict import WORTH, Verdict, judged, sentence
from langgraph_speceyes.bench.calibrate import calibrated, choose_composition, terms_of
from langgraph_speceyes.bench.calibrated import Calibrated, Tried
from langgraph_speceyes.bench.compositions import Composition, Terms, answered_depths, available, certify, halves
from langgraph_speceyes.bench.evidence import Evidence, read_evidence
from langgraph_speceyes.bench.journals import is_journal, public_name, read_journal
from langgraph_speceyes.calibration import Guarantee, smallest_sample
from langgraph_speceyes.calibration.watched import AUDIT_FLOOR
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.options import Prices
from langgraph_speceyes.traffic.record import Record

__all__ = ["Advice", "advise"]

ROOM = 2.0
"""A half takes part in choosing if it has so many times the questions that it takes to certify anything."""


@dataclass(frozen=True)
class Advice:
    """What to do, and what it rests on.

    Attributes:
        source: The run's folder or the journal, as it may be shown.
        is_journal: Whether it is a journal.
        labels: Which questions have labels; `none` measures agreement with the agent.
        verdict: ``"use"``, ``"trade_off"``, ``"not_yet"`` or ``"do_not"``.
        why: Its reasons.
        words: Both as a sentence.
        to_do: What to do next, a sentence each.
        more_questions: How many more would tell; None where no number can be given.
        questions: Questions that count.
        chosen_on: How many of them the composition was chosen on; 0 where it is the recorded one.
        left_out: Questions that do not count, by the reason.
        facts: What the questions say whatever the threshold; None without any.
        composition: What the gate compares, by name; None without a gate.
        calibrated: The gate with its promise; None where there was nothing to certify.
        figures: What it would have done; None without a gate.
        live: What a gate in force has done since; None without such records.
    """

    source: str
    is_journal: bool
    labels: str
    verdict: Verdict
    why: tuple[str, ...]
    words: str
    to_do: tuple[str, ...]
    more_questions: int | None
    questions: int
    chosen_on: int
    left_out: dict[str, int]
    facts: Facts | None
    composition: str | None
    calibrated: Calibrated | None
    figures: Figures | None
    live: Live | None

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        parts = asdict(replace(self, calibrated=None))
        return parts | {"calibrated": self.calibrated.to_dict() if self.calibrated else None}


@dataclass(frozen=True)
class Material:
    """What advice and its page are made of.

    Attributes:
        advice: The advice.
        evidence: All questions that count; None without any.
        measured: The questions that the figures are of; None without figures.
        composition: The one that was to be certified; None likewise.
        terms: What was to be promised.
        records: The journal's, in order; empty for a run.
        source: The run's folder or the journal, as it was named.
    """

    advice: Advice
    evidence: Evidence | None
    measured: Evidence | None
    composition: Composition | None
    terms: Terms
    records: tuple[Record, ...]
    source: str | PathLike[str]


def advise(source: str | PathLike[str], **options: Any) -> Advice:
    """Whether to put the bypass in front of an agent, from its own questions; options as :func:`material` takes them.

    Raises:
        ArgumentError: The source cannot be used, or an option is out of range.
        JournalError: The database is another program's.
        MissingExtraError: SciPy is not installed.
    """
    return material(source, **options).advice


def material(
    source: str | PathLike[str],
    *,
    max_loss: float = 0.02,
    confidence: float = 0.9,
    counted: str | None = None,
    labels: str | None = None,
    splits: Sequence[str] | None = None,
    by: str | None = None,
    prices: Prices | None = None,
    audit: float | None = None,
    worth: float = WORTH,
) -> Material:
    """Advice, and what its page is made of.

    The composition (judge or none, score, order) is chosen on one half of the questions, by image, and its threshold is
    certified and measured on the other. With too few questions for two halves it is the recorded one, on all of them.

    Args:
        source: The folder of a run of a bypass with `--full` on calibration questions; or a journal with shadow
            records, by its file or its ``postgresql://`` URL.
        max_loss: Most to lose against the agent, a share of all questions.
        confidence: How surely.
        counted: What counts as lost, `net` or `harm`; the default is `harm` without labels, where nothing can be
            gained and its test needs fewer questions, else `net`.
        labels: `all`, `disagreements` or `none`; the default is `all` for a run and `none` for a journal.
        splits: Only these, of a run.
        by: Column of the groups; the default is a run's `split`, a journal's `group`.
        prices: What tokens cost.
        audit: Share of accepted answers that the agent is to answer again; the default is what a gate that opens itself
            comes to without labels, else none.
        worth: The least speed-up that is worth it.

    Raises:
        ArgumentError: The source cannot be used, or another argument is out of range.
        JournalError: The database is another program's.
        MissingExtraError: SciPy is not installed.
    """
    of_journal = is_journal(source, "source")
    labels = labels or ("none" if of_journal else "all")
    terms = terms_of(max_loss, confidence, counted or ("harm" if labels == "none" else "net"), labels, None)
    audit = (AUDIT_FLOOR if labels == "none" else 0.0) if audit is None else audit
    for name, value, low, high in (("audit", audit, 0.0, 1.0), ("worth", worth, 1.0, float("inf"))):
        if isinstance(value, bool) or not low <= value <= high:
            raise ArgumentError(name, f"a number from {low:g}" + (f" to {high:g}" if high == 1 else " on"), value)
    records = read_journal(source) if of_journal else ()
    by_id = {record["id"]: record for record in records}
    seen = live(records)
    if of_journal and not any(record["mode"] == "shadow" for record in records):
        return _nothing(source, terms, records, seen)
    evidence = read_evidence(source, splits=splits)
    left_out = {reason: count for reason, count in evidence.left_out.items() if count}
    known = evidence.columns.agent_s > 0
    if not known.all():
        left_out["without the agent's seconds, as it failed"] = int((~known).sum())
        evidence = evidence.part(known)
    if not evidence.ids:
        return _nothing(source, terms, records, seen, left_out)
    by = by or _by(evidence)
    if by is not None and by not in evidence.by:
        raise ArgumentError("by", "one of " + ", ".join(evidence.by), repr(by))
    stands = facts(evidence, terms, by_id)
    measured, composition, tried = _composed(evidence, terms)
    found = certify(measured, composition, terms, extrapolate=True) if stands.answered else None
    gate = calibrated(measured, found, terms, None, tried) if found else None
    numbers = None
    if found is not None and found.threshold is not None:
        tokens = tokens_of(measured, by_id)
        numbers = figures(measured, found, terms, tokens, by=by, prices=prices, audit=audit)
    if gate is None or gate.guarantee is None:
        verdict, why, more = judged(stands, composition, _no_guarantee(terms, len(evidence.ids)), None, worth)
    else:
        chosen = any(one.taken for one in tried)
        verdict, why, more = judged(stands, composition, gate.guarantee, numbers, worth, chosen=chosen)
    advice = Advice(
        source=public_name(source),
        is_journal=evidence.is_journal,
        labels=labels,
        verdict=verdict,
        why=tuple(why),
        words=sentence(verdict, why),
        to_do=next_steps(
            verdict, evidence, gate, numbers, terms, composition, seen, unpaid(measured, found) if found else ()
        ),
        more_questions=more,
        questions=len(evidence.ids),
        chosen_on=len(evidence.ids) - len(measured.ids),
        left_out=left_out,
        facts=stands,
        composition=composition.name if numbers else None,
        calibrated=gate,
        figures=numbers,
        live=seen,
    )
    return Material(advice, evidence, measured if numbers else None, composition, terms, records, source)


def _by(evidence: Evidence) -> str | None:
    """The column that figures are shown by, where it has several values."""
    column = "group" if evidence.is_journal else "split"
    return column if len(set(evidence.by[column])) > 1 else None


def _composed(evidence: Evidence, terms: Terms) -> tuple[Evidence, Composition, tuple[Tried, ...]]:
    """The questions to certify on, the composition, and those it was chosen from."""
    recorded = _recorded(evidence)
    first, second = halves(evidence)
    least = smallest_sample(terms.max_loss, terms.confidence, terms.counted)
    # decided by numbers alone, so that it voids nothing
    if min(len(first.ids), len(second.ids)) < ROOM * least or not (answered_depths(first) and answered_depths(second)):
        return evidence, recorded, ()
    return second, *choose_composition(first, terms, recorded)


def _recorded(evidence: Evidence) -> Composition:
    score, at = evidence.gate.score, evidence.gate.judge_threshold
    judged = not np.isnan(evidence.columns.judge_s).all()
    compositions = available(evidence)
    depths = answered_depths(evidence) or (0,)
    one = Composition(score, at if judged and 0 in depths else None, depths)
    return one if not compositions or one in compositions else compositions[0]


def _no_guarantee(terms: Terms, n: int) -> Guarantee:
    least = smallest_sample(terms.max_loss, terms.confidence, terms.counted)
    return Guarantee(None, terms.max_loss, terms.confidence, terms.counted, n, 0.0, 0.0, least, None, terms.seed)


def _nothing(
    source: str | PathLike[str],
    terms: Terms,
    records: tuple[Record, ...],
    seen: Live | None,
    left_out: Mapping[str, int] | None = None,
) -> Material:
    """Advice where no question has both answers."""
    least = smallest_sample(terms.max_loss, terms.confidence, terms.counted)
    what = f"none of the journal's {len(records)} records is" if records else "the journal holds no record"
    why = (f'{what} of mode "shadow" with the agent\'s answer: {least} such questions are the least it takes',)
    advice = Advice(
        source=public_name(source),
        is_journal=True,
        labels=terms.labels,
        verdict="not_yet",
        why=why,
        words=sentence("not_yet", why),
        to_do=(SHADOW,),
        more_questions=least,
        questions=0,
        chosen_on=0,
        left_out=dict(left_out)
        if left_out is not None
        else ({'not of mode "shadow"': len(records)} if records else {}),
        facts=None,
        composition=None,
        calibrated=None,
        figures=None,
        live=seen,
    )
    return Material(advice, None, None, None, terms, records, source)
