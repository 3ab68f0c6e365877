"""What an answer score tells about whether the answer is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langgraph_speceyes.bench.report.data import Loaded
from langgraph_speceyes.bench.runs import BAD_ROW
from langgraph_speceyes.bench.statistics import Estimate, Floats, auroc, bootstrapped
from langgraph_speceyes.errors import MissingExtraError
from langgraph_speceyes.scoring import SCORES

BINS = 15
"""Bins of the calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks")."""
_PARTS = 10
_FEWEST = 5
_EDGE = 1e-6
_GRID = 256
_POINTS = 200
_Scored = tuple[dict[str, float], bool]


@dataclass(frozen=True)
class Density:
    """Kernel density estimates of a score's log-odds.

    Attributes:
        grid: Log-odds.
        right: Density where the answer is right, at each of them.
        wrong: Density where it is wrong.
        peak_right: Score at the peak of `right`.
        peak_wrong: Score at the peak of `wrong`.
        distance: Their difference in log-odds; positive if right answers score higher.
    """

    grid: list[float]
    right: list[float]
    wrong: list[float]
    peak_right: float
    peak_wrong: float
    distance: float


@dataclass(frozen=True)
class Reliability:
    """Accuracy by score, in parts of equal size, lowest scores first.

    Attributes:
        score: Mean score in each part.
        accuracy: Share right there.
    """

    score: list[float]
    accuracy: list[float]


@dataclass(frozen=True)
class ScoreFigures:
    """One answer score.

    Attributes:
        auroc: Area under the ROC curve.
        aurc: Area under the risk-coverage curve (:func:`aurc`).
        ece: Expected calibration error (:func:`calibration_error`).
        density: None if there are too few answers of a kind, or all have one score.
        coverage: Shares of the answers kept, highest scores first.
        risk: Share wrong among them.
        reliability: Accuracy by score.
    """

    auroc: Estimate
    aurc: Estimate
    ece: float
    density: Density | None
    coverage: list[float]
    risk: list[float]
    reliability: Reliability


@dataclass(frozen=True)
class Scores:
    """The speculations of a run.

    Attributes:
        run: Its name.
        k: Candidates a token behind the scores.
        n: Scored speculations.
        questions: Questions of the run that could be used.
        right: How many speculations are right.
        scores: By name.
        depth: With looks only: after how many of them.
    """

    run: str
    k: int | None
    n: int
    questions: int
    right: int
    scores: dict[str, ScoreFigures]
    depth: int | None = None

    @property
    def name(self) -> str:
        """The run, and the depth after a look."""
        return f"{self.run}, depth {self.depth}" if self.depth else self.run


def scores(run: Loaded) -> list[Scores]:
    """Each question's speculation once, by depth and K: methods that share a K share their speculations."""
    found: dict[int, dict[int | None, dict[str, _Scored]]] = {}
    for outcome in run.outcomes:
        for depth, part in enumerate([outcome["speculator"], *outcome.get("depths", [])[1:]]):
            if part is not None and part.get("scores"):
                same = found.setdefault(depth, {}).setdefault(part.get("k"), {})
                same.setdefault(outcome["id"], (part["scores"], part["right"]))
    questions = len({o["id"] for o in run.outcomes if o["rule"] != BAD_ROW})
    made = []
    for depth, by_k in sorted(found.items()):
        if len(by_k) > 1:
            # a cascade's, whose one score rests on no candidates: the others have it too
            by_k.pop(None, None)
        at = depth if len(found) > 1 else None
        made += [_scores(run.name, k, list(rows.values()), questions, at) for k, rows in by_k.items()]
    return made


def aurc(score: NDArray[Any], right: NDArray[Any]) -> float:
    """Area under the risk-coverage curve: the share wrong among the k highest scores, averaged over k = 1..n.

    As Geifman and El-Yaniv 2017 ("Selective Classification for Deep Neural Networks") have it. Answers with the same
    score count with their share wrong, as if drawn in any order.

    Args:
        score: ``[n]``.
        right: ``[n]``, truth values.

    Returns:
        0 (all right) to 1; the share wrong, if the score says nothing.
    """
    return float(risks(score, right).mean())


