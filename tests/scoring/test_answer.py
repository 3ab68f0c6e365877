"""From a chat model's logprobs content to an answer's scores."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.errors import ArgumentError, MissingLogprobsError
from langgraph_speceyes.scoring import (
    END_TOKENS,
    SCORES,
    AnswerScore,
    ScoreName,
    TokenLogprobs,
    parse_logprobs,
    score_answer,
    score_answers,
)

Entry = dict[str, Any]


def entry(token: str, logprobs: list[float]) -> Entry:
    """One token in the layout of ``ChatOpenAI``, with the keys that servers add."""
    top = [{"token": f"c{rank}", "logprob": value, "bytes": [99]} for rank, value in enumerate(logprobs)]
    return {"token": token, "logprob": max(logprobs), "bytes": None, "top_logprobs": top}


def same(one: object, other: object) -> bool:
    """Equal to the last digit, where NaN equals itself."""
    return repr(one) == repr(other)


def log_softmax(logits: list[float]) -> list[float]:
    total = math.log(math.fsum(math.exp(value) for value in logits))
    return [value - total for value in logits]


# Integers over 16, at least two of them different, as log-probabilities.
LOGPROBS = st.lists(st.integers(-160, 0), min_size=3, max_size=9, unique=True).map(
    lambda numbers: log_softmax([n / 16 for n in numbers])
)
CONTENT = st.lists(LOGPROBS.map(lambda row: entry("t", row)), max_size=7)


def literal(content: list[Entry], k: int) -> dict[str, float]:
    """The paper's scores of one answer, word for word."""
    rows = [sorted((item["logprob"] for item in token["top_logprobs"]), reverse=True)[:k] for token in content]
    k_used = min([k, *map(len, rows)])
    separabilities = []
    for row in rows:
        rest = row[1:k_used]
        mu = sum(rest) / len(rest)
        sigma = math.sqrt(sum((value - mu) ** 2 for value in rest) / len(rest))
        separabilities.append((row[0] - mu) / (sigma + 1e-6))
    if not rows:
        return dict.fromkeys(SCORES, 0.0)
    lowest = sorted(separabilities)[: max(1, math.floor(0.2 * len(rows)))]
    raw = {
        "min": min(separabilities),
        "mean": sum(separabilities) / len(rows),
        "bottom": sum(lowest) / len(lowest),
    }
    scores = {name: 1 / (1 + math.exp(-0.6 * value)) for name, value in raw.items()}
    odds = [-math.log(math.fsum(math.exp(value - row[0]) for value in row[1:])) for row in rows]
    scores["odds"] = 1 / (1 + math.exp(-min(odds))) if all(len(row) >= 5 for row in rows) else math.nan
    scores["log"] = math.exp(sum(row[0] for row in rows) / len(rows))
    return scores


def test_by_hand() -> None:
    content = [entry("B", [-0.5, -7.5, -5.5]), entry("!", [-0.25, -3.25, -1.25])]
    got = score_answer(content, "mean", k=3)
    # Competitors at distances 7, 5 and 3, 1: mean 6 and 2, population deviation 1.
    assert got.token_separability == pytest.approx([6.0, 2.0], rel=1e-5)
    assert got.token_probability == pytest.approx([math.exp(-0.5), math.exp(-0.25)])
    assert got.tokens == ["B", "!"]
    assert got.value == got.scores["mean"] == pytest.approx(1 / (1 + math.exp(-0.6 * 4)), rel=1e-5)
    assert got.scores["min"] == pytest.approx(1 / (1 + math.exp(-0.6 * 2)), rel=1e-5)
    assert got.scores["log"] == pytest.approx(math.exp(-0.375))
    assert (got.score, got.k_used, got.n_tokens) == ("mean", 3, 2)


@given(CONTENT, st.integers(3, 10), st.sampled_from(SCORES))
def test_agrees_with_the_literal_formulas(content: list[Entry], k: int, score: ScoreName) -> None:
    expected = literal(content, k)
    if score == "odds" and (k < 5 or math.isnan(expected["odds"])):
        with pytest.raises(ArgumentError if k < 5 else MissingLogprobsError, match=r"at least 5|>= 5"):
            score_answer(content, score, k)
        return
    got = score_answer(content, score, k)
    assert got.scores == pytest.approx(expected, rel=1e-9, nan_ok=True)
    assert got.value == got.scores[score]


@given(st.lists(CONTENT, max_size=5), st.integers(2, 10))
def test_batch_is_one_by_one(contents: list[list[Entry]], k: int) -> None:
    batch = score_answers(contents, "min", k)
    assert same(batch, [score_answer(content, "min", k) for content in contents])
    # Nothing of the company an answer keeps shows in it.
    assert same(batch[::-1], score_answers(contents[::-1], "min", k))


