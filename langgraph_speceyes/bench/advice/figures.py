"""What a certified composition would have done on the questions that certified it, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from langgraph_speceyes.bench.advice.costs import Savings, savings
from langgraph_speceyes.bench.compositions import Certified, Terms, certify
from langgraph_speceyes.bench.evidence import Evidence
from langgraph_speceyes.bench.statistics import (
    Estimate,
    Floats,
    estimate,
    mean_speedup,
    share,
    sums,
    total_speedup,
)
from langgraph_speceyes.bench.sweep import Mask
from langgraph_speceyes.options import Prices


@dataclass(frozen=True)
class Group:
    """One group of questions under the common gate.

    Attributes:
        value: The column's value.
        questions: How many.
        accepted: Share that the gate accepts.
        agreement: Share whose answer is the same as the agent's, whoever gives it.
        speedup: In total time.
        accuracy_change: Share right minus the agent's; None without labels.
        threshold: The lowest that keeps the limit in this group by itself, the confidence shared among the groups; None
            without one.
        least: Questions of the group that it takes to certify anything here.
    """

    value: str
    questions: int
    accepted: Estimate
    agreement: Estimate
    speedup: Estimate
    accuracy_change: Estimate | None
    threshold: float | None
    least: int


@dataclass(frozen=True)
class Figures:
    """All questions under the gate.

    Attributes:
        questions: How many.
        accepted: Share that the gate accepts.
        speedup: In total time: all seconds of the agent over all seconds with the bypass.
        speedup_mean: The unweighted mean of the groups' speed-ups.
        agreement: Share whose answer is the same as the agent's, whoever gives it.
        differing: Accepted answers that differ from the agent's, or were not found to agree.
        accuracy: Share right with the bypass; None without labels.
        accuracy_agent: Share right of the agent alone; None without labels.
        accuracy_change: The difference; None without labels.
        lost: Questions that the agent has right and the bypass wrong.
        won: The reverse.
        savings: What a question costs.
        by: The column of the groups; None without groups.
        groups: By value.
    """

    questions: int
    accepted: Estimate
    speedup: Estimate
    speedup_mean: Estimate
    agreement: Estimate
    differing: int
    accuracy: Estimate | None
    accuracy_agent: Estimate | None
    accuracy_change: Estimate | None
    lost: int
    won: int
    savings: Savings
    by: str | None
    groups: tuple[Group, ...]


def figures(
    evidence: Evidence,
    found: Certified,
    terms: Terms,
    tokens: Mapping[str, Floats],
    *,
    by: str | None,
    prices: Prices | None,
    audit: float,
) -> Figures:
    """The figures of a composition with its threshold.

    Args:
        evidence: The questions, ``[n]``.
        found: What was certified on them.
        terms: What was promised.
        tokens: By side, ``[n, 2]``.
        by: Column of the groups.
        prices: What tokens cost.
        audit: Share of accepted answers that are audited.
    """
    columns, bypass = evidence.columns, found.bypass
    together = _together(evidence)
    seconds, order = found.composition.seconds(evidence, found.places, found.threshold)
    judged, asked = found.composition.asked(evidence, found.places, found.threshold, order)
    tokens, speculated = _speculated(evidence, found, tokens, asked)
    values = [] if by is None else list(dict.fromkeys(evidence.by[by]))
    groups: list[Group] = []
    strata = []
    if len(values) > 1:
        alone = certify(evidence, found.composition, Terms(**{**vars(terms), "by": by}))
        for value in values:
            rows = np.array([one == value for one in evidence.by[by or ""]])
            strata.append(_timed(seconds, columns.agent_s, together, rows))
            promise = alone.parts[value].guarantee
            groups.append(
                Group(
                    value or "(none)",
                    int(rows.sum()),
                    share(bypass[rows].tolist()),
                    share(found.same(evidence)[rows].tolist()),
                    total_speedup(strata[-1:]),
                    _change(evidence, found, together, rows) if terms.labels == "all" else None,
                    promise.threshold,
                    promise.least,
                )
            )
    every = np.ones_like(bypass)
    total = _timed(seconds, columns.agent_s, together, every)
    right = found.right(evidence)
    known = terms.labels == "all"
    same = found.same(evidence)
    return Figures(
        questions=len(bypass),
        accepted=share(bypass.tolist()),
        speedup=total_speedup([total]),
        speedup_mean=mean_speedup(strata or [total]),
        agreement=share(same.tolist()),
        differing=int((~same).sum()),
        accuracy=share(right.tolist()) if known else None,
        accuracy_agent=share(columns.agent_right.tolist()) if known else None,
        accuracy_change=_change(evidence, found, together, every) if known else None,
        lost=int((columns.agent_right & ~right).sum()) if known else 0,
        won=int((right & ~columns.agent_right).sum()) if known else 0,
        savings=savings(
            columns.agent_s,
            seconds,
            tokens,
            {"judge": judged, "speculator": speculated, "agent": ~bypass},
            prices=prices,
            audit=audit,
            groups=together,
        ),
        by=by if groups else None,
        groups=tuple(groups),
    )


def _together(evidence: Evidence) -> Sequence[str] | None:
    """Rotations of one question are drawn together; a journal's questions stand alone."""
    return None if evidence.is_journal else evidence.by["group"]


def _timed(seconds: Floats, agent_s: Floats, together: Sequence[str] | None, rows: Mask) -> Floats:
    return sums([seconds[rows], agent_s[rows]], _some(together, rows))


def _some(together: Sequence[str] | None, rows: Mask) -> Sequence[str] | None:
    return None if together is None else [one for one, kept in zip(together, rows, strict=True) if kept]


def _speculated(
    evidence: Evidence, found: Certified, tokens: Mapping[str, Floats], asked: Sequence[Mask]
) -> tuple[dict[str, Floats], Mask]:
    """The small model's tokens at all depths that are asked, and which questions it sees."""
    by_number = (tokens["speculator"], *(one.tokens for one in evidence.deeper))
    depths = zip(found.composition.depths, asked, strict=True)
    spent = sum((here[:, None] * by_number[depth] for depth, here in depths), np.zeros_like(tokens["speculator"]))
    return {**tokens, "speculator": spent}, np.any(np.stack(list(asked)), axis=0)


def _change(evidence: Evidence, found: Certified, together: Sequence[str] | None, rows: Mask) -> Estimate:
    change = found.right(evidence).astype(float) - evidence.columns.agent_right
    return estimate(lambda means: np.asarray(means[..., 0]), [sums([change[rows]], _some(together, rows))])
