"""``odds``: the formula, what it sees and separability does not, what it does not see, and what it cannot know."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import LEAST_CANDIDATES, log_odds, score_answer, score_min, score_odds, separability
from tests.scoring.candidates import entry, log_softmax, rows

K = st.integers(5, 128)


def literal(row: list[float]) -> float:
    """The formula, word for word."""
    ranked = sorted(row, reverse=True)
    return -math.log(math.fsum(math.exp(value - ranked[0]) for value in ranked[1:]))


def test_by_hand() -> None:
    # Shares of 6, 1, 1, 1 and 1 in 10: odds of 6 to 4.
    top = np.log([[0.1, 0.6, 0.1, 0.1, 0.1]])
    assert log_odds(top)[0] == pytest.approx(math.log(6 / 4))
    assert score_odds(log_odds(top)) == pytest.approx(0.6)
    # The same shares of a half of the probability: the rest is not among the candidates.
    assert log_odds(top - math.log(2))[0] == pytest.approx(math.log(6 / 4))


@given(st.data(), K)
def test_agrees_with_the_literal_formula(data: st.DataObject, k: int) -> None:
    row = data.draw(rows(k))
    assert log_odds([row])[0] == pytest.approx(literal(row), rel=1e-9, abs=1e-9)


@given(st.data(), K)
def test_a_tie_of_m_never_scores_more_than_one_in_m(data: st.DataObject, k: int) -> None:
    m = data.draw(st.integers(2, k))
    row = data.draw(rows(k, m))
    for values in (row, log_softmax(row)):
        assert score_odds(log_odds([values])) <= 1 / m + 1e-6
        content = [entry(log_softmax([9.0] + [0.0] * (k - 1))), entry(values)]
        assert score_answer(content, k=k).value <= 1 / m + 1e-6


def test_a_coin_flip_that_separability_takes_for_certain() -> None:
    flip = [[0.0, 0.0, *[-15.0] * 62]]
    assert score_min(separability(flip)) > 0.98
    assert score_odds(log_odds(flip)) == pytest.approx(0.5, abs=1e-4)
    # and an all but certain token that it would refuse
    sure = [[0.0, *np.linspace(-15, -40, 63)]]
    assert score_min(separability(sure)) < 0.98
    assert score_odds(log_odds(sure)) > 0.999


@given(st.data(), K)
def test_log_probabilities_give_what_logits_give(data: st.DataObject, k: int) -> None:
    # 40 more words that are not among the candidates
    row = data.draw(rows(k))
    normal = log_softmax([*row, *[min(row)] * 40])[:k]
    for dtype in (np.float64, np.float32):
        raw, shares = np.array([row], dtype), np.array([normal], dtype)
        assert score_odds(log_odds(raw)) == pytest.approx(score_odds(log_odds(shares)), abs=1e-6)
        both = [score_answer([entry(values[0])], k=k) for values in (raw, shares)]
        assert both[0].value == pytest.approx(both[1].value, abs=1e-6)
        assert both[0].token_odds == pytest.approx(both[1].token_odds, abs=1e-6)


def test_tells_sure_from_surer_where_float32_says_zero() -> None:
    logits = [np.array([gap, *[0.0] * 19], np.float32) for gap in (20, 22, 25)]
    shares = [row - np.log(np.sum(np.exp(row), dtype=np.float32)) for row in logits]
    assert [float(row[0]) for row in shares] == [0.0, 0.0, 0.0]
    values = [score_answer([entry(row)]).value for row in shares]
    assert values[0] < values[1] < values[2] < 1.0


@given(st.data(), st.integers(5, 20), st.integers(0, 100))
def test_more_candidates_can_only_lower_it_and_by_no_more_than_they_hold(
    data: st.DataObject, k: int, more: int
) -> None:
    row = sorted(data.draw(rows(k + more)), reverse=True)
    few, many = score_odds(log_odds([row[:k]])), score_odds(log_odds([row]))
    shares = np.exp(log_softmax(row))
    assert many <= few + 1e-12
    assert few - many <= shares[k:].sum() + 1e-9


@given(st.data(), st.integers(5, 30), st.integers(1, 5), st.integers(1, 4), st.integers(0, 7))
def test_batch_and_padding_never_leak(data: st.DataObject, k: int, n: int, tokens: int, padding: int) -> None:
    answers = [data.draw(st.lists(rows(k), min_size=1, max_size=tokens)) for _ in range(n)]
    fill = data.draw(st.sampled_from([0.0, 50.0, -math.inf, -9999.0, math.nan, math.inf]))
    top = np.full((n, tokens + padding, k + padding), fill)
    mask = np.zeros(top.shape[:2], dtype=bool)
    for at, answer in enumerate(answers):
        top[at, : len(answer)] = -np.inf
        top[at, : len(answer), :k] = answer
        mask[at, : len(answer)] = True
    batch = score_odds(log_odds(top), mask)
    for at, answer in enumerate(answers):
        # to the last bit
        assert batch[at] == score_odds(log_odds([answer]))[0]
        assert batch[at] == score_answer([entry(row) for row in answer], k=k).value


@given(st.data(), st.integers(5, 30))
def test_the_order_of_candidates_and_floors_among_them_change_nothing(data: st.DataObject, k: int) -> None:
    row = data.draw(rows(k))
    floors = data.draw(st.lists(st.sampled_from([-9999.0, -12345.0, -math.inf]), max_size=5))
    mixed = data.draw(st.permutations([*row, *floors]))
    assert log_odds([mixed])[0] == log_odds([row])[0]
    assert score_answer([entry(mixed)], k=k).value == score_answer([entry(row)], k=k).value


@pytest.mark.parametrize(
    "row",
    [
        [0.0, -1.0, -2.0, -3.0],
        [0.0, -1.0, -2.0, -3.0, -9999.0, -math.inf],
        [0.0, -1.0, -2.0, -3.0, math.nan, -4.0],
        [math.inf, -1.0, -2.0, -3.0, -4.0],
        [-math.inf] * 6,
        [math.nan] * 6,
    ],
)
def test_unknown_where_too_little_is_known(row: list[float]) -> None:
    with np.errstate(all="raise"):
        got = log_odds([row, [*range(len(row))], [*range(len(row))]])
    assert math.isnan(got[0])
    assert np.isnan(got[1:]).all() == (len(row) < LEAST_CANDIDATES)
    assert np.isnan(score_odds(got))


def test_extremes_stay_finite_where_they_can() -> None:
    with np.errstate(all="raise", under="ignore"):
        far = log_odds([[5000.0, *[-4000.0] * 4], [1e300, 0.0, 0.0, 0.0, 0.0]])
    assert far[0] == pytest.approx(9000 - math.log(4))
    assert score_odds(far[None]).tolist() == [1.0]


def test_leading_axes_and_wrong_shapes() -> None:
    assert log_odds(np.zeros((2, 3, 4, 6))).shape == (2, 3, 4)
    assert log_odds(np.zeros((2, 0, 6))).shape == (2, 0)
    assert log_odds(np.zeros(6)).shape == ()
    wrong: list[Any] = [1.0, np.zeros((3, 1))]
    for top in wrong:
        with pytest.raises(ArgumentError):
            log_odds(top)
