from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_speceyes.bench.statistics import auroc, bootstrapped, ratio_of_means, share

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
    found = bootstrapped(ratio_of_means, slow, fast)
    assert found == bootstrapped(ratio_of_means, slow, fast)
    assert found.low < found.value < found.high
    assert found.low - 0.1 < 2.0 < found.high + 0.1
    # columns are drawn together: a ratio of equal columns has no spread
    same = bootstrapped(ratio_of_means, slow, slow)
    assert (same.low, same.value, same.high) == (1.0, 1.0, 1.0)