@given(CONTENT, st.lists(st.sampled_from(sorted(END_TOKENS)), max_size=3))
def test_end_tokens_at_the_end_are_not_scored(content: list[Entry], ends: list[str]) -> None:
    # A nearly flat distribution: scored, it would be the least sure token.
    tail = [entry(end, [-1.1, -1.2, -1.25]) for end in ends]
    assert same(score_answer(content + tail, "min", k=3), score_answer(content, "min", k=3))


def test_only_trailing_end_tokens_are_dropped() -> None:
    content = [entry("</s>", [-0.5, -7.5, -5.5]), entry("B", [-0.5, -7.5, -5.5]), entry("</s>", [-0.5, -7.5, -5.5])]
    assert score_answer(content, "min", k=3).tokens == ["</s>", "B"]


def test_end_tokens_are_configurable() -> None:
    content = [entry("B", [-0.5, -7.5, -5.5]), entry("token_id:7", [-0.5, -7.5, -5.5])]
    assert score_answer(content, "min", k=3).tokens == ["B", "token_id:7"]
    assert score_answer(content, k=3, score="min", drop={"token_id:7"}).tokens == ["B"]
    # An end token needs no candidates.
    assert score_answer([*content, {"token": "<|im_end|>"}], "min", k=3).n_tokens == 2


def test_k_shrinks_for_the_whole_answer_and_is_recorded() -> None:
    long = [-0.1, -3.0, -4.0, -5.0, -9.0]
    content = [entry("a", long), entry("b", [-0.2, -2.0, -3.5])]
    got = score_answer(content, "min", k=64)
    assert got.k_used == 3
    assert got.token_separability[0] == score_answer([entry("a", long[:3])], "min", k=3).token_separability[0]
    assert got.token_separability[0] != score_answer([entry("a", long)], "min", k=5).token_separability[0]
    # In company of an answer with more candidates it stays at its own K.
    assert same(score_answers([[entry("a", long)], content], "min", k=64)[1], got)
    # The odds need not be comparable: each token keeps all it has.
    assert got.token_odds[0] == score_answer([entry("a", long)]).token_odds[0]
    assert math.isnan(got.token_odds[1])
    assert math.isnan(got.scores["odds"])


def test_candidates_beyond_k_are_ignored() -> None:
    got = score_answer([entry("a", [-0.1, -3.0, -4.0, -5.0, -6.0, -7.0])], k=5)
    assert got == score_answer([entry("a", [-0.1, -3.0, -4.0, -5.0, -6.0])], k=5)
    assert got.k_used == 5


@pytest.mark.parametrize("floor", [-9999.0, -9999.5, -math.inf])
def test_floors_are_no_candidates(floor: float) -> None:
    clean = score_answer([entry("a", [-0.1, -3.0, -4.0, -5.0, -6.0])], k=7)
    assert score_answer([entry("a", [-0.1, -3.0, floor, -4.0, floor, -5.0, -6.0])], k=7) == clean
    assert clean.k_used == 5


def test_candidates_in_any_order_and_with_equal_texts() -> None:
    ordered = entry("a", [-0.1, -3.0, -4.0, -5.0, -6.0])
    shuffled = {**ordered, "top_logprobs": [{**ordered["top_logprobs"][i], "token": "\ufffd"} for i in (2, 0, 3, 4, 1)]}
    assert score_answer([shuffled]) == score_answer([ordered])


@pytest.mark.parametrize("content", [[], [entry("<|im_end|>", [-0.1, -3.0])]])
def test_empty_answers(content: list[Entry]) -> None:
    got = score_answer(content, "min", k=64)
    assert got == AnswerScore("min", 0.0, dict.fromkeys(SCORES, 0.0), [], [], [], [], 64, 0)
    assert score_answer(content) == dataclasses.replace(got, score="odds", k_used=20)


def test_everything_is_plain_and_survives_json() -> None:
    got = score_answer([entry("B", [-0.5, -7.5, -5.5, -6.0, -9.0]), entry("!", [-0.25, -3.25, -1.25, -4.0, -9.0])])
    floats = [got.value, *got.scores.values(), *got.token_odds, *got.token_separability, *got.token_probability]
    assert {type(value) for value in floats} == {float}
    assert type(got.k_used) is type(got.n_tokens) is int
    assert AnswerScore(**json.loads(json.dumps(dataclasses.asdict(got)))) == got


