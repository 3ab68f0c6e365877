from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.calibration import operating_point
from langgraph_speceyes.errors import ArgumentError

outcomes = st.lists(
    st.tuples(st.integers(1, 999).map(lambda n: n / 1000), st.booleans(), st.booleans()), min_size=1, max_size=60
)


@given(outcomes)
def test_the_threshold_keeps_the_agents_accuracy_and_no_lower_one_does(rows: list[tuple[float, bool, bool]]) -> None:
    scores, small, large = (np.array(column) for column in zip(*rows, strict=True))
    threshold = operating_point(scores, small, large)
    assert 0 < threshold < 1

    def accuracy(at: float) -> float:
        return float(np.where(scores >= at, small, large).mean())

    if threshold < scores.max():
        assert accuracy(threshold) >= large.mean()
    for lower in {s for s in scores if 0 < s < threshold}:
        # with as many operating points as scores, anything the threshold leaves out would cost accuracy
        assert accuracy(lower) < large.mean() or (scores >= lower).sum() == (scores >= threshold).sum()


def test_a_speculator_that_is_always_right_is_always_accepted() -> None:
    assert operating_point([0.5, 0.7, 0.9], [True] * 3, [False, True, True]) < 0.5


def test_a_speculator_that_is_always_wrong_is_never_accepted() -> None:
    assert operating_point([0.5, 0.7, 0.9], [False] * 3, [True] * 3) > 0.9


@pytest.mark.parametrize(
    ("scores", "small", "large"),
    [([], [], []), ([0.5], [True, False], [True]), ([1.5], [True], [True]), ([float("nan")], [True], [True])],
)
def test_bad_outcomes_are_refused(scores: list[float], small: list[bool], large: list[bool]) -> None:
    with pytest.raises(ArgumentError) as caught:
        operating_point(scores, small, large)
    assert caught.value.argument == "scores"
