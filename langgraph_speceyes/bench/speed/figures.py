"""What a speed benchmark gives: figures with their spread, and everything they were computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langgraph_speceyes.bench import statistics
from langgraph_speceyes.bench.statistics import Estimate, bootstrapped, sums

NOT_ASKED = "not asked for"


@dataclass(frozen=True)
class Figure:
    """One figure and how sure it is.

    Attributes:
        median: The figure: the median of paired values unless its measurement says otherwise; None if left out.
        low: Lower end of its 95 % percentile bootstrap interval.
        high: Upper end.
        n: Values (questions, repeats) it rests on.
        reason: Why it was left out; None if it was not.
    """

    median: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: `median`, `low`, `high`, `n`, and `reason` where the figure was left out."""
        found: dict[str, Any] = {"median": self.median, "low": self.low, "high": self.high, "n": self.n}
        return found if self.reason is None else found | {"reason": self.reason}


@dataclass(frozen=True)
class Sheet:
    """A table for people, beside the figures.

    Attributes:
        title: What it is.
        columns: Their names; the first one names the rows.
        rows: Cells as text, each with what is smaller beside it, such as an interval.
        note: What the figures are.
    """

    title: str
    columns: list[str]
    rows: list[list[tuple[str, str]]]
    note: str


@dataclass
class Part:
    """What one measurement found.

    Attributes:
        figures: By key of the benchmark's JSON.
        details: Everything measured, as JSON can hold it.
        rows: Further lines for people: label, figure, unit.
        sheet: A table of its own for them.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[str, Figure, str]] = field(default_factory=list)
    sheet: Sheet | None = None


def left_out(reason: str) -> Figure:
    """A figure that was not measured."""
    return Figure(None, None, None, 0, reason)


def typical(values: Sequence[float]) -> Figure:
    """The median with its interval.

    Args:
        values: One a question or repeat; those that are no finite number are not counted.
    """
    kept = [v for v in values if math.isfinite(v)]
    return of(bootstrapped(_median, kept)) if kept else left_out("no values")


def paired(above: Sequence[float], below: Sequence[float]) -> Figure:
    """The median of the ratios of values that belong together, such as latencies of the same question.

    Args:
        above: Numerators.
        below: Denominators, in the same order.
    """
    return typical([a / b if b else math.nan for a, b in zip(above, below, strict=True)])


def total_speedup(slow: Sequence[float], fast: Sequence[float]) -> Figure:
    """All seconds without what speeds it up over all seconds with it: the speed-up in total time.

    Args:
        slow: Seconds of each question without.
        fast: Seconds of it with.
    """
    return of(statistics.total_speedup([sums([fast, slow])])) if slow else left_out("no values")


def mean_speedup(splits: Sequence[str], slow: Sequence[float], fast: Sequence[float]) -> Figure:
    """Mean over the splits of their speed-ups in total time, unweighted, as in the paper's tables.

    Args:
        splits: Of each question.
        slow: Its seconds without what speeds it up.
        fast: Its seconds with it.
    """
    rows = list(zip(splits, slow, fast, strict=True))
    names = dict.fromkeys(splits)
    strata = [sums([[r[2] for r in rows if r[0] == name], [r[1] for r in rows if r[0] == name]]) for name in names]
    return of(statistics.mean_speedup(strata)) if names else left_out("no values")


def of(estimate: Estimate) -> Figure:
    """A figure of an estimate; one that rests on a single value has no spread."""
    if estimate.value is None:
        return left_out("not defined for these values")
    low, high = (estimate.value if end is None else end for end in (estimate.low, estimate.high))
    return Figure(estimate.value, low, high, estimate.n)


def spread(values: ArrayLike) -> dict[str, Any]:
    """Mean and quantiles of values, for the record."""
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        return {"n": 0}
    quantiles = {f"p{q}": float(np.percentile(array, q)) for q in (5, 25, 50, 75, 95)}
    return {"n": int(array.size), "mean": float(array.mean())} | quantiles


def _median(values: NDArray[Any]) -> float:
    return float(np.median(values))
