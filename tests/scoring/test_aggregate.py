"""Answer scores from token values, against the formulas written out token by token."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import (
    SCORES,
    all_scores,
    check_score,
    score_bottom,
    score_log,
    score_mean,
    score_min,
    score_odds,
    squash,
)

SEPARABILITY = st.floats(0, 40)
ANSWERS = st.lists(st.lists(SEPARABILITY, max_size=12), min_size=1, max_size=6)
ON_SEPARABILITY = [score_min, score_bottom, score_mean]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-0.6 * x))


def literal(name: str, values: list[float]) -> float:
    """The formulas, word for word."""
    n = len(values)
    if n == 0:
        return 0.0
    if name == "odds":
        return 1 / (1 + math.exp(-min(values)))
    if name == "min":
        return sigmoid(min(values))
    if name == "mean":
        return sigmoid(sum(values) / n)
    if name == "bottom":
        lowest = sorted(values)[: max(1, math.floor(0.2 * n))]
        return sigmoid(sum(lowest) / len(lowest))
    return math.exp(sum(values) / n)


def padded(answers: list[list[float]], fill: float, left: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers as one array and its mask, ``left`` positions of padding before and some behind each."""
    width = left + max(map(len, answers)) + 2
    values, mask = np.full((len(answers), width), fill), np.zeros((len(answers), width), dtype=bool)
    for row, answer in enumerate(answers):
        values[row, left : left + len(answer)] = answer
        mask[row, left : left + len(answer)] = True
    return values, mask


@pytest.mark.parametrize(
    ("separability", "score"),
    [(4.59, 0.94), (4.91, 0.95), (5.79, 0.97), (6.49, 0.98), (7.66, 0.99), (8.82, 0.995), (math.sqrt(63), 0.9915)],
)
def test_squash_at_the_thresholds_of_the_authors(separability: float, score: float) -> None:
    assert float(squash(separability)) == pytest.approx(score, abs=2e-4)


def test_squash_is_stable_and_ends_at_its_limits() -> None:
    with np.errstate(all="raise", under="ignore"):
        got = squash([-1e9, -2.0, 0.0, 2.0, 1e9])
    assert got[[0, 2, 4]].tolist() == [0.0, 0.5, 1.0]
    assert got[1] + got[3] == pytest.approx(1.0)


def test_by_hand() -> None:
    # Five tokens: bottom looks at one, so it is min.
    values = [[5.0, 1.0, 2.0, 4.0, 3.0]]
    assert score_min(values)[0] == pytest.approx(sigmoid(1.0))
    assert score_bottom(values)[0] == pytest.approx(sigmoid(1.0))
    assert score_mean(values)[0] == pytest.approx(sigmoid(3.0))
    # Ten tokens: bottom looks at two. At r = 0.5 it looks at five.
    ten = [[9.0, 2.0, 8.0, 1.0, 7.0, 3.0, 6.0, 5.0, 4.0, 10.0]]
    assert score_bottom(ten)[0] == pytest.approx(sigmoid(1.5))
    assert score_bottom(ten, fraction=0.5)[0] == pytest.approx(sigmoid(3.0))
    assert score_bottom(ten, fraction=1.0)[0] == pytest.approx(score_mean(ten)[0])
    # The odds have no factor of 0.6: 3 to 1 is a probability of 0.75.
    assert score_odds(np.log([[30.0, 3.0, 9.0]]))[0] == pytest.approx(0.75)
    # Probabilities 0.5 and 0.125: geometric mean 0.25.
    assert score_log(np.log([[0.5, 0.125]]))[0] == pytest.approx(0.25)


@given(ANSWERS, st.sampled_from([math.nan, math.inf, -math.inf, -1e6, 0.0]), st.integers(0, 3))
def test_batch_agrees_with_the_literal_formulas_and_padding_never_leaks(
    answers: list[list[float]], fill: float, left: int
) -> None:
    values, mask = padded(answers, fill, left)
    got = all_scores(values, values, -values, mask)
    assert set(got) == set(SCORES)
    for name, scores in got.items():
        assert scores.shape == (len(answers),)
        expected = [literal(name, [-v for v in answer] if name == "log" else answer) for answer in answers]
        np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-300)


@given(ANSWERS, st.integers(0, 3))
def test_batch_is_single_to_the_last_bit(answers: list[list[float]], left: int) -> None:
    values, mask = padded(answers, 7.0, left)
    batch = all_scores(values, values, -values, mask)
    for row, answer in enumerate(answers):
        single = all_scores([answer], [answer], [[-value for value in answer]])
        assert {name: scores[row] for name, scores in batch.items()} == {name: s[0] for name, s in single.items()}


@given(st.lists(SEPARABILITY, min_size=1, max_size=30), st.randoms())
def test_order_of_min_bottom_and_mean_and_of_tokens(values: list[float], random: object) -> None:
    low, bottom, mean = (score([values])[0] for score in ON_SEPARABILITY)
    assert low <= bottom + 1e-12
    assert bottom <= mean + 1e-12
    shuffled = values.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert [score([shuffled])[0] for score in ON_SEPARABILITY] == pytest.approx([low, bottom, mean], rel=1e-12)


@pytest.mark.parametrize("score", [score_odds, *ON_SEPARABILITY, score_log])
def test_empty_answers_score_zero(score: Callable[..., np.ndarray]) -> None:
    assert score([[1.0, 2.0], [3.0, 4.0]], [[False, False], [True, False]]).tolist()[0] == 0.0
    assert score([[1.0, 2.0], [3.0, 4.0]], [[False, False], [True, False]]).tolist()[1] > 0.0
    assert score(np.zeros((3, 0))).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("score", [score_odds, *ON_SEPARABILITY, score_log])
def test_nan_in_a_counted_token_is_never_hidden(score: Callable[..., np.ndarray]) -> None:
    values = np.linspace(-2.0, -1.0, 10)
    values[3] = np.nan
    assert math.isnan(score(values[None])[0])
    mask = ~np.isnan(values)
    assert not math.isnan(score(values[None], mask[None])[0])


def test_probability_zero_scores_zero() -> None:
    with np.errstate(all="raise"):
        assert score_log([[-math.inf, 0.0]])[0] == 0.0


def test_leading_axes() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    for score in (score_odds, *ON_SEPARABILITY):
        assert score(values).shape == (2, 3)
        assert score(values[0, 0]).shape == ()


def test_unknown_score_lists_the_names() -> None:
    with pytest.raises(ArgumentError, match=r"^score: .*'odds'.*'min'.*'mean'.*'bottom'.*'log'.*found 'max'"):
        check_score("max")
    assert [check_score(name) for name in ("odds", "min", "mean", "bottom", "log")] == list(SCORES)


@pytest.mark.parametrize("score", [score_odds, *ON_SEPARABILITY, score_log])
def test_wrong_shapes(score: Callable[..., np.ndarray]) -> None:
    with pytest.raises(ArgumentError, match=r"^mask: .*\(2, 3\).*\(3,\)"):
        score(np.zeros((2, 3)), np.ones(3, dtype=bool))
    with pytest.raises(ArgumentError, match="scalar"):
        score(1.0)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, math.nan])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ArgumentError) as caught:
        score_bottom([[1.0]], fraction=fraction)
    assert caught.value.argument == "fraction"
