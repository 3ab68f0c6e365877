"""Operating points to try."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.calibration import operating_points
from langgraph_speceyes.errors import ArgumentError


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(2, 40))
def test_points_part_the_scores_in_order(values: list[float], points: int) -> None:
    scores = np.array(values)
    tried = operating_points(scores, points=points)
    assert 1 <= tried.size <= points
    assert np.all((tried > 0) & (tried < 1))
    assert np.all(np.diff(tried) > 0)
    accepted = (scores[None, :] >= tried[:, None]).sum(axis=1)
    # what lies within rounding of 0 or 1 cannot be parted from it
    inner = (scores > 2e-6) & (scores < 1 - 1e-8)
    if inner.all():
        assert accepted[0] == scores.size
        assert accepted[-1] == 0


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=30, unique=True))
def test_with_points_to_spare_every_pair_of_neighbours_is_parted(values: list[float]) -> None:
    scores = np.sort(values)
    if np.any(np.diff(scores) < 1e-9):
        return
    counts = {int((scores >= at).sum()) for at in operating_points(scores)}
    assert counts == set(range(scores.size + 1))


@pytest.mark.parametrize("scores", [[], [[0.5]], [1.1], [-0.1], [float("nan")]])
def test_what_is_no_score_is_refused(scores: list[float]) -> None:
    with pytest.raises(ArgumentError, match="scores"):
        operating_points(scores)
