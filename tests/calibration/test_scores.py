"""What the scores are worth on the embedded pair's recorded outcomes (`record.py` says how they were made)."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from langgraph_speceyes.bench.statistics import auroc
from langgraph_speceyes.calibration.guarantee import guaranteed_threshold

COLUMNS = {"odds, K = 20": "odds", "log": "log", "min, K = 64": "min", "min, K = 20": "min_20"}

# scores, whether the speculator is right, whether the agent is
Recorded = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]


def recorded(column: str) -> Recorded:
    """All questions, as if there were no judge."""
    with (Path(__file__).parent / "embedded_outcomes.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    small, large = (np.array([row[name] == "1" for row in rows]) for name in ("speculator_right", "agent_right"))
    return np.array([float(row[column]) for row in rows]), small, large


def certified(column: str, n: int, max_loss: float, confidence: float, draws: int) -> tuple[float, float]:
    """Mean share accepted by thresholds that n questions certify, and how many of those lose more than promised.

    Samples are drawn with replacement; the recorded questions are the whole population.
    """
    scores, small, large = recorded(column)
    rng, accepted, broken = np.random.default_rng([n, draws]), 0.0, 0
    for _ in range(draws):
        at = rng.integers(0, scores.size, n)
        found = guaranteed_threshold(
            scores[at], small[at], large[at], max_loss=max_loss, confidence=confidence, extrapolate=False
        )
        if found.threshold is not None:
            passed = scores >= found.threshold
            accepted += float(passed.mean()) / draws
            broken += bool(np.mean(passed * (large.astype(int) - small)) > max_loss)
    return accepted, broken / draws


def test_odds_tell_right_from_wrong_at_a_third_of_the_candidates() -> None:
    found = {column: auroc(*recorded(column)[:2]) for column in COLUMNS.values()}
    assert found["odds"] > found["min"] + 0.01 > found["min_20"] + 0.07
    assert found["odds"] >= 0.94
    # the first 256 questions of each split, on which the score was chosen
    first = np.arange(1500) % 300 < 256
    scores, right, _ = recorded("odds")
    assert auroc(scores[first], right[first]) >= 0.94


def test_odds_certify_more_than_separability() -> None:
    odds, broken = certified("odds", 400, 0.01, 0.95, 60)
    assert odds >= 0.48
    assert broken <= 0.15
    assert certified("min", 400, 0.01, 0.95, 60)[0] <= odds - 0.05


@pytest.mark.parametrize("column", ["odds", "log", "min", "min_20"])
def test_scores_are_probabilities_and_separabilities_begin_at_a_half(column: str) -> None:
    scores, _, _ = recorded(column)
    assert scores.size == 1500
    assert (0.5 if "min" in column else 0) <= scores.min() < scores.max() <= 1


def report(draws: int = 120) -> None:
    """Print the table of the documentation."""
    for name, column in COLUMNS.items():
        accepted, broken = certified(column, 400, 0.01, 0.95, draws)
        print(f"| {name} | {auroc(*recorded(column)[:2]):.3f} | {accepted:.3f} | {broken:.3f} |", flush=True)


if __name__ == "__main__":
    report(*map(int, sys.argv[1:]))
