from __future__ import annotations

import math
from random import Random
from statistics import fmean, harmonic_mean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from langgraph_speceyes.bench.statistics import auroc, bootstrapped, mean_speedup, share, speedup, sums, total_speedup

truths = st.lists(st.booleans(), min_size=1, max_size=50)


@given(truths)
@settings(deadline=None)
def test_a_share_lies_in_its_interval_and_a_complement_mirrors_it(hits: list[bool]) -> None:
    found, rest = share(hits), share([not h for h in hits])
    assert found.value == pytest.approx(sum(hits) / len(hits))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low == pytest.approx(1 - rest.high)
    assert found.n == len(hits)


def test_wilsons_interval_is_the_known_one() -> None:
    # Wilson score interval for 8 of 10, as in any table
    found = share([True] * 8 + [False] * 2)
    assert (found.low, found.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_nothing_has_no_share() -> None:
    found = share([])
    assert (found.value, found.low, found.high, found.n) == (None, None, None, 0)
    assert bootstrapped(lambda v: float(np.mean(v)), []).value is None


@given(st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=2, max_size=40))
@settings(deadline=None)
def test_auroc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[float, bool]]) -> None:
    scores, right = np.array([s for s, _ in rows]), np.array([r for _, r in rows])
    good, bad = scores[right], scores[~right]
    found = auroc(scores, right)
    if not good.size or not bad.size:
        assert np.isnan(found)
        return
    pairs = [(g > b) + 0.5 * (g == b) for g in good for b in bad]
    assert found == pytest.approx(np.mean(pairs))
    assert auroc(-scores, right) == pytest.approx(1 - found)


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_a_bootstrap_interval_holds_the_truth_and_is_the_same_each_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slow, fast = rng.uniform(2, 4, 200), rng.uniform(1, 2, 200)
    found = bootstrapped(_ratio, slow, fast)
    assert found == bootstrapped(_ratio, slow, fast)
    assert found.low < found.value < found.high
    assert found.low - 0.1 < 2.0 < found.high + 0.1
    # columns are drawn together: a ratio of equal columns has no spread
    same = bootstrapped(_ratio, slow, slow)
    assert (same.low, same.value, same.high) == (1.0, 1.0, 1.0)


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> float:
    return float(above.mean() / below.mean())


SPLITS = st.lists(
    st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)), min_size=2, max_size=8), min_size=1, max_size=4
)


def strata(splits: list[list[tuple[float, float]]]) -> list[NDArray[Any]]:
    """Of (own, agent) seconds by split."""
    return [sums([[own for own, _ in split], [agent for _, agent in split]]) for split in splits]


@given(SPLITS)
@settings(max_examples=40, deadline=None)
def test_total_time_weighs_the_splits_by_their_own_time_and_the_mean_does_not(
    splits: list[list[tuple[float, float]]],
) -> None:
    own = [math.fsum(a for a, _ in split) for split in splits]
    agent = [math.fsum(b for _, b in split) for split in splits]
    each = [b / a for a, b in zip(own, agent, strict=True)]
    total, mean = total_speedup(strata(splits)), mean_speedup(strata(splits))
    assert total.value == pytest.approx(math.fsum(agent) / math.fsum(own))
    assert mean.value == pytest.approx(math.fsum(each) / len(each))
    assert total.value == pytest.approx(sum(a * e for a, e in zip(own, each, strict=True)) / math.fsum(own))
    assert min(each) - 1e-9 <= total.value <= max(each) + 1e-9


def test_where_the_agent_is_equally_slow_everywhere_total_time_is_the_harmonic_mean() -> None:
    ratios = (1.16, 1.96, 2.84, 1.16, 0.96)
    splits = [[(0.277 / ratio, 0.277)] * 4 for ratio in ratios]
    assert mean_speedup(strata(splits)).value == pytest.approx(fmean(ratios))
    assert total_speedup(strata(splits)).value == pytest.approx(harmonic_mean(ratios))


@given(SPLITS, st.randoms())
@settings(max_examples=20, deadline=None)
def test_one_figure_has_one_interval_whatever_order_its_questions_come_in(
    splits: list[list[tuple[float, float]]], random: Random
) -> None:
    moved = [random.sample(split, len(split)) for split in splits]
    again = random.sample(moved, len(moved))
    for statistic in (total_speedup, mean_speedup):
        one, two = statistic(strata(splits)), statistic(strata(again))
        assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high))


def test_splits_are_drawn_apart() -> None:
    """Two splits of equal spread: the error of their mean is smaller than that of one by the root of two."""
    rng = np.random.default_rng(0)
    one, two = (sums([rng.uniform(1, 3, 100), np.full(100, 2.0)]) for _ in range(2))
    wide = [estimate.high - estimate.low for estimate in (mean_speedup([one]), mean_speedup([two]))]
    both = mean_speedup([one, two])
    assert both.high - both.low == pytest.approx(np.mean(wide) / math.sqrt(2), rel=0.15)
    assert speedup(np.array([2.0, 3.0])) == 1.5
