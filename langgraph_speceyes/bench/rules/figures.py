"""The benchmarks' own figures over scored answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langgraph_speceyes.bench.rules.scored import Scored
from langgraph_speceyes.errors import ArgumentError

ROTATIONS = 4
"""How often HR-Bench asks each question."""


@dataclass(frozen=True)
class YesNoFigures:
    """POPE's figures, with "yes" as the positive answer.

    Attributes:
        n: Rows.
        accuracy: Right among all rows.
        precision: Right among those answered yes; 0 if none was.
        recall: Answered yes among those where yes is right; 0 if it never is.
        f1: Their harmonic mean; 0 if both are.
        yes_ratio: Answered yes among all rows.
        unanswered: Rows that were answered neither yes nor no.
    """

    n: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    yes_ratio: float
    unanswered: int


def yes_no_figures(answers: Sequence[str], scored: Sequence[Scored]) -> YesNoFigures:
    """POPE's figures (lmms-eval's pope, VLMEvalKit's POPE_rating).

    Unlike lmms-eval's, the yes-ratio is that of the predictions and not of the right answers, and an unanswered row
    counts: as wrong, and against recall if yes was right.

    Args:
        answers: The right answers, `[n]`, each `yes` or `no`; empty for a bad row whose answer is not known.
        scored: What :func:`score` says of the predictions, `[n]`, in the same order.

    Raises:
        ArgumentError: There are no rows, or not as many of both.
    """
    _check(scored, answers, "answers")
    gold = [answer.strip().lower() for answer in answers]
    read = [one.read if one.read in ("yes", "no") else None for one in scored]
    hits = sum(g == r == "yes" for g, r in zip(gold, read, strict=True))
    said, wanted = read.count("yes"), gold.count("yes")
    return YesNoFigures(
        n=len(gold),
        accuracy=sum(g == r for g, r in zip(gold, read, strict=True)) / len(gold),
        precision=hits / said if said else 0.0,
        recall=hits / wanted if wanted else 0.0,
        f1=2 * hits / (said + wanted) if hits else 0.0,
        yes_ratio=said / len(gold),
        unanswered=read.count(None),
    )


@dataclass(frozen=True)
class CycleFigures:
    """HR-Bench's figures.

    Attributes:
        n: Rows.
        mean: Right among all rows: what lmms-eval and VLMEvalKit report, since their mean over rotations is over parts
            of equal size.
        groups: Questions, each with its rotations.
        all_right: Questions with every rotation right, among all questions.
        incomplete: Questions with less rotations than they should have; they count as not all right.
    """

    n: int
    mean: float
    groups: int
    all_right: float
    incomplete: int


def cycle_figures(groups: Sequence[str], scored: Sequence[Scored], *, rotations: int = ROTATIONS) -> CycleFigures:
    """HR-Bench's figures over all rows, or over those of one split.

    Args:
        groups: The items' `group`, `[n]`; empty for a bad row, which counts in the mean and leaves its question
            incomplete.
        scored: What :func:`score` says of the predictions, `[n]`, in the same order.
        rotations: How many rows a complete question has.

    Raises:
        ArgumentError: There are no rows, or not as many of both.
    """
    _check(scored, groups, "groups")
    rows: dict[str, list[bool]] = {}
    for group, one in zip(groups, scored, strict=True):
        if group:
            rows.setdefault(group, []).append(one.right)
    complete = [right for right in rows.values() if len(right) >= rotations]
    return CycleFigures(
        n=len(scored),
        mean=sum(one.right for one in scored) / len(scored),
        groups=len(rows),
        all_right=sum(map(all, complete)) / len(rows) if rows else 0.0,
        incomplete=len(rows) - len(complete),
    )


def _check(scored: Sequence[Scored], others: Sequence[str], name: str) -> None:
    if not scored:
        raise ArgumentError("scored", "at least one row", "none")
    if len(scored) != len(others):
        raise ArgumentError(name, f"{len(scored)}, one for each row", len(others))