def risks(score: NDArray[Any], right: NDArray[Any]) -> Floats:
    """Share wrong among the k highest scores, for k = 1..n; arguments as for :func:`aurc`."""
    _, at = np.unique(-np.asarray(score, dtype=np.float64), return_inverse=True)
    wrong = 1.0 - np.asarray(right, dtype=np.float64)
    tied = np.bincount(at, weights=wrong) / np.bincount(at)
    return np.asarray(np.cumsum(tied[np.sort(at)]) / np.arange(1, at.size + 1), dtype=np.float64)


def calibration_error(score: NDArray[Any], right: NDArray[Any], bins: int = BINS) -> float:
    """Expected calibration error: how far the score is from the share right, over bins weighted by their answers.

    Args:
        score: ``[n]``, 0 to 1.
        right: ``[n]``, truth values.
        bins: Bins of equal width from 0 to 1.

    Returns:
        0 to 1.
    """
    s, good = np.asarray(score, dtype=np.float64), np.asarray(right, dtype=np.float64)
    at = np.minimum((s * bins).astype(np.int64), bins - 1)
    # a bin's weight times its gap is the sum of its gaps over n
    return float(np.abs(np.bincount(at, weights=good - s)).sum() / s.size)


def log_odds(score: float) -> float:
    """``ln(s / (1 - s))``, which spreads what crowds near 0 and 1; scores within 1e-6 of them count as that far."""
    inside = min(max(score, _EDGE), 1 - _EDGE)
    return math.log(inside / (1 - inside))


def density(score: NDArray[Any], right: NDArray[Any]) -> Density | None:
    """Gaussian kernel densities (Scott's bandwidth) of the log-odds.

    Args:
        score: ``[n]``, 0 to 1.
        right: ``[n]``, truth values.

    Returns:
        None for less than five answers of a kind, or a kind whose scores are all the same.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    try:
        from scipy.stats import gaussian_kde
    except ModuleNotFoundError as missing:
        raise MissingExtraError("score densities", "eval") from missing
    odds, good = np.array([log_odds(float(s)) for s in score]), np.asarray(right, dtype=bool)
    kinds = [odds[good], odds[~good]]
    if any(kind.size < _FEWEST or np.ptp(kind) < _EDGE for kind in kinds):
        return None
    estimates = [gaussian_kde(kind) for kind in kinds]
    room = 2 * max(float(np.sqrt(kde.covariance[0, 0])) for kde in estimates)
    grid = np.linspace(odds.min() - room, odds.max() + room, _GRID)
    curves = [kde(grid) for kde in estimates]
    right_at, wrong_at = (float(grid[int(np.argmax(curve))]) for curve in curves)
    peaks = [1 / (1 + math.exp(-at)) for at in (right_at, wrong_at)]
    return Density(grid.tolist(), curves[0].tolist(), curves[1].tolist(), peaks[0], peaks[1], right_at - wrong_at)


def _reliability(score: Floats, right: NDArray[Any]) -> Reliability:
    order = np.argsort(score, kind="stable")
    parts = [part for part in np.array_split(order, _PARTS) if part.size]
    return Reliability([float(score[p].mean()) for p in parts], [float(right[p].mean()) for p in parts])


def _scores(
    name: str, k: int | None, rows: Sequence[tuple[dict[str, float], bool]], questions: int, depth: int | None
) -> Scores:
    right = np.array([good for _, good in rows])
    figures = {}
    for score in SCORES:
        if not all(math.isfinite(found.get(score, math.nan)) for found, _ in rows):
            continue
        values = np.array([found[score] for found, _ in rows])
        risk = risks(values, right)
        at = np.unique(np.linspace(0, risk.size - 1, _POINTS).round().astype(int))
        figures[score] = ScoreFigures(
            auroc=bootstrapped(auroc, values, right),
            aurc=bootstrapped(aurc, values, right),
            ece=calibration_error(values, right),
            density=density(values, right),
            coverage=((at + 1) / risk.size).tolist(),
            risk=risk[at].tolist(),
            reliability=_reliability(values, right),
        )
    by_name = {str(s): f for s, f in figures.items()}
    return Scores(name, k, len(rows), questions, int(right.sum()), by_name, depth)
