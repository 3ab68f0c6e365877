"""Figures that benchmarks publish of themselves: POPE's of yes and no, HR-Bench's of rotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from langgraph_speceyes.bench.rules import CycleFigures, Scored, YesNoFigures, cycle_figures, yes_no_figures
from langgraph_speceyes.bench.runs import BAD_ROW, Outcome
from langgraph_speceyes.bench.statistics import Estimate, Floats, estimate, share, sums


@dataclass(frozen=True)
class YesNo:
    """POPE's figures of a method on a split, F1 with its interval."""

    label: str
    column: str
    figures: YesNoFigures
    f1: Estimate


@dataclass(frozen=True)
class Cycle:
    """HR-Bench's figures of a method on a split, all-right with its interval."""

    label: str
    column: str
    figures: CycleFigures
    all_right: Estimate


def yes_no(outcomes: Sequence[Outcome]) -> tuple[YesNoFigures, Estimate] | None:
    """POPE's figures, if all rows that could be used are its kind."""
    if {o["rule"] for o in outcomes} - {BAD_ROW} != {"yes_no"}:
        return None
    scored = [_scored(o) for o in outcomes]
    gold = [o["expected"].strip().lower() for o in outcomes]
    said = [one.read == "yes" for one in scored]
    wanted = [one == "yes" for one in gold]
    hits = [a and b for a, b in zip(said, wanted, strict=True)]

    def f1(means: Floats) -> Floats:
        return np.asarray(2 * means[..., 0] / (means[..., 1] + means[..., 2]))

    return yes_no_figures(gold, scored), estimate(f1, [sums([hits, said, wanted])])


def cycle(label: str, key: str, outcomes: Sequence[Outcome]) -> Cycle:
    """HR-Bench's figures of a method on a split."""
    groups = [o["group"] for o in outcomes]
    figures = cycle_figures(groups, [_scored(o) for o in outcomes])
    hits = round(figures.all_right * figures.groups)
    return Cycle(label, key, figures, share([k < hits for k in range(figures.groups)]))


def _scored(outcome: Outcome) -> Scored:
    read = None if outcome["rule"] == BAD_ROW else outcome["read"]
    return Scored(outcome["right"], read, "free_form" if outcome["rule"] == BAD_ROW else outcome["rule"])  # type: ignore[arg-type]
