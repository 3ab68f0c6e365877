"""``S_sep``: the formula, its invariances, floors and the choice of the K strongest."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import count_candidates, separability, top_k

# A grid, so that two logits are equal or clearly apart: eps then never hides behind rounding.
LOGIT = st.integers(-400, 400).map(lambda n: n / 16)
ROW = st.lists(LOGIT, min_size=3, max_size=12)


def literal(row: list[float], eps: float = 1e-6) -> float:
    """The formula, word for word."""
    ranked = sorted(row, reverse=True)
    rest = ranked[1:]
    mu = math.fsum(rest) / len(rest)
    sigma = math.sqrt(math.fsum((value - mu) ** 2 for value in rest) / len(rest))
    return (ranked[0] - mu) / (sigma + eps)


def spread(row: list[float]) -> bool:
    return len(set(sorted(row)[:-1])) > 1


def test_by_hand() -> None:
    # Competitors 1, 3: mean 2, population deviation 1.
    assert separability([[8.0, 1.0, 3.0]], eps=1e-6)[0] == pytest.approx(6.0, rel=2e-6)
    # With the leader among its competitors it would be (8 - 4) / 2.94.
    assert separability([[1.0, 8.0, 3.0]])[0] > 5.9


@given(st.lists(ROW.map(lambda row: (row * 4)[:12]), min_size=1, max_size=6))
def test_agrees_with_the_literal_formula(rows: list[list[float]]) -> None:
    got = separability(rows)
    assert got.shape == (len(rows),)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, [literal(row) for row in rows], rtol=1e-9, atol=1e-9)
    assert (got >= 0).all()


@given(ROW, st.floats(0.01, 100))
def test_scaling_changes_it_only_through_eps(row: list[float], c: float) -> None:
    scaled = [c * value for value in row]
    # Scaling eps along makes the invariance exact.
    assert separability([scaled], eps=c * 1e-6)[0] == pytest.approx(separability([row])[0], rel=1e-6, abs=1e-9)
    if spread(row):
        assert separability([scaled])[0] == pytest.approx(separability([row])[0], rel=1e-2, abs=1e-9)


@given(st.lists(LOGIT, min_size=8, max_size=40), st.integers(3, 8))
def test_log_probabilities_give_what_raw_logits_give(logits: list[float], k: int) -> None:
    raw = np.array([logits])
    log_probabilities = raw - np.log(np.exp(raw).sum(axis=-1, keepdims=True))
    top = top_k(raw, k)
    if spread(top[0].tolist()):
        got = separability(top_k(log_probabilities, k))
        np.testing.assert_allclose(got, separability(top), rtol=1e-9, atol=1e-9)


@given(ROW, st.randoms())
def test_order_does_not_matter(row: list[float], random: object) -> None:
    shuffled = row.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert separability([shuffled])[0] == pytest.approx(separability([row])[0], rel=1e-9, abs=1e-9)


@given(ROW, st.lists(st.sampled_from([-math.inf, -9999.0, -10000.0, -1e30]), max_size=5), st.randoms())
def test_floors_are_dropped(row: list[float], floors: list[float], random: object) -> None:
    mixed = row + floors
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert separability([mixed])[0] == pytest.approx(separability([row])[0], rel=1e-9, abs=1e-9)
    assert count_candidates([mixed])[0] == len(row)


def test_just_above_the_floor_counts() -> None:
    assert count_candidates([[0.0, -1.0, -9998.5]])[0] == 3
    assert separability([[0.0, -1.0, -9998.5]])[0] == pytest.approx(literal([0.0, -1.0, -9998.5]))


def test_leading_axes_and_dtype() -> None:
    top = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    got = separability(top)
    assert got.shape == (2, 3, 4)
    assert got.dtype == np.float64
    assert got[1, 2, 3] == pytest.approx(literal(top[1, 2, 3].astype(float).tolist()))


def test_equal_competitors_keep_the_formula() -> None:
    assert separability([[2.0, 1.0]])[0] == pytest.approx(1e6)
    assert separability([[2.0, 1.0, 1.0]], eps=0.5)[0] == pytest.approx(2.0)


@pytest.mark.parametrize("row", [[1.0, -math.inf, -9999.0], [-math.inf] * 3])
def test_fewer_than_two_candidates_is_unknown(row: list[float]) -> None:
    got = separability([row, [8.0, 1.0, 3.0]])
    assert math.isnan(got[0])
    assert got[1] == pytest.approx(6.0, rel=2e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_unusable_numbers_are_unknown(bad: float) -> None:
    with np.errstate(all="raise"):
        got = separability([[1.0, bad, 0.5, 0.1], [bad, 1.0, 0.2, 0.1], [bad, bad, 0.2, 0.1], [8.0, 1.0, 3.0, 2.0]])
    assert np.isnan(got).tolist() == [True, True, True, False]


@pytest.mark.parametrize("top", [[[1.0]], [[]], np.zeros((2, 0))])
def test_k_below_two(top: object) -> None:
    with pytest.raises(ArgumentError) as caught:
        separability(top)  # type: ignore[arg-type]
    assert caught.value.argument == "k"


@pytest.mark.parametrize("eps", [0.0, -1.0, math.nan])
def test_eps_must_be_positive(eps: float) -> None:
    with pytest.raises(ArgumentError) as caught:
        separability([[1.0, 0.0]], eps=eps)
    assert caught.value.argument == "eps"


def test_a_scalar_is_refused() -> None:
    with pytest.raises(ArgumentError) as caught:
        separability(1.0)
    assert caught.value.argument == "top"
    with pytest.raises(ArgumentError) as caught:
        top_k(1.0, 2)
    assert caught.value.argument == "logits"


@given(st.lists(st.lists(LOGIT, min_size=7, max_size=7), min_size=1, max_size=4), st.integers(2, 7))
def test_top_k_keeps_the_strongest(rows: list[list[float]], k: int) -> None:
    before = np.array(rows)
    got = top_k(before, k)
    assert got.tolist() == [sorted(row, reverse=True)[:k] for row in rows]
    assert before.tolist() == rows


def test_top_k_above_the_vocabulary() -> None:
    with pytest.raises(ArgumentError, match=r"^k: .*vocabulary size, 5, found 6$"):
        top_k(np.zeros((2, 5)), 6)
    assert top_k(np.zeros((2, 5)), 5).shape == (2, 5)


@pytest.mark.parametrize("k", [1, 0, -3, 2.0, True, "64", None])
def test_top_k_needs_an_integer_of_at_least_two(k: object) -> None:
    with pytest.raises(ArgumentError) as caught:
        top_k(np.zeros((2, 5)), k)  # type: ignore[arg-type]
    assert caught.value.argument == "k"
