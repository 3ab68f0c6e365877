"""The probability of yes against no from the first token's candidates."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.errors import ArgumentError, MissingLogprobsError
from langgraph_speceyes.scoring import tool_need

LN = math.log


def test_by_hand() -> None:
    assert tool_need([("Yes", LN(0.6)), ("No", LN(0.2)), ("The", LN(0.1))]) == pytest.approx(0.75)
    assert tool_need({"no": LN(0.6), "yes": LN(0.2)}) == pytest.approx(0.25)


@pytest.mark.parametrize(
    "spelling",
    ["yes", "Yes", "YES", " yes", "▁yes", "▁Yes", "ĠYES", "\nyes", "Ċyes", "▁▁yes ", "Yes.", '"yes', "**Yes**"],
)
def test_spellings_of_yes(spelling: str) -> None:
    assert tool_need([(spelling, LN(0.6)), ("no", LN(0.2))]) == pytest.approx(0.75)


@pytest.mark.parametrize("spelling", ["no", "No", "NO", " no", "▁no", "ĠNo"])
def test_spellings_of_no(spelling: str) -> None:
    assert tool_need([("yes", LN(0.6)), (spelling, LN(0.2))]) == pytest.approx(0.75)


def test_spellings_add_up() -> None:
    top = [("Yes", LN(0.3)), (" yes", LN(0.15)), ("No", LN(0.1)), ("NO", LN(0.05)), ("Maybe", LN(0.4))]
    assert tool_need(top) == pytest.approx(0.75)
    # Two candidates may have the same text.
    assert tool_need([("yes", LN(0.3)), ("yes", LN(0.3)), ("no", LN(0.2))]) == pytest.approx(0.75)


@pytest.mark.parametrize("word", ["not", "None", "nope", "north", "noyes", "y", "n", "yesterday", "o", "", " "])
def test_only_whole_words_count(word: str) -> None:
    assert tool_need([(word, LN(0.3)), ("yes", LN(0.3)), ("no", LN(0.1))]) == pytest.approx(0.75)


def test_an_unlisted_word_is_bounded_by_the_smallest_listed() -> None:
    top = [("Yes", LN(0.6)), ("The", LN(0.3)), ("A", LN(0.02))]
    assert tool_need(top) == pytest.approx(0.6 / 0.62)
    assert tool_need([("No", LN(0.6)), *top[1:]]) == pytest.approx(0.02 / 0.62)
    assert tool_need([("Yes", LN(0.6))]) == 0.5


def test_floors() -> None:
    # What a server lists at its floor, or below, cannot be chosen.
    assert tool_need([("Yes", -0.1), ("No", -9999.0)]) == 1.0
    assert tool_need([("No", -0.1), ("The", -math.inf)]) == 0.0
    with pytest.raises(ArgumentError):
        tool_need([("The", -0.1), ("Yes", -9999.0), ("No", -9999.0)])


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(-500, 500))
def test_a_shift_changes_nothing_and_the_words_are_complementary(yes: float, no: float, shift: float) -> None:
    p = tool_need([("yes", yes), ("no", no)])
    assert p == pytest.approx(1 / (1 + math.exp(no - yes)), rel=1e-12)
    assert tool_need([("yes", yes + shift), ("no", no + shift)]) == pytest.approx(p, rel=1e-9)
    assert tool_need([("yes", no), ("no", yes)]) == pytest.approx(1 - p, abs=1e-12)
    assert 0 <= p <= 1


def test_no_overflow_and_no_underflow() -> None:
    assert tool_need([("yes", 5000.0), ("no", -5000.0)]) == 1.0
    assert tool_need([("yes", -5000.0), ("no", 5000.0)]) == 0.0
    # Probabilities of e^-2000 each: their ratio is still known.
    assert tool_need([("yes", -2000.0), ("no", -2000.0 - LN(3))]) == pytest.approx(0.75)


def test_neither_word() -> None:
    with pytest.raises(ArgumentError, match="'The', 'not'") as caught:
        tool_need([("The", -0.1), ("not", -3.0)])
    assert caught.value.argument == "first_token_top"


@pytest.mark.parametrize("top", [[], {}])
def test_no_candidates(top: list[tuple[str, float]]) -> None:
    with pytest.raises(MissingLogprobsError):
        tool_need(top)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_unusable_numbers(bad: float) -> None:
    with pytest.raises(ArgumentError, match="'No'"):
        tool_need([("Yes", -0.1), ("No", bad)])
    with pytest.raises(ArgumentError, match="'The'"):
        tool_need([("Yes", -0.1), ("The", bad)])


@pytest.mark.parametrize(
    "top",
    [
        [("<think>", -0.0001), ("No", -10.1), ("Yes", -12.5)],
        [("<tool_call>", -0.01), ("No", -6), ("Yes", -7.5)],
        [("Yeah", -0.1), ("no", -4), ("yes", -9)],
        [("Not", -0.5), ("Yes", -2), ("No", -3)],
        [("", -0.01), ("No", -6), ("Yes", -7)],
        # raw logits
        [("The", 31.0), ("No", 25.0), ("Yes", 24.0), ("A", 23.0)],
    ],
)
def test_a_model_that_says_neither_has_not_answered(top: list[tuple[str, float]]) -> None:
    with pytest.raises(ArgumentError, match=r"first and .* on yes and no") as caught:
        tool_need(top)
    assert repr(top[0][0]) in str(caught.value)


def test_most_of_the_mass_or_the_first_place_is_an_answer() -> None:
    # first, with little
    assert tool_need([("No", LN(0.2)), ("The", LN(0.19)), ("Yes", LN(0.1))]) == pytest.approx(1 / 3)
    # most, and not first
    assert tool_need([("The", LN(0.4)), ("Yes", LN(0.3)), ("No", LN(0.3))]) == pytest.approx(0.5)
    assert tool_need([("The", 20 + LN(0.4)), ("Yes", 20 + LN(0.3)), ("No", 20 + LN(0.3))]) == pytest.approx(0.5)


_SHARES = st.lists(st.floats(0.001, 1), min_size=4, max_size=4)


@given(_SHARES, st.permutations(range(4)), st.sampled_from([0.0, 40.0]))
def test_it_answers_where_the_words_hold_most_or_lead(shares: list[float], order: list[int], shift: float) -> None:
    total = sum(shares)
    words = ["Yes", "no", "The", "<think>"]
    top = [(words[i], LN(shares[i] / total) + shift) for i in order]
    said = (shares[0] + shares[1]) / total
    leads = max(shares[:2]) >= max(shares[2:])
    if not leads and abs(said - 0.5) < 1e-9:
        return
    if leads or said > 0.5:
        assert tool_need(top) == pytest.approx(shares[0] / (shares[0] + shares[1]))
    else:
        with pytest.raises(ArgumentError):
            tool_need(top)