@pytest.mark.parametrize("top", [None, [], "absent"])
def test_without_candidates_only_the_log_score_is_known(top: object) -> None:
    token = entry("Paris", [-0.5, -7.5])
    token["top_logprobs"] = top
    if top == "absent":
        del token["top_logprobs"]
    for score in ("odds", "min", "mean", "bottom"):
        with pytest.raises(MissingLogprobsError, match=f"'Paris' has no top_logprobs.*'{score}'"):
            score_answer([token], score)  # type: ignore[arg-type]
    full = entry("!", [-0.25, -7.5, -8.5, -9.0, -9.5])
    got = score_answer([full, token], "log")
    assert got.value == got.scores["log"] == pytest.approx(math.exp(-0.375))
    assert got.token_probability == pytest.approx([math.exp(-0.25), math.exp(-0.5)])
    assert {name for name, value in got.scores.items() if math.isnan(value)} == {"odds", "min", "mean", "bottom"}
    assert (got.k_used, got.tokens) == (0, ["!", "Paris"])
    # it does not matter how many candidates other tokens have
    assert got.value == score_answer([{**full, "top_logprobs": []}, token], "log", k=2).value
    assert same(score_answers([[token]], "log"), score_answers([[token], [full]], "log")[:1])
    del token["logprob"]
    with pytest.raises(MissingLogprobsError, match="'Paris' has neither"):
        score_answer([token], "log")


def test_the_log_score_of_raw_logits_or_of_nan_is_unknown() -> None:
    for logprob in (7.5, math.nan):
        assert math.isnan(score_answer([{"token": "a", "logprob": logprob}], "log").value)
    assert score_answer([{"token": "a", "logprob": -9999.0}], "log").value == 0.0


def test_no_logprobs_at_all() -> None:
    with pytest.raises(MissingLogprobsError):
        score_answer(None)


@pytest.mark.parametrize("floors", [0, 30])
@pytest.mark.parametrize(("score", "least"), [("odds", 5), ("min", 2), ("mean", 2), ("bottom", 2)])
def test_too_few_candidates(score: ScoreName, least: int, floors: int) -> None:
    few, full = ([-0.5, -1.5, -2.5, -3.5, -4.5][:count] + [-9999.0] * floors for count in (least - 1, least))
    said = rf"'a' has {least - 1} candidate.*{score}' needs at least {least}: .*top_logprobs=20"
    with pytest.raises(MissingLogprobsError, match=said):
        score_answer([entry("b", full), entry("a", few)], score)
    assert not math.isnan(score_answer([entry("b", full), entry("a", few)], "log").value)
    assert 0 < score_answer([entry("b", full), entry("a", full)], score).value <= 1


@pytest.mark.parametrize(
    "content",
    [
        {"content": []},
        "text",
        3,
        ["token"],
        [{"logprob": -0.1}],
        [{**entry("a", [-0.1, -3.0]), "top_logprobs": {"a": -0.1}}],
        [{**entry("a", [-0.1, -3.0]), "top_logprobs": [{"token": "a", "logprob": None}]}],
    ],
)
def test_another_layout(content: Any) -> None:
    with pytest.raises(ArgumentError) as caught:
        score_answer(content)
    assert caught.value.argument == "content"


@pytest.mark.parametrize(("argument", "value"), [("k", 1), ("k", 4), ("k", 5.5), ("score", "max")])
def test_wrong_arguments_are_refused_even_without_answers(argument: str, value: Any) -> None:
    for return_exceptions in (False, True):
        with pytest.raises(ArgumentError) as caught:
            score_answers([], return_exceptions=return_exceptions, **{argument: value})
        assert caught.value.argument == argument


def test_one_bad_answer_need_not_cost_the_others() -> None:
    good = [entry("B", [-0.5, -7.5, -5.5])]
    contents: list[Any] = [good, None, "text", good]
    with pytest.raises(MissingLogprobsError):
        score_answers(contents)
    got = score_answers(contents, "min", k=3, return_exceptions=True)
    assert same(got[0], got[3])
    assert same(got[0], score_answer(good, "min", k=3))
    assert isinstance(got[1], MissingLogprobsError)
    assert isinstance(got[2], ArgumentError)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 6])
def test_unusable_numbers_make_the_answer_unknown(bad: float, place: int) -> None:
    logprobs = [-0.1, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0]
    sound = entry("b", logprobs)
    logprobs[place] = bad
    got = score_answers([[entry("a", logprobs), sound], [sound]], k=5)
    assert all(math.isnan(value) for value in got[0].scores.values())
    assert not any(math.isnan(value) for value in got[1].scores.values())


def test_raw_logits_keep_the_separability_and_lose_the_probability() -> None:
    logits = [12.5, 7.0, 5.0, 2.5, 1.0]
    raw, normal = (score_answer([entry("a", row)]) for row in (logits, log_softmax(logits)))
    for score in ("odds", "min", "mean", "bottom"):
        assert raw.scores[score] == pytest.approx(normal.scores[score], rel=1e-9)  # type: ignore[index]
    assert raw.token_odds == pytest.approx(normal.token_odds, rel=1e-9)
    assert math.isnan(raw.scores["log"])
    assert math.isnan(raw.token_probability[0])
    # A rounding error above 0 is still a probability.
    assert score_answer([entry("a", [1e-7, -17.0, -18.0])], "min", k=3).token_probability == [1.0]


def test_parsed_record() -> None:
    got = parse_logprobs([entry("B", [-0.5, -7.5, -9999.0, -5.5]), entry("</s>", [-0.1, -2.0])], k=64)
    assert got.tokens == (TokenLogprobs("B", -0.5, (("c0", -0.5), ("c1", -7.5), ("c2", -9999.0), ("c3", -5.5))),)
    assert got.top.tolist() == [[-0.5, -5.5, -7.5]]
    assert got.k_used == 3
    empty = parse_logprobs([], k=20)
    assert (empty.tokens, empty.top.shape, empty.k_used) == ((), (0, 20), 20)


def test_rows_of_unequal_length_end_in_nothing() -> None:
    got = parse_logprobs([entry("a", [-0.1, -3.0, -4.0]), entry("b", [-0.2, -2.0]), {"token": "c", "logprob": -1.0}])
    assert got.top.tolist() == [[-0.1, -3.0, -4.0], [-0.2, -2.0, -math.inf], [-math.inf] * 3]
    assert got.k_used == 0


def test_what_a_score_makes_of_each_token() -> None:
    got = score_answer([entry("a", [-0.1, -3.0, -4.0, -5.0, -6.0])])
    assert got.by_token("odds") == got.token_odds == [got.value]
    assert got.by_token("log") == got.token_probability == pytest.approx([math.exp(-0.1)])
    for score in ("min", "mean", "bottom"):
        assert got.by_token(score) == got.token_separability  # type: ignore[arg-type]


def test_chosen_logprob_may_be_absent() -> None:
    token = entry("c1", [-0.5, -0.2, -5.5])
    del token["logprob"]
    assert TokenLogprobs.from_entry(token).logprob == -0.2
    # what is told nowhere is unknown
    assert math.isnan(score_answer([token | {"token": "B"}], "min", k=3).value)


def chosen(token: str, logprob: float, row: list[tuple[str, float]]) -> Entry:
    top = [{"token": text, "logprob": value} for text, value in row]
    return {"token": token, "logprob": logprob, "top_logprobs": top}


@given(LOGPROBS.filter(lambda row: len(row) >= 5), st.data())
def test_a_token_that_does_not_lead_counts_with_its_own_probability(row: list[float], data: st.DataObject) -> None:
    listed = [(f"c{rank}", value) for rank, value in enumerate(row)]
    token, logprob = data.draw(st.sampled_from([one for one in listed if one[1] < max(row)]))
    got = score_answer([entry("a", [-0.1, -9.0, -9.5, -10.0, -11.0]), chosen(token, logprob, listed)])
    assert got.value == got.token_odds[1] == pytest.approx(math.exp(logprob) / math.fsum(map(math.exp, row)))
    assert got.value < 0.5
    assert got.token_separability[1] == 0
    assert got.token_probability[1] == pytest.approx(math.exp(logprob))
    assert got.scores["min"] == got.scores["bottom"] == 0.5


@pytest.mark.parametrize("logprob", [-0.69, -4.0, -40.0, -9999.0, -math.inf])
def test_a_token_that_the_server_left_out_of_its_candidates_is_one_of_them(logprob: float) -> None:
    others = [("red", -0.7), *((f"c{rank}", -9.0 - rank) for rank in range(19))]
    whole = score_answer([chosen("blue", logprob, [("blue", logprob), *others])], k=20)
    assert score_answer([chosen("blue", logprob, others)], k=20).scores == pytest.approx(whole.scores)
    assert whole.value == pytest.approx(math.exp(logprob) / (math.exp(logprob) + math.exp(-0.7)), abs=1e-3)


@pytest.mark.parametrize("logprob", [0.0, None])
def test_what_the_candidates_tell_counts_where_the_token_tells_nothing(logprob: Any) -> None:
    row = [("red", -0.3), ("blue", -1.6), *((f"c{rank}", -9.0 - rank) for rank in range(8))]
    assert score_answer([chosen("blue", logprob, row)], k=10).value < 0.3
    assert score_answer([chosen("red", logprob, row)], k=10).value > 0.7
